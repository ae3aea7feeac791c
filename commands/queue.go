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

// waiter is a command that may have to queue for a stream.
type waiter struct {
	queues *queues
	stream eventlog.Stream
	turn   chan struct{} // nil: it is in no queue
}

// join joins the stream's queue. There is one where a command was refused because the stream had moved: with moved, the
// caller's was; without, the caller joins only where others queue. It says whether there is one.
func (w *waiter) join(moved bool) (contended bool) {
	q := w.queues
	q.mu.Lock()
	defer q.mu.Unlock()
	if w.turn != nil || !moved && len(q.of[w.stream]) == 0 {
		return w.turn != nil
	}
	w.turn = make(chan struct{})
	if len(q.of[w.stream]) == 0 {
		close(w.turn)
	}
	if q.of == nil {
		q.of = map[eventlog.Stream][]chan struct{}{}
	}
	q.of[w.stream] = append(q.of[w.stream], w.turn)
	return true
}

// wait waits for the command's turn; false: there is no time for it.
func (w *waiter) wait(ctx context.Context, until time.Time) bool {
	if w.turn == nil {
		return true
	}
	var late <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-w.turn:
		return true
	case <-late:
	case <-ctx.Done():
	}
	return false
}

// leave leaves the queue, and gives the turn to the next.
func (w *waiter) leave() {
	if w.turn == nil {
		return
	}
	q := w.queues
	q.mu.Lock()
	defer q.mu.Unlock()
	all := q.of[w.stream]
	i := slices.Index(all, w.turn)
	if all = slices.Delete(all, i, i+1); len(all) == 0 {
		delete(q.of, w.stream)
		return
	}
	if q.of[w.stream] = all; i == 0 {
		close(all[0])
	}
}
