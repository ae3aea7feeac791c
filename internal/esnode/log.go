package esnode

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
)

// logbook is what readers share: how far the log is durable, what is known of its streams, and the
// reading connections. The writer publishes to it after each commit.
type logbook struct {
	durable atomic.Int64 // position of the last durable event

	mu      sync.Mutex
	wake    chan struct{} // closed and replaced with every commit
	states  *cache[string, state]
	commits int
	fresh   fresh

	file    string
	readers chan *conn
}

const (
	cachedStates = 20_000
	pageEvents   = 256
	pageBytes    = 1 << 20
)

func newLogbook(file string, readers []*conn) *logbook {
	l := &logbook{
		file:    file,
		wake:    make(chan struct{}),
		states:  newCache[string, state](cachedStates),
		readers: make(chan *conn, len(readers)),
		fresh:   fresh{after: math.MaxInt64}, // until it is known where the log ends
	}
	for _, c := range readers {
		l.readers <- c
	}
	return l
}

// next gives a channel that is closed when the log has grown. Take it before reading: what is
// written between the reading and the waiting is then not missed.
func (l *logbook) next() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wake
}

// publish makes what was committed visible.
func (l *logbook) publish(durable int64, changed map[string]*state, added []record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fresh.add(added)
	for name, s := range changed {
		l.states.put(name, *s)
	}
	l.advance(durable)
}

// reset makes the log visible as it was found, and forgets what was known of its streams.
func (l *logbook) reset(durable int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.states = newCache[string, state](cachedStates)
	l.fresh = fresh{after: durable}
	l.advance(durable)
}

func (l *logbook) advance(durable int64) {
	l.commits++
	l.durable.Store(durable)
	close(l.wake)
	l.wake = make(chan struct{})
}

// with runs fn with a reading connection.
func (l *logbook) with(ctx context.Context, fn func(*conn) error) error {
	select {
	case c := <-l.readers:
		defer func() { l.readers <- c }()
		return fn(c)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// cached gives a stream's state if it is known, the count of commits so far and how far they are
// visible.
func (l *logbook) cached(stream string) (s state, ok bool, commits int, durable int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok = l.states.get(stream)
	return s, ok, l.commits, l.durable.Load()
}

// state gives what is known of a stream. What was read while a commit came is used but not kept:
// the commit may have made it old.
func (l *logbook) state(ctx context.Context, stream string) (state, error) {
	s, ok, commits, durable := l.cached(stream)
	if ok {
		return s, nil
	}
	err := l.with(ctx, func(c *conn) (err error) {
		s, err = c.load(stream, durable)
		return err
	})
	if err != nil {
		return s, fmt.Errorf("look up a stream: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.commits == commits {
		l.states.put(stream, s)
	}
	return s, nil
}

// page is a piece of the log; end says that nothing more lay in the range asked for.
type page struct {
	records []record
	bytes   int // of their frames
	end     bool
}

// add takes one more record; false: the page has as many as it may.
func (p *page) add(r record, limit int) bool {
	p.records = append(p.records, r)
	p.bytes += len(r.frame)
	return p.room(limit)
}

func (p *page) room(limit int) bool { return len(p.records) < limit && p.bytes < pageBytes }

// all reads positions from low to high, both included, at most limit.
func (l *logbook) all(ctx context.Context, low, high int64, back bool, limit int) (page, error) {
	return l.page(ctx, limit, func(c *conn) (*stmt, []any) {
		s := c.allForwards
		if back {
			s = c.allBack
		}
		return s, []any{low, min(high, l.durable.Load()), int64(limit)}
	})
}

// after reads what comes after a position, from memory if it can.
func (l *logbook) after(ctx context.Context, pos int64) (page, error) {
	l.mu.Lock()
	p, ok := l.fresh.page(pos, pageEvents)
	l.mu.Unlock()
	if ok {
		return p, nil
	}
	return l.all(ctx, pos+1, math.MaxInt64, false, pageEvents)
}

// stream reads revisions from low to high, both included, at most limit.
func (l *logbook) stream(
	ctx context.Context, id, low, high int64, back bool, limit int,
) (page, error) {
	return l.page(ctx, limit, func(c *conn) (*stmt, []any) {
		s := c.forwards
		if back {
			s = c.backwards
		}
		return s, []any{id, low, high, l.durable.Load(), int64(limit)}
	})
}

func (l *logbook) page(
	ctx context.Context, limit int, query func(*conn) (*stmt, []any),
) (p page, err error) {
	err = l.with(ctx, func(c *conn) error {
		s, args := query(c)
		err := eachRecord(s, func(r record) (bool, error) { return p.add(r, limit), nil }, args...)
		p.end = p.room(limit)
		if errors.Is(err, errDamaged) {
			if len(p.records) > 0 {
				p.end, err = false, nil // what is before the damage is given; the next page meets it
			} else {
				err = l.locate(c, query, err)
			}
		}
		return err
	})
	if err != nil {
		return page{}, fmt.Errorf("read the log: %w", err)
	}
	return p, nil
}

// locate finds the event that is damaged where only the page of the file is known: it reads what
// was asked for once more, past the sums of the pages. What it reads is shown to nobody.
func (l *logbook) locate(c *conn, query func(*conn) (*stmt, []any), damaged error) error {
	var known *damage
	if errors.As(damaged, &known) {
		return c.named(damaged)
	}
	plain, err := openConn(plainDSN(l.file, forReading))
	if err != nil {
		return damaged
	}
	if err = plain.prepare(); err == nil {
		s, args := query(plain)
		err = eachRecord(s, func(record) (bool, error) { return true, nil }, args...)
	}
	if errors.As(err, &known) {
		damaged = fmt.Errorf("%w, %w", plain.named(known), damaged)
	}
	_ = plain.close() // nothing was written
	return damaged
}
