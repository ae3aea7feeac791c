// Package pgserver runs the Postgres that Prelude keeps for itself where no DATABASE_URL is set: it
// finds the binaries, makes the data folder, starts the server on a private unix socket, watches
// over it, and takes over one that a killed Prelude left running. It knows nothing of what is
// stored.
package pgserver

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"sync"
	"time"

	"prelude/internal/filelock"
)

// Superuser is the name of the server's only role at first.
const Superuser = "prelude"

// Config says where the server lives.
type Config struct {
	Dir       string   // holds the data folder, the log file and the lock; made if missing
	SocketDir string   // where the socket's folder is made; empty: in Dir, if it is not too long
	Bin       string   // the folder with initdb and postgres; empty: found
	Settings  []string // further settings, each "name=value"
	// Patience is how long a stop waits for what is open to be rolled back, before it stops the hard way, which
	// the next start recovers from; zero: 30 s.
	Patience time.Duration
	Logger   *slog.Logger
}

// Server is a running Postgres, and the one Prelude that may run it.
type Server struct {
	cfg  Config
	lock *filelock.Lock
	bin  binaries
	acct *account // whom it runs as; nil: as this process does
	sock socket

	cancel context.CancelFunc
	done   chan struct{} // the watch has ended
	proc   *process      // the watch's until done
	once   sync.Once
	err    error
}

// Start brings the server up, or takes over the one that runs in cfg.Dir, and returns once it
// answers. The context bounds the start alone. Errors: ErrNoBinaries, ErrInUse, ErrVersion.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("resolve the data folder: %w", err)
	}
	cfg.Dir = dir
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Patience == 0 {
		cfg.Patience = 30 * time.Second
	}
	s := &Server{cfg: cfg, done: make(chan struct{})}
	if s.lock, err = takeLock(dir); err != nil {
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		_ = s.lock.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) error {
	var err error
	if s.bin, err = findFor(ctx, s.cfg.Bin, s.data()); err != nil {
		return err
	}
	if s.acct, err = accountFor(s.data()); err != nil {
		return err
	}
	if s.sock, err = makeSocket(s.cfg, s.acct); err != nil {
		return err
	}
	if err := s.create(ctx); err != nil {
		return err
	}
	if s.proc, err = s.up(ctx); err != nil {
		return err
	}
	// The watch outlives the start: only Close ends it.
	watch, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	go s.watch(watch)
	return nil
}

// DSN is the address of a database of this server, for its superuser.
func (s *Server) DSN(database string) string { return s.sock.dsn(database) }

// As is an address that [Server.DSN] gave, for another user: the private socket trusts who may reach it.
func As(dsn, user string) (string, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return "", fmt.Errorf("read the address of Postgres: %w", err)
	}
	u.User = url.User(user)
	return u.String(), nil
}

// Close stops the server as "fast" does, rolling back what is open, and waits until it is gone. Beyond
// Config.Patience it stops as "immediate" does, and at last kills it.
func (s *Server) Close() error {
	s.once.Do(func() {
		s.cancel()
		<-s.done
		s.err = s.proc.stop(s.cfg.Patience)
		if err := s.lock.Close(); s.err == nil && err != nil {
			s.err = fmt.Errorf("release the lock: %w", err)
		}
	})
	return s.err
}

func (s *Server) data() string    { return filepath.Join(s.cfg.Dir, "data") }
func (s *Server) logPath() string { return filepath.Join(s.cfg.Dir, "postgres.log") }

func (k socket) dsn(database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(Superuser), Path: "/" + database}
	u.RawQuery = url.Values{"host": {k.path}, "port": {port}, "sslmode": {"disable"}}.Encode()
	return u.String()
}
