package eventstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
)

// link is what leads to one node: a connection for calls that are soon over, and others for those that stay. A store
// has one at a time, and is by that in one of these states:
//
//	          a node is found          the connection breaks, or the node is silent
//	nobody ─────────────────▶ leader ────────────────────────────────▶ nobody
//	   │                       ▲   ▲
//	   │ of a cluster, where   │   │ asked anew, the members name the leader, or the same
//	   │ no leader is known    │   │ node once more: what runs goes on until then
//	   └──────▶ follower ──────┘ doubted ◀── "not I": not leader, no leader, not ready, too busy;
//	                                         no answer; the node says that it has another role
//
// So a node is left for another only when that is connected to, and for nobody only when its connection is of no use.
type link struct {
	store   *Store
	conn    *grpc.ClientConn
	address string
	role    Role // as it was chosen; of a node that has lost it since, None
	version string

	done context.Context // ends when it is closed
	end  context.CancelFunc
	// doubted is told when an answer, or none, makes it doubtful that this is the node to use.
	doubted chan struct{}

	mu      sync.Mutex
	appends *appends // the call that appends share; nil before the first
	quiet   quiet    // of reads
	trunks  []*trunk
	closed  bool
}

const (
	firstPause   = 50 * time.Millisecond
	longestPause = time.Second
	// doubtTime is how long calls go unanswered before their connection is in doubt, broken or not.
	doubtTime = 2500 * time.Millisecond
	// doubtPause is the least time between two surveys of a cluster: it is asked for each of its nodes.
	doubtPause = 300 * time.Millisecond
)

func newLink(s *Store, conn *grpc.ClientConn, address string, role Role, version string) *link {
	l := &link{store: s, conn: conn, address: address, role: role, version: version, doubted: make(chan struct{}, 1)}
	l.done, l.end = context.WithCancel(s.closed)
	return l
}

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
	l.end()
	l.mu.Lock()
	l.closed = true
	a, trunks := l.appends, l.trunks
	l.trunks = nil
	l.mu.Unlock()
	if a != nil {
		a.cancel(nil)
	}
	_ = l.conn.Close() // its one error says that it is closed already
	for _, t := range trunks {
		_ = t.conn.Close()
	}
}

// trunk is a connection for calls that stay, such as subscriptions. A store takes a hundred calls on a connection
// (24.6), and lets those beyond wait until others end: on the one for appends and reads they would end those.
type trunk struct {
	conn  *grpc.ClientConn
	calls int
}

// trunkCalls is how many calls that stay share a connection.
const trunkCalls = 90

// join gives a connection for a call that stays, until it is left; broken: nothing else is to be put on it.
func (l *link) join() (conn *grpc.ClientConn, leave func(broken bool), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, nil, errReplaced
	}
	i := slices.IndexFunc(l.trunks, func(t *trunk) bool { return t.calls < trunkCalls })
	if i < 0 {
		conn, err := l.store.connect(l.address, l.role)
		if err != nil {
			return nil, nil, err
		}
		i = len(l.trunks)
		l.trunks = append(l.trunks, &trunk{conn: conn})
	}
	t := l.trunks[i]
	t.calls++
	return t.conn, func(broken bool) { l.leave(t, broken) }, nil
}

// leave counts a call off. The last one closes its connection, but for one that is kept for the next call.
func (l *link) leave(t *trunk, broken bool) {
	l.mu.Lock()
	t.calls--
	i := slices.Index(l.trunks, t)
	drop := i >= 0 && (broken || t.calls == 0 && len(l.trunks) > 1)
	if drop {
		l.trunks = slices.Delete(l.trunks, i, i+1)
	}
	l.mu.Unlock()
	if drop {
		_ = t.conn.Close() // its one error says that it is closed already
	}
}

// acquire gives a link that works; it waits for one until the context ends.
func (s *Store) acquire(ctx context.Context) (*link, error) {
	for {
		l, made, err := s.present()
		if l != nil || err != nil {
			return l, err
		}
		select {
		case <-made:
		case <-s.closed.Done():
			return nil, errClosed
		case <-ctx.Done():
			return nil, s.why(ctx)
		}
	}
}

// acquireIfAny is acquire for those who do not wait where waiting brings nothing.
func (s *Store) acquireIfAny(ctx context.Context) (*link, error) {
	s.mu.Lock()
	hopeless := s.hopeless
	s.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(hopeless, cancel)()
	return s.acquire(ctx)
}

// present gives the link there is, or what is closed when there is one.
func (s *Store) present() (*link, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed.Err() != nil:
		return nil, nil, errClosed
	case s.current != nil:
		return s.current, nil, nil
	case s.made == nil:
		s.made = make(chan struct{})
		s.work.Go(s.rebuild)
	}
	return nil, s.made, nil
}

// why is what a caller is told whose patience ended before there was a link: why there is none, if
// that is known.
func (s *Store) why(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason != nil {
		return s.reason
	}
	return ctx.Err()
}

// spawn runs work that Close waits for, unless the store is closed already.
func (s *Store) spawn(work func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Err() == nil {
		s.work.Go(work)
	}
}

// rebuild makes links until one works. There is one of it at a time, so an outage costs one
// connection per pause, however many callers wait.
func (s *Store) rebuild() {
	for pause := s.address.firstPause; ; pause = min(2*pause, longestPause) {
		l, err := s.dial("")
		if s.closed.Err() != nil {
			if l != nil {
				l.close()
			}
			return
		}
		if err == nil {
			s.install(l)
			return
		}
		s.nobody(err)
		if !sleep(s.closed, jitter(pause)) {
			return
		}
	}
}

// nobody notes why there is no link.
func (s *Store) nobody(why error) {
	s.health.bad(connecting, why)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reason = why
	if r := ReasonOf(why); r != nil && r.Lasting {
		s.despair()
	} else if s.hopeless.Err() != nil {
		s.hopeless, s.despair = context.WithCancel(s.closed)
	}
}

// install makes a new link the one that calls use, in the place of the one there is, if any.
func (s *Store) install(l *link) {
	s.mu.Lock()
	if s.closed.Err() != nil {
		s.mu.Unlock()
		l.close()
		return
	}
	old := s.current
	s.generation++
	s.current, s.reason = l, nil
	if s.hopeless.Err() != nil {
		s.hopeless, s.despair = context.WithCancel(s.closed)
	}
	if s.made != nil {
		close(s.made)
		s.made = nil
	}
	if s.socket == "" {
		s.work.Go(func() { s.watch(l) })
	} else {
		s.work.Go(func() { s.probe(l) })
	}
	s.logger.Debug("event store connected", "generation", s.generation, "role", l.role)
	s.mu.Unlock()
	s.health.good(connecting)
	if old != nil {
		old.close()
	}
}

// replace takes a link out of use.
func (s *Store) replace(l *link, why error) {
	s.mu.Lock()
	was := s.current == l
	if was {
		s.current = nil
	}
	s.mu.Unlock()
	if was {
		s.logger.Debug("event store connection lost", "error", why)
		l.close()
		// Somebody has to look for another, also while nobody asks: whoever subscribes waits for it alone.
		_, _, _ = s.present() // it says who comes next, which is of no matter here
	}
}

var errReplaced = errors.New("the connection was replaced")

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
