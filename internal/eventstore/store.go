package eventstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"prelude/internal/eventlog"
)

// Config says where the event store is. One of Address and Socket is set.
type Config struct {
	Address string // a connection string: esdb://…, kurrentdb://…, with +discover for a cluster
	Socket  string // the path of the embedded node's unix socket
	// PasswordFile has the password of the address's user; it is looked at again while the store is open. Empty: the
	// address has it.
	PasswordFile string
	Name         string       // what gives the address, in words to people; empty: PRELUDE_EVENTSTORE
	Logger       *slog.Logger // nil: no log
}

// Store is an event store behind the guard. It implements eventlog.Store.
type Store struct {
	address *address
	login   *login // nil: nobody in particular asks
	socket  string
	name    string
	logger  *slog.Logger
	health  health

	closed context.Context // ends with Close
	close  context.CancelFunc
	work   sync.WaitGroup // goroutines that Close waits for

	mu         sync.Mutex
	current    *link
	made       chan struct{} // closed when current is there; nil while nobody makes one
	generation int
	reason     error    // why there was none the last time that one was looked for
	seen       []string // members of the cluster, as they were last told of

	hopeless context.Context // ends while it is known that waiting brings no link
	despair  context.CancelFunc
}

var _ eventlog.Store = (*Store)(nil)

// errClosed is the cause of calls that end because the store was closed.
var errClosed = errors.New("the event store's client is closed")

const (
	defaultPatience = 10 * time.Second // of calls whose context has no deadline
	closeGrace      = 5 * time.Second
)

// Open prepares the way to an event store; it need not be up yet. Its error is a faulty Config.
func Open(cfg Config) (*Store, error) {
	s := &Store{socket: cfg.Socket, name: cmp.Or(cfg.Name, "PRELUDE_EVENTSTORE"), logger: cfg.Logger}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	if err := s.configure(cfg); err != nil {
		return nil, err
	}
	s.health.logger = s.logger
	s.closed, s.close = context.WithCancel(context.Background())
	s.hopeless, s.despair = context.WithCancel(s.closed)
	return s, nil
}

func (s *Store) configure(cfg Config) (err error) {
	if (cfg.Address == "") == (cfg.Socket == "") {
		return errors.New("an event store needs either an address or a socket")
	}
	text := cmp.Or(cfg.Address, "esdb://localhost?tls=false")
	if s.address, err = parseAddress(text); err != nil {
		return fmt.Errorf("%s %w", s.name, err)
	}
	a := s.address
	if a.user != "" && (a.password == "") == (cfg.PasswordFile == "") {
		return fmt.Errorf("%s has a user, who needs a password either there or in a file of its own, not in both", s.name)
	}
	if _, err := a.tlsConfig(); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	switch {
	case a.unverified && !a.plain:
		s.logger.Warn("the event store's certificate is not verified: tlsVerifyCert=false stands in its address")
	case a.user != "" && a.plain:
		s.logger.Warn("the event store's user and password are never sent: tls=false stands in its address")
	}
	if a.user == "" || a.plain {
		return nil
	}
	s.login = &login{user: a.user, password: a.password, file: cfg.PasswordFile}
	_, err = s.login.GetRequestMetadata(context.Background())
	return err
}

// hosts are the addresses at which the store, or its cluster's members, are looked for at first.
func (s *Store) hosts() []string {
	if s.socket != "" {
		return []string{"unix:" + s.socket}
	}
	return s.address.hosts
}

// named gives a reason in which the address is called by what gives it.
func (s *Store) named(r *Reason) *Reason {
	return &Reason{Text: strings.ReplaceAll(r.Text, "%s", s.name), Remedy: strings.ReplaceAll(r.Remedy, "%s", s.name),
		Lasting: r.Lasting}
}

// Ready asks the store whether it can be read and appended to; nothing is appended. Nil says that it can. It does not
// wait for what waiting does not bring, such as rights. Error: eventlog.ErrUnavailable, with a [Reason] where one is
// known.
func (s *Store) Ready(ctx context.Context) error {
	return s.ask(ctx, s.tryRead, s.tryAppend)
}

// Readable is Ready for those who only read.
func (s *Store) Readable(ctx context.Context) error { return s.ask(ctx, s.tryRead) }

// ask makes trial calls, side by side, again while another link may answer them.
func (s *Store) ask(ctx context.Context, trials ...func(context.Context, *link) error) error {
	ctx, cancel := s.patience(ctx)
	defer cancel()
	var why error
	for {
		l, err := s.acquireIfAny(ctx)
		if err == nil {
			err = s.tryAll(ctx, l, trials)
		}
		if err == nil {
			return nil
		}
		why = telling(why, err)
		kind := kindOf(err)
		// Another's wait may have been in vain for so long that the call which all share was ended.
		broken := errors.Is(err, errSilent) || errors.Is(err, errCut)
		if l == nil || kind != transport && kind != elsewhere && !broken || !sleep(ctx, jitter(firstPause)) {
			return unavailable(ctx, why)
		}
	}
}

// tryAll makes trial calls on a link. The first fault is told.
func (s *Store) tryAll(ctx context.Context, l *link, trials []func(context.Context, *link) error) (first error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan error, len(trials))
	for _, trial := range trials {
		go func() { results <- trial(ctx, l) }()
	}
	for range trials {
		if err := <-results; err != nil && first == nil {
			first = err
			cancel() // the rest ends with it
		}
	}
	return first
}

// patience bounds calls whose caller has not.
func (s *Store) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, s.address.deadline)
}

// Close ends what is under way. Close it before the node.
func (s *Store) Close() error {
	s.mu.Lock()
	s.close()
	l := s.current
	s.current = nil
	s.mu.Unlock()
	s.health.stop()
	if l != nil {
		l.close()
	}
	idle := make(chan struct{})
	go func() {
		s.work.Wait()
		close(idle)
	}()
	select {
	case <-idle:
		return nil
	case <-time.After(closeGrace):
		return errors.New("the event store's client did not end in time")
	}
}
