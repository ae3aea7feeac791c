package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"prelude/commands"
	"prelude/internal/esnode"
	"prelude/internal/eventlog"
	"prelude/internal/eventstore"
	"prelude/internal/llm"
	"prelude/internal/pgserver"
	"prelude/internal/postgres"
	"prelude/internal/vault"
	"prelude/migrations"
	"prelude/projections"
)

// parts are what is open, in the order in which it was opened.
type parts struct {
	cfg    *Config
	logger *slog.Logger
	gauge  *gauge // of what goes through the log; nil: nobody looks on
	node   *esnode.Node
	store  *eventstore.Store
	log    *eventlog.Log
	server *pgserver.Server
	dsn    string // of who makes the tables
	login  string // of the pool
	pool   *pgxpool.Pool
	place  *postgres.Place
	vault  *vault.Vault
	engine *commands.Engine
	models *llm.Router
	logID  string
	boot   *bootstrap // told how far a start is; nil: nobody asks
	closes []func() error
}

func (p *parts) onClose(f func() error) { p.closes = append(p.closes, f) }

// Close closes what is open, the last first. It tells all that went wrong.
func (p *parts) Close() error {
	var all error
	for i := len(p.closes) - 1; i >= 0; i-- {
		all = errors.Join(all, p.closes[i]())
	}
	return all
}

// openLog opens the log: a KurrentDB, the node of a Prelude that runs on this folder, or the folder itself.
func openLog(ctx context.Context, cfg *Config, logger *slog.Logger, alone bool) (*parts, error) {
	p := &parts{cfg: cfg, logger: logger}
	return p, p.openLog(ctx, alone)
}

func (p *parts) openLog(ctx context.Context, alone bool) error {
	p.awaits(storePart, "the event store has not answered yet")
	storeConfig := p.cfg.store(p.logger)
	if p.cfg.EventStore == "" {
		if err := p.cfg.folder(); err != nil {
			return err
		}
		socket, err := p.cfg.socket()
		if err != nil {
			return err
		}
		storeConfig.Socket = socket
		if err := p.startNode(ctx, socket, alone); err != nil {
			return err
		}
	}
	var err error
	if p.store, err = eventstore.Open(storeConfig); err != nil {
		return err
	}
	p.onClose(p.store.Close)
	p.awaits(storePart, "the event store has not answered yet")
	p.log = &eventlog.Log{Store: p.store}
	ready, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	ask := p.store.Readable
	if alone { // it writes
		ask = p.store.Ready
	}
	return storeFault(ask(ready))
}

// storeWithin is how long a start waits for a store that may come by itself. What does not is told at once.
const storeWithin = 10 * time.Second

// storeFault says once, in words for people, why the store cannot be used and what is to be done.
func storeFault(err error) error {
	if r := eventstore.ReasonOf(err); r != nil {
		return fmt.Errorf("%s: %s", r.Text, r.Remedy)
	}
	return err
}

var errAlone = errors.New("another prelude serves this data folder: stop it, use another PRELUDE_DATA, or share " +
	"one log with PRELUDE_EVENTSTORE")

// takePlace takes this program's place on the database: beside others, or alone where what it does would be undone, or
// done twice, by one that serves.
func (p *parts) takePlace(ctx context.Context, alone bool) (err error) {
	take := postgres.Share
	if alone {
		take = postgres.Alone
	}
	if p.place, err = take(ctx, p.dsn); err == nil {
		p.onClose(p.place.Close)
	}
	return err
}

// shapeNode is how the program runs its node. Tests have it behave as a real store does at times.
var shapeNode = func(c esnode.Config) esnode.Config { return c }

// startNode opens the folder, unless another Prelude has it and this one may speak to that.
func (p *parts) startNode(ctx context.Context, socket string, alone bool) error {
	node, err := esnode.Start(ctx, shapeNode(esnode.Config{Dir: p.cfg.path("log"), Socket: socket,
		Listen: p.cfg.NodeListen, Logger: p.logger}))
	switch {
	case errors.Is(err, esnode.ErrLocked) && alone:
		return errAlone
	case errors.Is(err, esnode.ErrLocked):
		return nil
	case err != nil:
		return fmt.Errorf("start the event node: %w", err)
	}
	p.node = node
	if p.cfg.NodeListen != "" {
		p.logger.Info("the event node answers other clients", "address", node.Addr())
	}
	p.onClose(node.Close)
	return nil
}

// openAll opens everything that commands and questions need.
func openAll(ctx context.Context, cfg *Config, logger *slog.Logger, alone bool) (*parts, error) {
	p := &parts{cfg: cfg, logger: logger}
	return p, p.open(ctx, alone)
}

func (p *parts) open(ctx context.Context, alone bool) error {
	if err := p.openLog(ctx, alone); err != nil {
		return err
	}
	p.awaits("database", "the database is being opened and migrated")
	if err := p.openDatabase(ctx); err != nil {
		return err
	}
	if err := p.takePlace(ctx, false); err != nil {
		return err
	}
	p.awaits("vault", "the vault is being opened and held against the log")
	if err := p.openVault(ctx, false); err != nil {
		return err
	}
	p.models = llm.New(p.cfg.models(p.logger))
	p.onClose(func() error { p.models.Close(); return nil })
	p.engine = commands.NewEngine(p.log, p.models, p.logger)
	p.engine.Snapshots = postgres.Snapshots{Pool: p.pool}
	var err error
	if p.logID, err = p.engine.Identify(ctx, p.vault.Installation()); err != nil {
		return fmt.Errorf("identify the log: %w", err)
	}
	if err := postgres.Belongs(ctx, p.dsn, p.logID); err != nil {
		return err
	}
	if err := p.compareVault(ctx); err != nil {
		return err
	}
	return p.engine.Own(ctx, p.vault.Installation())
}

