package eventstore

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"
)

// link is one connection to a node. At the first sign of trouble it is closed, which ends what is
// under way on it, and another is made: calls know how to go on.
type link struct {
	conn       *grpc.ClientConn
	generation int

	mu      sync.Mutex
	appends *appends // the call that appends share; nil before the first
	quiet   quiet    // of reads
	probing bool
	closed  bool
}

const (
	firstPause   = 50 * time.Millisecond
	longestPause = time.Second
	// doubtTime is how long calls go unanswered before their connection is in doubt, broken or not.
	doubtTime = 2500 * time.Millisecond
)

// waits says that a read waits for the first that the store says.
func (l *link) waits() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.quiet.begin()
}

// answered says that a read waits no longer, and gives how long none has been answered.
func (l *link) answered(yes bool) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if yes {
		l.quiet.heard()
	}
	return l.quiet.end()
}

// close ends what is under way.
func (l *link) close() {
	l.mu.Lock()
	l.closed = true
	a := l.appends
	l.mu.Unlock()
	if a != nil {
		a.cancel(nil)
	}
	_ = l.conn.Close() // its one error says that it is closed already
}

// acquire gives a link that works; it waits for one until the context ends.
func (s *Store) acquire(ctx context.Context) (*link, error) {
	for {
		s.mu.Lock()
		if s.closed.Err() != nil {
			s.mu.Unlock()
			return nil, errClosed
		}
		if l := s.current; l != nil {
			s.mu.Unlock()
			return l, nil
		}
		if s.made == nil {
			s.made = make(chan struct{})
			s.work.Go(s.rebuild)
		}
		made := s.made
		s.mu.Unlock()
		select {
		case <-made:
		case <-s.closed.Done():
			return nil, errClosed
		case <-ctx.Done():
			return nil, s.why(ctx)
		}
	}
}

// why is what a caller is told whose patience ended before there was a link: why there is none, if
// that is known.
func (s *Store) why(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stranger != nil:
		return s.stranger
	case s.reason != nil:
		return s.reason
	}
	return ctx.Err()
}

// rebuild makes links until one works. There is one of it at a time, so an outage costs one
// connection per pause, however many callers wait.
func (s *Store) rebuild() {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		conn, err := s.dial()
		if s.install(conn, err) {
			return
		}
		if s.closed.Err() != nil {
			if conn != nil {
				_ = conn.Close()
			}
			return
		}
		s.logger.Debug("event store not reached", "error", err)
		s.explain(err)
		if !sleep(s.closed, jitter(pause)) {
			return
		}
	}
}

// install makes a new connection the one that calls use.
func (s *Store) install(conn *grpc.ClientConn, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason = err; err != nil || s.closed.Err() != nil {
		return false
	}
	s.note(nil)
	s.generation++
	s.current = &link{conn: conn, generation: s.generation}
	close(s.made)
	s.made = nil
	return true
}

// replace takes a link out of use.
func (s *Store) replace(l *link) {
	s.mu.Lock()
	was := s.current == l
	if was {
		s.current = nil
	}
	s.mu.Unlock()
	if was {
		s.logger.Info("event store connection replaced", "generation", l.generation)
		l.close()
	}
}

// judge replaces a link on which a call has ended, before its context did, in a way that puts the
// connection in doubt.
func (s *Store) judge(ctx context.Context, l *link, err error) {
	if ctx.Err() == nil && kindOf(err) == transport {
		s.replace(l)
	}
}

// doubt is told of a call that got no answer. A node of a cluster may be cut off from the others, so
// the cluster is asked anew who leads; a single one is asked whether it is there.
func (s *Store) doubt(l *link) {
	if len(s.seeds) > 0 {
		s.replace(l)
		return
	}
	l.mu.Lock()
	probing := l.probing || l.closed
	l.probing = true
	l.mu.Unlock()
	if probing {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Err() != nil {
		return
	}
	s.work.Go(func() {
		if err := s.able(l.conn); err != nil {
			s.replace(l)
		}
		l.mu.Lock()
		l.probing = false
		l.mu.Unlock()
	})
}

// jitter spreads a pause over half to one and a half of it.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d) //nolint:gosec // a pause, not a secret
}

// sleep waits; false says that the context ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
