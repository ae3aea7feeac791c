package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Instance is one running program.
type Instance struct {
	ID        string
	Boot      int64  // when it started, in milliseconds
	Home      string // names its data folder, which one process at a time has
	Advertise string // where other instances reach it
}

// Instances is the register of the instances on one database: each says now and then that it is there.
type Instances struct {
	Pool   *pgxpool.Pool
	Me     Instance
	Logger *slog.Logger

	mu     sync.Mutex
	known  map[string]heard
	steady time.Time // since when this instance's own heartbeats have arrived; zero: they do not
}

// heard is what the register said of an instance when it was last read.
type heard struct {
	boot   int64
	silent bool
}

const (
	beatEvery = 10 * time.Second
	// Silence is how long an instance is not heard before it is thought to be gone.
	Silence = 30 * time.Second
	// forgetAfter is how long what was never heard again stays in the register.
	forgetAfter = 7 * 24 * time.Hour
)

// ErrInstance: another process is that instance.
var ErrInstance = errors.New("another prelude on this database runs as this instance: give each its own " +
	"PRELUDE_INSTANCE and PRELUDE_DATA (the id is noted in the data folder's file instance); where the other was " +
	"killed on another machine, start again half a minute later")

// ErrReplaced: this instance has no place among the others any more.
var ErrReplaced = errors.New("another process runs as this instance, or, while this one was cut off from the " +
	"database, a command ran that has to be alone, or the database was put back from before: start it again")

// Announce enters this instance in the register. An entry of the same data folder is one of before: who has the folder
// now knows that the process of then is gone. Its boot is later than that one's, whatever the clock says.
// Error: [ErrInstance].
func (i *Instances) Announce(ctx context.Context) error {
	boot, err := i.enter(ctx)
	if err == nil {
		i.Me.Boot = boot
	}
	return err
}

func (i *Instances) enter(ctx context.Context) (boot int64, err error) {
	err = i.batch(ctx, func(b *pgx.Batch) {
		b.Queue(`DELETE FROM prelude.instances WHERE at < now() - $1::interval
			AND to_timestamp(boot / 1000) < now() - $1::interval`, forgetAfter)
		b.Queue(`WITH entered AS (INSERT INTO prelude.instances AS i (instance, boot, home, advertise, at)
				VALUES ($1, $2, $3, $4, now()) ON CONFLICT (instance) DO UPDATE
				SET boot = greatest(excluded.boot, i.boot + 1), home = excluded.home,
					advertise = excluded.advertise, at = excluded.at
				WHERE i.home = excluded.home OR i.at < now() - $5::interval RETURNING i.boot)
			SELECT coalesce((SELECT boot FROM entered), 0)`, i.Me.ID, i.Me.Boot, i.Me.Home, i.Me.Advertise, Silence).
			QueryRow(func(r pgx.Row) error { return r.Scan(&boot) })
	})
	switch {
	case err != nil:
		return 0, fmt.Errorf("enter the register of instances: %w", err)
	case boot == 0:
		return 0, ErrInstance
	}
	return boot, nil
}

// Run says every few seconds that this instance is there, and reads who else is, until the context ends.
// Error: [ErrReplaced].
func (i *Instances) Run(ctx context.Context) error {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		err := i.beat(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, ErrReplaced):
			return err
		case err != nil:
			i.Logger.Warn("a heartbeat was not noted", "error", err)
			i.missed()
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func (i *Instances) missed() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.steady = time.Time{}
}

// beat notes that this instance is there, and reads the register.
func (i *Instances) beat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, beatEvery/2)
	defer cancel()
	mine, known := false, map[string]heard{}
	err := i.batch(ctx, func(b *pgx.Batch) {
		b.Queue(`WITH noted AS (UPDATE prelude.instances SET at = now() WHERE instance = $1 AND boot = $2 RETURNING 1)
			SELECT EXISTS (SELECT FROM noted)`, i.Me.ID, i.Me.Boot).
			QueryRow(func(r pgx.Row) error { return r.Scan(&mine) })
		b.Queue(`SELECT instance, boot, at < now() - $1::interval FROM prelude.instances`, Silence).
			Query(func(rows pgx.Rows) error {
				var id string
				var h heard
				_, err := pgx.ForEachRow(rows, []any{&id, &h.boot, &h.silent}, func() error {
					known[id] = h
					return nil
				})
				return err
			})
	})
	if err != nil {
		return err
	}
	if !mine {
		return ErrReplaced
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.known = known
	if i.steady.IsZero() {
		i.steady = time.Now()
	}
	return nil
}

// Gone says whether a process is known to be gone: its instance was started anew since, or was not heard for so long.
// After an outage of the database nobody was heard: silence counts when this instance's own heartbeats have
// arrived for as long.
func (i *Instances) Gone(instance string, boot int64) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	h, there := i.known[instance]
	steady := !i.steady.IsZero() && time.Since(i.steady) > Silence
	return there && (h.boot > boot || h.silent && steady)
}

// Address is where a process is reached; empty: it is not in the register.
func (i *Instances) Address(ctx context.Context, instance string, boot int64) (string, error) {
	var address string
	err := i.batch(ctx, func(b *pgx.Batch) {
		b.Queue(`SELECT coalesce((SELECT advertise FROM prelude.instances WHERE instance = $1 AND boot = $2
			AND at >= now() - $3::interval), '')`, instance, boot, Silence).
			QueryRow(func(r pgx.Row) error { return r.Scan(&address) })
	})
	if err != nil {
		return "", fmt.Errorf("look for an instance: %w", err)
	}
	return address, nil
}

// Serving says whether an instance on this database was heard lately.
func Serving(ctx context.Context, conn *pgx.Conn) (bool, error) {
	var some bool
	err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM prelude.instances WHERE at >= now() - $1::interval)`, Silence).
		Scan(&some)
	if err != nil {
		return false, fmt.Errorf("look for instances: %w", err)
	}
	return some, nil
}

// Leave notes that this instance has stopped.
func (i *Instances) Leave(ctx context.Context) error {
	err := i.batch(ctx, func(b *pgx.Batch) {
		b.Queue(`UPDATE prelude.instances SET at = '-infinity' WHERE instance = $1 AND boot = $2`, i.Me.ID, i.Me.Boot)
	})
	if err != nil {
		return fmt.Errorf("leave the register of instances: %w", err)
	}
	return nil
}

func (i *Instances) batch(ctx context.Context, queue func(*pgx.Batch)) error {
	b := &pgx.Batch{}
	b.Queue(`SELECT set_config('role', 'prelude_proj', true)`)
	queue(b)
	return i.Pool.SendBatch(ctx, b).Close()
}
