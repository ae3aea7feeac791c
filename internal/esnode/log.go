package esnode

import (
	"context"
	"fmt"
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

	readers chan *conn
}

const (
	cachedStates = 20_000
	pageEvents   = 256
	pageBytes    = 1 << 20
)

func newLogbook(readers []*conn) *logbook {
	l := &logbook{
		wake:    make(chan struct{}),
		states:  newCache[string, state](cachedStates),
		readers: make(chan *conn, len(readers)),
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
func (l *logbook) publish(durable int64, changed map[string]*state) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, s := range changed {
		l.states.put(name, *s)
	}
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

// cached gives a stream's state if it is known, and the count of commits so far.
func (l *logbook) cached(stream string) (state, bool, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok := l.states.get(stream)
	return s, ok, l.commits
}

// state gives what is known of a stream. What was read while a commit came is used but not kept:
// the commit may have made it old.
func (l *logbook) state(ctx context.Context, stream string) (state, error) {
	s, ok, commits := l.cached(stream)
	if ok {
		return s, nil
	}
	err := l.with(ctx, func(c *conn) (err error) {
		s, err = c.load(stream)
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
	end     bool
}

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
		bytes := 0
		err := eachRecord(s, func(r record) (bool, error) {
			p.records = append(p.records, r)
			bytes += len(r.frame)
			return bytes < pageBytes, nil
		}, args...)
		p.end = len(p.records) < limit && bytes < pageBytes
		return err
	})
	if err != nil {
		return page{}, fmt.Errorf("read the log: %w", err)
	}
	return p, nil
}

// holds says whether an event begins at a position.
func (l *logbook) holds(ctx context.Context, pos int64) (found bool, err error) {
	err = l.with(ctx, func(c *conn) error {
		n, err := c.existing.number(pos)
		found = n == 1
		return err
	})
	return found, err
}
