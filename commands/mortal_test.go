package commands

import (
	"context"
	"fmt"
	"iter"
	"sync/atomic"

	"prelude/domain"
	"prelude/internal/eventlog"
	"prelude/internal/eventlog/eventlogtest"
)

// mortal is a store, with a vault and a shelf of snapshots beside it, whose process is killed at one of the writes to
// them: before it is made, or after it was made and before its answer comes. From then on nothing answers.
type mortal struct {
	eventlog.Store
	left  atomic.Int64 // writes until then
	after bool         // it is made
	dead  chan struct{}
	made  atomic.Int64
	hub   *Hub
}

// die ends the process: nothing of it goes on.
func (m *mortal) die() {
	close(m.dead)
	m.hub.giveUp(ErrUnrecorded)
}

func newMortal(s eventlog.Store, at int, after bool) *mortal {
	m := &mortal{Store: s, after: after, dead: make(chan struct{})}
	m.left.Store(int64(at))
	return m
}

// mortal is r's process, with nothing in its memory, as one that is killed at a write.
func (r *rig) mortal(at int, after bool) (*rig, *mortal) {
	m := newMortal(r.Log.Store, at, after)
	e := r.over(&eventlog.Log{Store: m, Keys: mortalKeys{r.keys, m}})
	e.boot, m.hub = r.boot, e.hub
	if r.Snapshots != nil {
		e.Snapshots = mortalShelf{r.Snapshots, m}
	}
	return e, m
}

var errKilled = fmt.Errorf("%w: the process was killed", eventlog.ErrUnavailable)

// write makes a write, unless the process is killed before it.
func (m *mortal) write(do func() error) error {
	left := m.left.Add(-1)
	switch {
	case left < -1:
		return errKilled
	case left == -1 && !m.after:
		m.die()
		return errKilled
	}
	m.made.Add(1)
	err := do()
	if left == -1 {
		m.die()
		return errKilled
	}
	return err
}

// alive fails once the process was killed.
func (m *mortal) alive() error {
	select {
	case <-m.dead:
		return errKilled
	default:
		return nil
	}
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
	if err := m.alive(); err != nil {
		return func(yield func(eventlog.Raw, error) bool) { yield(eventlog.Raw{}, err) }
	}
	return m.Store.Read(ctx, stream, from, dir, limit)
}

// mortalKeys is the vault of a process that is killed.
type mortalKeys struct {
	keys *eventlogtest.Keys
	m    *mortal
}

// Ensure makes keys one after the other, as the vault does: each that is not there is a write.
func (k mortalKeys) Ensure(ctx context.Context, ids ...domain.KeyID) error {
	for _, id := range ids {
		if err := k.m.alive(); err != nil {
			return err
		}
		if k.keys.All()[id] {
			continue
		}
		if err := k.m.write(func() error { return k.keys.Ensure(ctx, id) }); err != nil {
			return err
		}
	}
	return nil
}

func (k mortalKeys) Find(ctx context.Context, ids ...domain.KeyID) (map[domain.KeyID]*eventlog.Key, error) {
	if err := k.m.alive(); err != nil {
		return nil, err
	}
	return k.keys.Find(ctx, ids...)
}

// Erase is one write: the vault destroys keys in one transaction.
func (k mortalKeys) Erase(ctx context.Context, o domain.OrgID, user domain.UserID) error {
	return k.m.write(func() error { return k.keys.Erase(ctx, o, user) })
}

func (k mortalKeys) Expire(ctx context.Context, o domain.OrgID, s domain.SessionID) error {
	return k.m.write(func() error { return k.keys.Expire(ctx, o, s) })
}

// mortalShelf keeps the snapshots of a process that is killed.
type mortalShelf struct {
	Snapshots
	m *mortal
}

func (s mortalShelf) Snapshot(ctx context.Context, stream string, schema int) (Snapshot, bool, error) {
	if err := s.m.alive(); err != nil {
		return Snapshot{}, false, err
	}
	return s.Snapshots.Snapshot(ctx, stream, schema)
}

func (s mortalShelf) KeepSnapshot(ctx context.Context, stream string, schema int, kept Snapshot) error {
	return s.m.write(func() error { return s.Snapshots.KeepSnapshot(ctx, stream, schema, kept) })
}
