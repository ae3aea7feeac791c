package commands

import (
	"context"
	"sync"

	"github.com/google/uuid"
)

// queue lets those that give the same command at the same moment go one after the other. Their events have the
// same ids, so the store would take the second append for a repeat of the first, and each would think that it
// had done it: two secrets for one key, two producers of one reply.
type queue struct {
	mu   sync.Mutex
	busy map[uuid.UUID]chan struct{} // closed when the one that is at it leaves
}

// enter waits for its turn with a step, or until the context ends.
func (q *queue) enter(ctx context.Context, step uuid.UUID) (leave func(), err error) {
	for {
		before, done := q.take(step)
		if before == nil {
			return done, nil
		}
		select {
		case <-before:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// take takes the turn, or gives what to wait for.
func (q *queue) take(step uuid.UUID) (before <-chan struct{}, leave func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if busy := q.busy[step]; busy != nil {
		return busy, nil
	}
	if q.busy == nil {
		q.busy = map[uuid.UUID]chan struct{}{}
	}
	mine := make(chan struct{})
	q.busy[step] = mine
	return nil, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.busy, step)
		close(mine)
	}
}
