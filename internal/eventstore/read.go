package eventstore

import (
	"context"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"

	"prelude/internal/eventlog"
)

// mostRefusals is how often in a row a read may fail for an unknown reason.
const mostRefusals = 3

// Read implements eventlog.Store. One that is cut off goes on after the last event given; without a
// deadline it gives up after 10 s without an event.
func (s *Store) Read(
	ctx context.Context, stream string, from eventlog.Revision, dir eventlog.Direction, limit uint64,
) iter.Seq2[eventlog.Raw, error] {
	return s.events(ctx, reader{
		what: stream, dir: dir, left: count(limit),
		open: func(
			ctx context.Context, c *client, last *eventlog.Raw, n uint64,
		) (*esdb.ReadStream, error) {
			opts := esdb.ReadStreamOptions{Direction: direction(dir), From: esdb.Start{}}
			at := from
			switch {
			case last != nil && dir == eventlog.Backwards:
				at = last.Revision - 1
			case last != nil:
				at = last.Revision + 1
			}
			if at == eventlog.Last {
				opts.From = esdb.End{}
			} else if at > 0 || dir == eventlog.Backwards {
				opts.From = esdb.Revision(uint64(max(at, 0)))
			}
			return c.raw.ReadStream(ctx, stream, opts, n)
		},
		done: func(last *eventlog.Raw) bool {
			return dir == eventlog.Backwards && (from < 0 || last != nil && last.Revision == 0)
		},
	})
}

// ReadAll implements eventlog.Store; what is said of Read holds for it too.
func (s *Store) ReadAll(
	ctx context.Context, from eventlog.Position, dir eventlog.Direction, limit uint64,
) iter.Seq2[eventlog.Raw, error] {
	return s.events(ctx, reader{
		what: "all events", dir: dir, left: count(limit),
		open: func(
			ctx context.Context, c *client, last *eventlog.Raw, n uint64,
		) (*esdb.ReadStream, error) {
			opts := esdb.ReadAllOptions{Direction: direction(dir), From: position(from)}
			if last != nil {
				// Forwards the position's own event comes again, and is passed over.
				opts.From = position(last.Position)
				n = max(n, n+1)
			}
			return c.raw.ReadAll(ctx, opts, n)
		},
		done: func(*eventlog.Raw) bool { return dir == eventlog.Backwards && from == 0 },
	})
}

// reader is a read and how to go on with it.
type reader struct {
	what string
	dir  eventlog.Direction
	left uint64
	open func(ctx context.Context, c *client, last *eventlog.Raw, n uint64) (*esdb.ReadStream, error)
	done func(last *eventlog.Raw) bool // nothing can lie beyond
	last *eventlog.Raw
}

func (s *Store) events(ctx context.Context, first reader) iter.Seq2[eventlog.Raw, error] {
	return func(yield func(eventlog.Raw, error) bool) {
		r := first // a sequence may be read more than once
		pause, since, refusals := firstPause, time.Now(), 0
		for r.left > 0 && !r.done(r.last) {
			before := r.last
			more, err := s.part(ctx, &r, yield)
			if !more {
				return
			}
			if r.last != before {
				pause, since, refusals = firstPause, time.Now(), 0
			}
			// A store says "unknown" of some mistakes too, as of a position that is none.
			if kindOf(err) == ambiguous && ctx.Err() == nil && s.closed.Err() == nil {
				refusals++
			}
			if refusals == mostRefusals {
				yield(eventlog.Raw{}, fmt.Errorf("read %s: %w", r.what, err))
				return
			}
			_, bounded := ctx.Deadline()
			if s.closed.Err() != nil || !bounded && time.Since(since) > defaultPatience ||
				!sleep(ctx, jitter(pause)) {
				yield(eventlog.Raw{}, fmt.Errorf("read %s: %w", r.what, unavailable(ctx, err)))
				return
			}
			pause = min(2*pause, longestPause)
		}
	}
}

// part reads until the end, which makes more false, or until something is wrong with the
// connection.
func (s *Store) part(
	ctx context.Context, r *reader, yield func(eventlog.Raw, error) bool,
) (more bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	waiting, stop := s.patience(ctx)
	c, err := s.acquire(waiting)
	stop()
	if err != nil {
		return true, err
	}
	p := newPump[eventlog.Raw]()
	last, n := r.last, r.left
	s.spawn(c, func() {
		p.end(c.within(ctx, func(ctx context.Context) error {
			opened, err := r.open(ctx, c, last, n)
			if err != nil {
				return err
			}
			defer opened.Close()
			return receive(ctx, opened, p)
		}))
	})
	var items []eventlog.Raw
	for {
		var ended bool
		if items, ended, err = p.take(ctx, items); ended {
			break
		}
		for i := range items {
			if !r.give(&items[i], yield) {
				return false, nil
			}
		}
	}
	if ended(err) {
		return false, nil
	}
	s.judge(c, err)
	switch kindOf(err) {
	case missing:
		return false, nil
	case gone:
		yield(eventlog.Raw{}, eventlog.ErrGone)
		return false, nil
	case refused:
		yield(eventlog.Raw{}, fmt.Errorf("read %s: %w", r.what, err))
		return false, nil
	}
	return true, err
}

// give hands on an event, unless it was given before; false says to stop.
func (r *reader) give(e *eventlog.Raw, yield func(eventlog.Raw, error) bool) bool {
	if r.last != nil && (r.dir == eventlog.Forwards) != (e.Position > r.last.Position) {
		return true
	}
	last := *e
	r.last = &last
	r.left--
	return yield(*e, nil) && r.left > 0
}

func receive(ctx context.Context, from *esdb.ReadStream, to *pump[eventlog.Raw]) error {
	for {
		e, err := from.Recv()
		if err != nil {
			return err
		}
		raw := rawOf(e.OriginalEvent())
		if !to.put(ctx, raw, len(raw.Data)+len(raw.Meta)) {
			return ctx.Err()
		}
	}
}

func rawOf(e *esdb.RecordedEvent) eventlog.Raw {
	return eventlog.Raw{
		ID: e.EventID, Stream: e.StreamID, Revision: eventlog.Revision(e.EventNumber),
		Position: eventlog.Position(e.Position.Commit), Type: e.EventType,
		Data: e.Data, Meta: e.UserMetadata, Created: e.CreatedDate,
	}
}

func count(limit uint64) uint64 {
	if limit == 0 {
		return math.MaxInt64
	}
	return limit
}

func direction(d eventlog.Direction) esdb.Direction {
	if d == eventlog.Backwards {
		return esdb.Backwards
	}
	return esdb.Forwards
}

func position(p eventlog.Position) esdb.AllPosition {
	switch p {
	case 0:
		return esdb.Start{}
	case eventlog.End:
		return esdb.End{}
	}
	return esdb.Position{Commit: uint64(p), Prepare: uint64(p)}
}
