package eventstore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"

	"prelude/internal/eventlog"
)

// client is one generation of the official client. It is retired at the first sign of trouble: used
// by no new call, and closed when those under way have ended.
//
// The client's state machine must never look for a node again once calls share it: if it finds none
// it ends, and calls that wait for it hang for ever. It looks when a call asks for a connection
// after another call has reported a broken one. So calls are counted while they ask, and a report
// waits until none does and no other can; see entered and failing.
type client struct {
	raw        *esdb.Client
	generation int

	life context.Context // ends some time after it was retired
	kill context.CancelFunc

	mu      sync.Mutex
	calls   int
	asking  int        // calls that do not have their connection yet
	none    *sync.Cond // told when asking is 0
	retired bool
	idle    chan struct{} // closed when it is retired and no call is left
}

const (
	drainGrace   = 2 * time.Second // that calls have to end by themselves
	abandonGrace = time.Second     // and after they were told to
	firstPause   = 50 * time.Millisecond
	longestPause = 2 * time.Second
)

// enter counts a call; it is refused once the client is retired.
func (c *client) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.retired {
		return false
	}
	c.calls++
	c.asking++
	return true
}

// asked says that a call has its connection, or has ended without.
func (c *client) asked() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asking--; c.asking == 0 {
		c.none.Broadcast()
	}
}

// failing is called before the client reports a broken connection to its state machine.
func (c *client) failing() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retired = true // the call that is failing is still counted: it will close idle
	for c.asking > 0 {
		c.none.Wait()
	}
}

func (c *client) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls--; c.calls == 0 && c.retired {
		close(c.idle)
	}
}

func (c *client) retire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.retired {
		return
	}
	if c.retired = true; c.calls == 0 {
		close(c.idle)
	}
}

// acquire gives a client that works, counted as in use; it waits for one until the context ends.
func (s *Store) acquire(ctx context.Context) (*client, error) {
	for {
		s.mu.Lock()
		if s.closed.Err() != nil {
			s.mu.Unlock()
			return nil, errClosed
		}
		if c := s.current; c != nil {
			s.mu.Unlock()
			if c.enter() {
				return c, nil
			}
			s.replace(c)
			continue
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
			return nil, ctx.Err()
		}
	}
}

// rebuild makes clients until one works. There is one of it at a time, so an outage costs one
// client per pause, however many callers wait.
func (s *Store) rebuild() {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		c, err := s.dial()
		s.mu.Lock()
		if err == nil && s.closed.Err() == nil {
			s.current = c
			close(s.made)
			s.made = nil
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		if err == nil {
			_ = c.raw.Close()
		}
		if s.closed.Err() != nil {
			return
		}
		s.logger.Debug("event store not reached", "error", err)
		if !sleep(s.closed, jitter(pause)) {
			return
		}
	}
}

// dial makes a client and has it find its node, before any call can get stuck in that.
func (s *Store) dial() (*client, error) {
	c := &client{idle: make(chan struct{})}
	c.none = sync.NewCond(&c.mu)
	config := *s.config
	config.Logger = c.bridge(s.logger)
	var err error
	if c.raw, err = esdb.NewClient(&config); err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	if _, err := c.raw.GetServerVersion(); err != nil {
		_ = c.raw.Close()
		return nil, fmt.Errorf("find the event store: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
	c.generation = s.generation
	c.life, c.kill = context.WithCancel(s.closed)
	return c, nil
}

// replace takes a client out of use.
func (s *Store) replace(c *client) {
	s.mu.Lock()
	was := s.current == c
	if was {
		s.current = nil
	}
	s.mu.Unlock()
	if was {
		s.logger.Info("event store connection replaced", "generation", c.generation)
		s.drain(c)
	}
}

// drain closes a retired client when its calls have ended. One that does not end even when told to
// hangs in the client's queue after all, as may be in a cluster whose leader moved; closing frees
// it with a panic, which the call's goroutine recovers from.
func (s *Store) drain(c *client) {
	c.retire()
	s.work.Go(func() {
		grace, cancel := context.WithTimeout(s.closed, drainGrace)
		defer cancel()
		select {
		case <-c.idle:
		case <-grace.Done():
		}
		c.kill()
		select {
		case <-c.idle:
		case <-time.After(abandonGrace):
			s.logger.Warn("event store client closed in use", "generation", c.generation)
		}
		_ = c.raw.Close()
	})
}

// end gives the position of the log's last event, 0 of an empty log.
func (c *client) end(ctx context.Context) (last eventlog.Position, err error) {
	opts := esdb.ReadAllOptions{Direction: esdb.Backwards, From: esdb.End{}}
	r, err := c.raw.ReadAll(ctx, opts, 1)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	e, err := r.Recv()
	if ended(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return eventlog.Position(e.OriginalEvent().Position.Commit), nil
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
