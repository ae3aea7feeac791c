package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Place is a program's place on a database, which many share or one has alone. It is a lock that a connection of its
// own holds: whoever ends, however, gives it up, and who hangs still has it.
type Place struct {
	dsn  string
	conn *pgx.Conn
}

// Why a place is not given, or not kept.
var (
	ErrServed = errors.New("another prelude serves this log: stop all of them; one whose machine was lost counts as " +
		"stopped half a minute later")
	ErrTaken = errors.New("a command that has to be alone is at work on this database: start again when it has ended")
)

const (
	// placeWithin is how long a place is waited for: that of a program that was just killed is free a moment later.
	placeWithin = 2 * time.Second
	// keepEvery is how often a place is looked after.
	keepEvery = 5 * time.Second
)

// Share takes a place beside others that share. Error: [ErrTaken].
func Share(ctx context.Context, dsn string) (*Place, error) {
	p, err := take(ctx, dsn, `SELECT pg_advisory_lock_shared($1)`)
	if errors.Is(err, errPlace) {
		err = ErrTaken
	}
	return p, err
}

// Alone takes all of the database, and ends the register's entries of all instances: one that lost its connection, and
// comes back when this place was given up, must not go on with what it knew before. Error: [ErrServed].
func Alone(ctx context.Context, dsn string) (*Place, error) {
	p, err := take(ctx, dsn, `SELECT pg_advisory_lock($1)`)
	if errors.Is(err, errPlace) {
		return nil, ErrServed
	}
	if err != nil {
		return nil, err
	}
	b := &pgx.Batch{}
	b.Queue(`SELECT set_config('role', 'prelude_proj', true)`)
	b.Queue(`UPDATE prelude.instances SET boot = boot + 1, at = '-infinity'`)
	if err := p.conn.SendBatch(ctx, b).Close(); err != nil {
		return nil, errors.Join(fmt.Errorf("end the register's entries: %w", err), p.Close())
	}
	return p, nil
}

var errPlace = errors.New("the place is taken")

func take(ctx context.Context, dsn, lock string) (*Place, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, errors.New("DATABASE_URL is not a Postgres connection string") // the cause may show the password
	}
	cfg.ConnectTimeout = keepEvery
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	p := &Place{dsn: dsn, conn: conn}
	// The server notices within half a minute when the machine at the other end is gone, and never ends an idle
	// connection by itself.
	_, err = conn.Exec(ctx, `SELECT set_config('tcp_keepalives_idle', '10', false),
		set_config('tcp_keepalives_interval', '5', false), set_config('tcp_keepalives_count', '3', false),
		set_config('idle_session_timeout', '0', false), set_config('lock_timeout', $1, false)`,
		fmt.Sprint(placeWithin.Milliseconds()))
	if err == nil {
		_, err = conn.Exec(ctx, lock, placeLock)
	}
	const lockNotAvailable = "55P03"
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == lockNotAvailable {
		err = errPlace
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("take a place on the database: %w", err), p.Close())
	}
	return p, nil
}

// Keep sees to it that a shared place is held, until the context ends: after an outage of the database it is taken
// again. Error: [ErrTaken], where another has all of the database meanwhile.
func (p *Place) Keep(ctx context.Context, logger *slog.Logger) error {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		err := p.hold(ctx)
		switch {
		case errors.Is(err, ErrTaken):
			return err
		case err != nil && ctx.Err() == nil:
			logger.Warn("this instance's place on the database is not held", "error", err)
		}
	}
}

// hold takes the place again where the connection that held it is gone.
func (p *Place) hold(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, keepEvery)
	defer cancel()
	if p.conn.Ping(ctx) == nil {
		return nil
	}
	next, err := Share(ctx, p.dsn)
	if err != nil {
		return err
	}
	err = p.Close()
	p.conn = next.conn
	return err
}

// Close gives the place up.
func (p *Place) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return p.conn.Close(ctx)
}
