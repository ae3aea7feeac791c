package commands

import (
	"context"
	"slices"
	"sync"
	"time"

	"prelude/internal/eventlog"
)

// queues let the commands of this process that contend for one stream go one after the other. Without them a client
// that sends the next command as soon as it has an answer is always ahead of those that pause. Commands of other
// processes are met in the store alone.
type queues struct {
	mu sync.Mutex
	of map[eventlog.Stream][]chan struct{} // closed for who has its turn, which is the first
}

// place is a command's place in the queue of a stream; its zero value is none.
type place struct {
	queues *queues
	stream eventlog.Stream
	turn   chan struct{} // nil: it is in no queue
}

// join takes a place in the stream's queue. There is one where a command was refused because the stream had moved;
// with moved it is that of the caller, else nobody queues where nobody contends. It says whether there is one.
func (p *place) join(moved bool) (contended bool) {
	q := p.queues
	q.mu.Lock()
	defer q.mu.Unlock()
	if p.turn != nil || !moved && len(q.of[p.stream]) == 0 {
		return p.turn != nil
	}
	p.turn = make(chan struct{})
	if len(q.of[p.stream]) == 0 {
		close(p.turn)
	}
	if q.of == nil {
		q.of = map[eventlog.Stream][]chan struct{}{}
	}
	q.of[p.stream] = append(q.of[p.stream], p.turn)
	return true
}

// wait waits for the command's turn; false: there is no time for it.
func (p *place) wait(ctx context.Context, until time.Time) bool {
	if p.turn == nil {
		return true
	}
	var late <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-p.turn:
		return true
	case <-late:
	case <-ctx.Done():
	}
	return false
}

// leave gives the place up, and the turn to the next.
func (p *place) leave() {
	if p.turn == nil {
		return
	}
	q := p.queues
	q.mu.Lock()
	defer q.mu.Unlock()
	all := q.of[p.stream]
	i := slices.Index(all, p.turn)
	if all = slices.Delete(all, i, i+1); len(all) == 0 {
		delete(q.of, p.stream)
		return
	}
	if q.of[p.stream] = all; i == 0 {
		close(all[0])
	}
}
