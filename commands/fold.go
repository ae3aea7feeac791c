package commands

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/maypok86/otter/v2"

	"prelude/internal/eventlog"
)

// folded is a stream's state with what is remembered of the commands that made it. It is a value: what the
// cache holds is never changed.
type folded[S any] struct {
	State    S
	Revision eventlog.Revision
	Position eventlog.Position
	recent   *remembered
	cached   bool // it came from the cache and may be behind
}

func (f folded[S]) left() Left[S] {
	return Left[S]{State: f.State, Revision: f.Revision, Position: f.Position}
}

func (f folded[S]) size() uint32 {
	n := 0
	if f.recent != nil {
		n = f.recent.length
	}
	return sizeOf(f.State, n)
}

// load folds a stream. Without fresh a cached state is taken as it is; with it, what came since is read.
// Texts under an org's key are opened: the states of presets hold them.
func load[S evolver[S, E], E any](ctx context.Context, e *Engine, stream eventlog.Stream, fresh bool,
) (folded[S], error) {
	f := folded[S]{Revision: eventlog.None}
	epoch := e.cache.epoch.Load()
	hit, cached := e.cache.get(stream)
	if cached {
		fresh = fresh || !e.Watched()
		f = hit.(folded[S]) //nolint:forcetypeassert // a category has one type of state
		f.cached = true
		if !fresh {
			return f, nil
		}
	}
	cold := !cached
	err := eventlog.Unchanged(ctx, func(again bool) (err error) {
		if again { // what was kept of it, here or as a snapshot, may be of another past
			e.cache.states.Invalidate(stream)
			f, cold = folded[S]{Revision: eventlog.None}, false
		}
		f, err = replay[S, E](ctx, e, stream, f, cold)
		return err
	})
	if err != nil {
		return f, fmt.Errorf("load a %s: %w", stream.Category, err)
	}
	f.cached = false
	if f.Revision != eventlog.None && epoch == e.cache.epoch.Load() {
		e.cache.put(stream, f.Revision, f, f.size())
	}
	return f, nil
}

// replay folds what came after f, of which nothing may be missing. Where there is much of it and nothing was in
// memory, it begins again at a snapshot, if there is one.
func replay[S evolver[S, E], E any](ctx context.Context, e *Engine, stream eventlog.Stream, f folded[S], cold bool,
) (folded[S], error) {
	var batch []eventlog.Record
	for rec, err := range e.Log.Read(ctx, stream, f.Revision+1, eventlog.Forwards) {
		if err != nil {
			return f, err
		}
		if next := f.Revision + 1 + eventlog.Revision(len(batch)); rec.Revision != next {
			return f, fmt.Errorf("%w: revision %d is missing", eventlog.ErrChanged, next)
		}
		if batch = append(batch, rec); cold && len(batch) == snapshotEvery {
			if s := fromSnapshot[S](ctx, e, stream); s.Revision != eventlog.None {
				return replay[S, E](ctx, e, stream, s, false)
			}
		}
	}
	if err := e.Log.Open(ctx, batch, "o."); err != nil {
		return f, err
	}
	was := f.Revision
	for _, rec := range batch {
		ev, ok := rec.Event.(E)
		if !ok {
			return f, fmt.Errorf("%s does not belong there", rec.Name)
		}
		f.State = f.State.Evolve(ev)
		f.Revision, f.Position = rec.Revision, rec.Position
		f.recent = f.recent.with(rec.Meta, rec.Kind())
	}
	keepSnapshot(ctx, e, stream, was, f)
	return f, nil
}

// remembered is a list of the steps that made a state, newest first.
type remembered struct {
	step   uuid.UUID
	body   string
	began  string    // the kind of its first event
	at     time.Time // no earlier than that of the one before: clocks go backwards, and must not make it forget sooner
	first  bool      // it made the thing
	before *remembered
	length int
}

const (
	rememberFor  = 24 * time.Hour
	rememberMost = 1000
)

