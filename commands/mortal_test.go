package commands

import (
	"context"
	"fmt"
	"iter"
	"sync/atomic"

	"prelude/domain"
	"prelude/internal/eventlog"
)

// mortal is a store, and a vault beside it, whose process is killed at one of the writes to them: before it is made, or
// after it was made and before its answer comes. From then on nothing answers.
type mortal struct {
	eventlog.Store
	left  atomic.Int64 // writes until then
	after bool         // it is made
	dead  chan struct{}
	made  atomic.Int64
}

// mortalKeys is the vault of a process that is killed.
type mortalKeys struct {
	eventlog.Keys
	m *mortal
}

func (k mortalKeys) Ensure(ctx context.Context, ids ...domain.KeyID) error {
	return k.m.write(func() error { return k.Keys.Ensure(ctx, ids...) })
}

func newMortal(s eventlog.Store, at int, after bool) *mortal {
	m := &mortal{Store: s, after: after, dead: make(chan struct{})}
	m.left.Store(int64(at))
	return m
}

var errKilled = fmt.Errorf("%w: the process was killed", eventlog.ErrUnavailable)

// write makes a write, unless the process is killed before it.
func (m *mortal) write(do func() error) error {
	left := m.left.Add(-1)
	switch {
	case left < -1:
		return errKilled
	case left == -1 && !m.after:
		close(m.dead)
		return errKilled
	}
	m.made.Add(1)
	err := do()
	if left == -1 {
		close(m.dead)
		return errKilled
	}
	return err
}

func (m *mortal) Append(ctx context.Context, stream string, expected eventlog.Revision, events []eventlog.Proposed,
) (done eventlog.Appended, err error) {
	err = m.write(func() error {
		done, err = m.Store.Append(ctx, stream, expected, events)
		return err
	})
	return done, err
}

func (m *mortal) Read(ctx context.Context, stream string, from eventlog.Revision, dir eventlog.Direction,
	limit uint64) iter.Seq2[eventlog.Raw, error] {
	select {
	case <-m.dead:
		return func(yield func(eventlog.Raw, error) bool) { yield(eventlog.Raw{}, errKilled) }
	default:
		return m.Store.Read(ctx, stream, from, dir, limit)
	}
}