// databaseFile tells other commands on this folder where the Postgres that Prelude runs answers.
const databaseFile = "postgres.dsn"

func (p *parts) openDatabase(ctx context.Context) error {
	embedded := p.cfg.DatabaseURL == ""
	p.dsn, p.login = p.cfg.DatabaseURL, cmp.Or(p.cfg.DatabasePoolURL, p.cfg.DatabaseURL)
	if embedded {
		if err := p.startPostgres(ctx); err != nil {
			return err
		}
	}
	if err := postgres.Migrate(ctx, p.dsn, migrations.FS); err != nil {
		return err
	}
	if embedded {
		if err := p.logIn(ctx); err != nil {
			return err
		}
	}
	if err := postgres.Owned(ctx, p.dsn, projections.Build()...); err != nil {
		return err
	}
	return p.openPool(ctx)
}

// logIn lets the pool of a Postgres that Prelude runs connect as the login role, so that nothing leads back from
// it to the superuser.
func (p *parts) logIn(ctx context.Context) error {
	if err := postgres.Login(ctx, p.dsn); err != nil {
		return err
	}
	var err error
	p.login, err = pgserver.As(p.dsn, postgres.LoginRole)
	return err
}

func (p *parts) openPool(ctx context.Context) error {
	var err error
	if p.pool, err = postgres.Open(ctx, p.login); err != nil {
		return err
	}
	p.onClose(func() error { within(closePool, p.pool.Close); return nil })
	session, current, err := postgres.Users(ctx, p.pool)
	if err != nil {
		return err
	}
	p.logger.Debug("the pool is open", "session_user", session, "current_user", current)
	if (p.cfg.DatabaseURL == "" || p.cfg.DatabasePoolURL != "") && session != postgres.LoginRole {
		return fmt.Errorf("the pool came in as %s, and must as %s", session, postgres.LoginRole)
	}
	return postgres.Same(ctx, p.dsn, p.pool)
}

// How long a close may take of what may hang with a Postgres that hangs.
const (
	closePool     = 300 * time.Millisecond
	closePostgres = 1300 * time.Millisecond // then it is stopped the hard way, which the next start recovers from
)

// within waits for f, but not for longer than d: whatever f still waits for ends with the process.
func within(d time.Duration, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(d):
	}
}

func (p *parts) startPostgres(ctx context.Context) error {
	server, err := pgserver.Start(ctx, pgserver.Config{Dir: p.cfg.path("postgres"),
		Patience: closePostgres, Logger: p.logger})
	if errors.Is(err, pgserver.ErrInUse) {
		dsn, readErr := os.ReadFile(p.cfg.path(databaseFile))
		if readErr != nil {
			return err
		}
		p.dsn = string(dsn)
		return nil
	}
	if err != nil {
		return fmt.Errorf("start Postgres: %w", err)
	}
	p.server = server
	p.onClose(server.Close)
	p.dsn = server.DSN("postgres")
	if err := os.WriteFile(p.cfg.path(databaseFile), []byte(p.dsn), 0o600); err != nil {
		return fmt.Errorf("note where Postgres answers: %w", err)
	}
	return nil
}

// errNoVault is why a master key is not taken for a vault that is empty: whether it is the right one only a backup can
// prove.
var errNoVault = errors.New("the vault is empty and the log is not: put the vault's newest backup back with prelude " +
	"vault restore, or, if there is none, end what the log holds with prelude vault give-up; another installation " +
	"needs an event store of its own")

// unbegun refuses a log in which an org was founded, and says which it is. A store may hold what is not ours.
func (p *parts) unbegun(ctx context.Context) error {
	orgs := eventlog.Filter{Prefixes: []string{eventlog.OrgCategory + "-"}}
	for signal, err := range p.log.Store.Subscribe(ctx, 0, orgs) {
		switch {
		case err != nil:
			return fmt.Errorf("look for orgs in the log: %w", err)
		case signal.Kind == eventlog.CaughtUp:
			return nil
		case signal.Kind == eventlog.Event && founds(signal.Raw):
			id, err := p.log.Identity(ctx)
			if err != nil {
				return err
			}
			return fmt.Errorf("the event store already holds a log of Prelude, with the id %s: %w", id, errNoVault)
		}
	}
	return ctx.Err()
}

// openVault opens the vault with the master key. Lost: it may be empty beside a log that is not.
func (p *parts) openVault(ctx context.Context, lost bool) error {
	fresh, err := vault.Fresh(ctx, p.pool)
	if err != nil {
		return fmt.Errorf("look at the vault: %w", err)
	}
	if fresh && !lost {
		if err := p.unbegun(ctx); err != nil {
			return err
		}
	}
	if err := p.cfg.folder(); err != nil {
		return err
	}
	if err := p.settle(ctx); err != nil {
		return err
	}
	key, made, err := vault.MasterKey(p.cfg.masterKey(), fresh)
	if err != nil {
		return err
	}
	if made {
		p.logger.Warn("a master key was made: back this file up, apart from the database; without it nothing "+
			"that people wrote can be read again", "file", p.cfg.masterKey())
	}
	if p.vault, err = vault.Open(ctx, p.pool, key); err != nil {
		return err
	}
	p.log.Keys = p.vault
	return nil
}
