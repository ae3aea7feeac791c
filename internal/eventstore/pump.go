package eventstore

import (
	"context"
	"sync"
)

// pump hands what a goroutine receives from the client to the one that asked for it. It hands over
// all there is at once, so that neither waits for the other for each event.
type pump[T any] struct {
	wake  chan struct{} // has one entry when there is something to take
	space chan struct{} // has one when something was taken

	mu    sync.Mutex
	items []T
	size  int
	err   error
	ended bool
}

const (
	pumpItems = 1024
	pumpBytes = 4 << 20
)

func newPump[T any]() *pump[T] {
	return &pump[T]{wake: make(chan struct{}, 1), space: make(chan struct{}, 1)}
}

// put adds an item; while too much lies there it waits. False says that the context ended.
func (p *pump[T]) put(ctx context.Context, item T, size int) bool {
	for {
		p.mu.Lock()
		if len(p.items) < pumpItems && p.size < pumpBytes {
			p.items = append(p.items, item)
			p.size += size
			p.mu.Unlock()
			signal(p.wake)
			return true
		}
		p.mu.Unlock()
		select {
		case <-p.space:
		case <-ctx.Done():
			return false
		}
	}
}

// end says that nothing more comes, and why.
func (p *pump[T]) end(err error) {
	p.mu.Lock()
	p.err, p.ended = err, true
	p.mu.Unlock()
	signal(p.wake)
}

// take gives what has come, waiting for something to; ended comes after the last item. buffer is
// one that an earlier call gave, to be used again.
func (p *pump[T]) take(ctx context.Context, buffer []T) (items []T, ended bool, err error) {
	for {
		p.mu.Lock()
		items, p.items, p.size = p.items, buffer[:0], 0
		ended, err = p.ended, p.err
		p.mu.Unlock()
		signal(p.space)
		if len(items) > 0 {
			return items, false, nil
		}
		if ended {
			return nil, true, err
		}
		buffer = items
		select {
		case <-p.wake:
		case <-ctx.Done():
			return nil, true, ctx.Err()
		}
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