// with adds a step; events of one step are one entry.
func (r *remembered) with(m eventlog.Meta, kind string) *remembered {
	if r != nil && r.step == m.Step {
		return r
	}
	n := &remembered{step: m.Step, body: m.Body, began: kind, at: m.At, first: r == nil, before: r,
		length: 1}
	if r != nil {
		n.length = r.length + 1
		if n.at.Before(r.at) {
			n.at = r.at
		}
	}
	if n.length >= 2*rememberMost {
		n = n.trimmed()
	}
	return n
}

func (r *remembered) trimmed() *remembered {
	var kept []*remembered
	for n := r; n != nil && len(kept) < rememberMost; n = n.before {
		kept = append(kept, n)
	}
	var head *remembered
	for i := len(kept) - 1; i >= 0; i-- {
		c := *kept[i]
		c.before, c.length = head, len(kept)-i
		head = &c
	}
	return head
}

// find looks a step up: for 24 hours, and a stream's first, its creation, for as long as it is in the list.
func (r *remembered) find(step uuid.UUID, now time.Time) *remembered {
	for n, i := r, 0; n != nil && i < rememberMost; n, i = n.before, i+1 {
		if n.step == step {
			if n.first || now.Sub(n.at) <= rememberFor {
				return n
			}
			return nil
		}
	}
	return nil
}

// cache keeps states by stream. An older state never replaces a newer one, nor what the live
// subscription has said of one: a stream that has moved leaves a mark, so that a state which was
// read before that is not kept after it.
type cache struct {
	states *otter.Cache[eventlog.Stream, entry]
	epoch  atomic.Int64 // what was read in an earlier one may have missed a mark
}

type entry struct {
	revision eventlog.Revision
	state    any // nil: a mark
	size     uint32
}

// markSize is about how many bytes a mark takes.
const markSize = 192

// cacheBytes is about how much the cache may hold.
const cacheBytes = 128 << 20

func newCache() *cache {
	return &cache{states: otter.Must(&otter.Options[eventlog.Stream, entry]{MaximumWeight: cacheBytes,
		Weigher: func(_ eventlog.Stream, e entry) uint32 { return e.size }})}
}

// sizeOf is about how many bytes a folded state takes: what it says itself, and what is remembered of commands.
func sizeOf(state any, remembered int) uint32 {
	n := 1024 + 128*remembered
	if sized, ok := state.(interface{ Size() int }); ok {
		n += sized.Size()
	}
	return uint32(min(n, cacheBytes))
}

func (c *cache) get(s eventlog.Stream) (any, bool) {
	e, ok := c.states.GetIfPresent(s)
	return e.state, ok && e.state != nil
}

func (c *cache) put(s eventlog.Stream, revision eventlog.Revision, state any, size uint32) {
	c.states.Compute(s, func(old entry, found bool) (entry, otter.ComputeOp) {
		if found && (old.revision > revision || old.revision == revision && old.state != nil) {
			return old, otter.CancelOp
		}
		return entry{revision, state, size}, otter.WriteOp
	})
}

// Seen tells the cache that a stream has reached a revision; a state that is behind it is dropped. The live
// subscription calls it.
func (e *Engine) Seen(s eventlog.Stream, revision eventlog.Revision) {
	e.cache.states.Compute(s, func(old entry, found bool) (entry, otter.ComputeOp) {
		if found && old.revision >= revision {
			return old, otter.CancelOp
		}
		return entry{revision: revision, size: markSize}, otter.WriteOp
	})
}

// Forget empties the caches. It is called when the live subscription goes down and when it is up again: between
// the two nothing says what is behind, and what was read then may be.
func (e *Engine) Forget() {
	e.cache.epoch.Add(1)
	e.cache.states.InvalidateAll()
	e.tails.InvalidateAll()
}

// ensureKeys makes the keys that open secrets among events need.
func (e *Engine) ensureKeys(ctx context.Context, events []any) error {
	ids := eventlog.KeysOf(events)
	if len(ids) == 0 {
		return nil
	}
	return e.Log.Keys.Ensure(ctx, ids...)
}

// exists says whether a stream has any event.
func exists[S evolver[S, E], E any](ctx context.Context, e *Engine, s eventlog.Stream) (S, bool, error) {
	f, err := load[S, E](ctx, e, s, true)
	return f.State, f.Revision != eventlog.None, err
}
