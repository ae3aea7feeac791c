package eventstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"

	"prelude/internal/eventlog"
)

// Config says where the event store is. One of Address and Socket is set.
type Config struct {
	Address string       // a connection string, esdb://…
	Socket  string       // the path of the embedded node's unix socket
	Logger  *slog.Logger // nil: no log
}

// Store is an event store behind the guard. It implements eventlog.Store.
type Store struct {
	config *esdb.Configuration
	seeds  []string // where to ask for the cluster's nodes; none: the address is the one node
	logger *slog.Logger

	closed context.Context // ends with Close
	close  context.CancelFunc
	work   sync.WaitGroup // goroutines that Close waits for

	mu         sync.Mutex
	current    *link
	made       chan struct{} // closed when current is there; nil while nobody makes one
	generation int
	reason     error // why there was none the last time that one was looked for
	stranger   error // what else answers at the address, as long as there was never a store

	strange context.Context // ends when there is a stranger
	found   context.CancelFunc
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
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	config, err := configuration(cfg)
	if err != nil {
		return nil, err
	}
	s := &Store{config: config, seeds: seeds(config), logger: cfg.Logger}
	s.closed, s.close = context.WithCancel(context.Background())
	s.strange, s.found = context.WithCancel(s.closed)
	return s, nil
}

func configuration(cfg Config) (*esdb.Configuration, error) {
	if (cfg.Address == "") == (cfg.Socket == "") {
		return nil, errors.New("an event store needs either an address or a socket")
	}
	address := cfg.Address
	if cfg.Socket != "" {
		address = "esdb://localhost?tls=false"
	}
	c, err := esdb.ParseConnectionString(address)
	if err != nil {
		// The cause may quote the address, and with it a password.
		return nil, errors.New("the event store's address is no valid connection string")
	}
	if cfg.Socket != "" {
		c.Address = "unix:" + cfg.Socket
	}
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("the event store's address: %w", err)
	}
	return c, nil
}

// Ready makes one round trip to the store; nil says that it answers. It does not wait for what is no
// event store to become one. Error: eventlog.ErrUnavailable.
func (s *Store) Ready(ctx context.Context) error {
	ctx, cancel := s.patience(ctx)
	defer cancel()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s.mu.Lock()
	strange := s.strange
	s.mu.Unlock()
	defer context.AfterFunc(strange, stop)()
	_, err := s.end(ctx)
	if err != nil && !errors.Is(err, eventlog.ErrUnavailable) {
		err = unavailable(ctx, err)
	}
	return err
}

// patience bounds calls whose caller has not.
func (s *Store) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, defaultPatience)
}

// Close ends what is under way. Close it before the node.
func (s *Store) Close() error {
	s.mu.Lock()
	s.close()
	l := s.current
	s.current = nil
	s.mu.Unlock()
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
