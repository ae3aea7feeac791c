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
	turn int64 // how often anyone had all of the database, before it or with it
}

// Why a place is not given, or not kept.
var (
	ErrServed = errors.New("another prelude, a server or a command, is at work on this database: stop all of them; one " +
		"whose machine was lost counts as stopped half a minute later")
	ErrTaken = errors.New("a command that has to be alone is at work on this database: start again when it has ended")
	ErrLost  = errors.New("the connection that kept others from this database was lost: do it again")
)

const (
	// placeWithin is how long a place is waited for: that of a program that was just killed is free a moment later.
	placeWithin = 2 * time.Second
	// keepEvery is how often a place is looked after.
	keepEvery = 5 * time.Second
)

// Share takes a place beside others that share. Error: [ErrTaken].
func Share(ctx context.Context, dsn string) (*Place, error) {
	p, err := take(ctx, dsn, `SELECT pg_advisory_lock_shared($1)`, `SELECT n FROM prelude.turns`)
	if errors.Is(err, errPlace) {
		err = ErrTaken
	}
	return p, err
}

// Alone takes all of the database. Who loses its connection meanwhile does not get its place back, though this one was
// given up before: what it knows is old. Error: [ErrServed].
func Alone(ctx context.Context, dsn string) (*Place, error) {
	p, err := take(ctx, dsn, `SELECT pg_advisory_lock($1)`, `UPDATE prelude.turns SET n = n + 1 RETURNING n`)
	if errors.Is(err, errPlace) {
		err = ErrServed
	}
	return p, err
}

var errPlace = errors.New("the place is taken")

func take(ctx context.Context, dsn, lock, turn string) (*Place, error) {
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
		set_config('tcp_user_timeout', '25000', false), set_config('idle_session_timeout', '0', false),
		set_config('lock_timeout', $1, false)`,
		fmt.Sprint(placeWithin.Milliseconds()))
	if err == nil {
		_, err = conn.Exec(ctx, lock, placeLock)
	}
	if err == nil {
		b := &pgx.Batch{}
		b.Queue(`SELECT set_config('role', 'prelude_owner', true)`)
		b.Queue(turn).QueryRow(func(r pgx.Row) error { return r.Scan(&p.turn) })
		err = conn.SendBatch(ctx, b).Close()
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
// again within seconds. Errors: [ErrTaken], where another has all of the database then; [ErrReplaced], where one had
// it.
func (p *Place) Keep(ctx context.Context, logger *slog.Logger) error {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		err := p.hold(ctx)
		switch {
		case errors.Is(err, ErrTaken), errors.Is(err, ErrReplaced):
			return err
		case err != nil && ctx.Err() == nil:
			logger.Warn("this instance's place on the database is not held", "error", err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
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
	if err == nil && next.turn != p.turn {
		err = errors.Join(ErrReplaced, next.Close())
	}
	if err != nil {
		return err
	}
	err = p.Close()
	p.conn = next.conn
	return err
}

// Held says whether the place is held still, before something is done for which it has to be. Error: [ErrLost].
func (p *Place) Held(ctx context.Context) error {
	if err := p.conn.Ping(ctx); err != nil {
		return fmt.Errorf("%w (%w)", ErrLost, err)
	}
	return nil
}

// Close gives the place up.
func (p *Place) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return p.conn.Close(ctx)
}
