package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"prelude/internal/eventlog"
	"prelude/internal/postgres"
	"prelude/projections"
)

var (
	errDiffers   = errors.New("what is served is not what the log says: prelude rebuild --yes builds it anew")
	errVerifying = errors.New("another prelude rebuild --verify is at work on this database")
)

// cleanFor is how long taking away a build may take, also after an interrupt.
const cleanFor = 30 * time.Second

// verify builds this program's versions anew on the side and holds them against those that are served, while a server
// runs or not.
func verify(ctx context.Context, cfg *Config, s streams) error {
	return withReaders(ctx, cfg, s, func(ctx context.Context, p *parts, l looked) (err error) {
		lock, err := pgx.Connect(ctx, p.dsn)
		if err != nil {
			return fmt.Errorf("connect to the database: %w", err)
		}
		defer func() { err = errors.Join(err, lock.Close(context.WithoutCancel(ctx))) }()
		mine := false
		err = lock.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", postgres.VerifyLock).Scan(&mine)
		if err == nil && !mine {
			err = errVerifying
		}
		if err != nil {
			return err
		}
		if err := p.cleanAside(ctx, lock); err != nil { // of one that was killed
			return err
		}
		defer func() { err = errors.Join(err, p.cleanAside(ctx, lock)) }()
		return p.verify(ctx, l, s)
	})
}

// cleanAside takes away what builds on the side have left, also when ctx has ended.
func (p *parts) cleanAside(ctx context.Context, lock *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanFor)
	defer cancel()
	statements, err := projections.DropAside(ctx, lock)
	if err == nil {
		err = postgres.Owned(ctx, p.dsn, statements...)
	}
	if err != nil {
		return fmt.Errorf("take away the build on the side: %w", err)
	}
	return nil
}

func (p *parts) verify(ctx context.Context, l looked, s streams) error {
	differs := false
	var views projections.Reader
	for _, r := range projections.Kept() {
		aside := r.Aside(1 + rand.IntN(1<<30)) //nolint:gosec // a number, not a secret
		if r.Name == projections.Views {
			views = aside
		}
		found, rows, err := p.verifyReader(ctx, l, r, aside, s)
		if err != nil {
			return err
		}
		differs = differs || found > 0
		_, err = fmt.Fprintf(s.out, "%s, version %d: %d rows, %d differences\n", r.Name, r.Version, rows, found)
		if err != nil {
			return err
		}
	}
	if l.index != nil {
		found, err := p.verifyIndex(ctx, l, views, s)
		if err != nil {
			return err
		}
		differs = differs || found > 0
	}
	if differs {
		return errDiffers
	}
	return nil
}

// verifyReader builds what one reader keeps, and compares it with what is served as of the same position.
func (p *parts) verifyReader(ctx context.Context, l looked, r, aside projections.Reader, s streams,
) (differences, rows int, err error) {
	if err := postgres.Owned(ctx, p.dsn, aside.Build()); err != nil {
		return 0, 0, err
	}
	// Most of it is built before the look at what is served begins: a look keeps old rows from being cleared away.
	head, err := p.log.Head(ctx)
	if err == nil {
		head, err = p.servedTo(ctx, r, head)
	}
	if err == nil {
		err = l.engine.Build(ctx, aside, head, progressOf(s.err, r.Name, head))
	}
	if err != nil {
		return 0, 0, err
	}
	served, err := p.look(ctx, r)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, served.close(ctx)) }()
	if err := l.engine.Build(ctx, aside, served.At, nil); err != nil {
		return 0, 0, err
	}
	built, err := p.look(ctx, aside)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, built.close(ctx)) }()
	rows, err = projections.Compare(ctx, served.Served, built.Served, func(d projections.Difference) {
		differences++
		printDifference(s.out, d, r.Schema())
	})
	return differences, rows, err
}

// looking is a look at tables, with the connection that it holds.
type looking struct {
	*projections.Served
	conn *pgx.Conn
}

func (p *parts) look(ctx context.Context, r projections.Reader) (looking, error) {
	conn, err := pgx.Connect(ctx, p.dsn)
	if err != nil {
		return looking{}, fmt.Errorf("connect to the database: %w", err)
	}
	served, err := projections.Look(ctx, conn, r)
	if err != nil {
		return looking{}, errors.Join(err, conn.Close(ctx))
	}
	return looking{served, conn}, nil
}

func (l looking) close(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	return errors.Join(l.Close(ctx), l.conn.Close(ctx))
}

// servedTo is how far what is served has applied the log, and at most to.
func (p *parts) servedTo(ctx context.Context, r projections.Reader, to eventlog.Position) (eventlog.Position, error) {
	served, err := p.look(ctx, r)
	if err != nil {
		return 0, err
	}
	return min(served.At, to), served.close(ctx)
}

func printDifference(w io.Writer, d projections.Difference, served string) {
	switch {
	case d.Only == served:
		fmt.Fprintf(w, "%s %s: is served, and the log has no such row\n", d.Table, d.Key)
	case d.Only != "":
		fmt.Fprintf(w, "%s %s: is not served\n", d.Table, d.Key)
	default:
		fmt.Fprintf(w, "%s %s: other %s\n", d.Table, d.Key, strings.Join(d.Columns, ", "))
	}
}
