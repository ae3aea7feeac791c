package projections

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"prelude/internal/eventlog"
)

// Engine runs readers: each follows the log, gathers what has come while the last batch was committed, and
// commits the batch with its checkpoint in one transaction.
type Engine struct {
	Log      *eventlog.Log
	Pool     *pgxpool.Pool
	Progress *Progress
	Logger   *slog.Logger
}

const (
	batchSize   = 2000
	batchBuffer = 2 * batchSize
)

// errFenced: the checkpoint is not where this reader left it; another has moved it.
var errFenced = errors.New("the checkpoint was moved by another")

// Run follows the log for one reader until the context ends. Faults are logged and tried again, ever slower.
func (e *Engine) Run(ctx context.Context, r Reader) error {
	wait := 50 * time.Millisecond
	for ctx.Err() == nil {
		began := time.Now()
		err := e.follow(ctx, r)
		if ctx.Err() != nil {
			break
		}
		if time.Since(began) > time.Minute {
			wait = 50 * time.Millisecond
		}
		e.Logger.Error("a reader stopped and starts again", "reader", r.Name, "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(wait/2 + rand.N(wait)): //nolint:gosec // a pause, not a secret
		}
		wait = min(2*wait, 5*time.Second)
	}
	return context.Cause(ctx)
}

// item is what the subscription gives: a record of the batch, or a position that was passed.
type item struct {
	record eventlog.Record
	passed eventlog.Position
	err    error
}

func (e *Engine) follow(ctx context.Context, r Reader) error {
	at, err := e.begin(ctx, r)
	if err != nil {
		return err
	}
	e.Progress.began(r.Name, at)
	ctx, cancel := context.WithCancel(ctx)
	items := make(chan item, batchBuffer)
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.read(ctx, r, at, items)
	}()
	defer func() {
		cancel()
		for range items {
			continue // drained, so that the goroutine can end
		}
		<-done
	}()
	for {
		batch, passed, err := gather(ctx, items)
		if err != nil {
			return err
		}
		if at, err = e.commit(ctx, r, at, batch, passed); err != nil {
			return err
		}
	}
}

func (e *Engine) read(ctx context.Context, r Reader, at eventlog.Position, items chan<- item) {
	defer close(items)
	for signal, err := range e.Log.Store.Subscribe(ctx, at, eventlog.Filter{Prefixes: r.Prefixes}) {
		it := item{err: err, passed: signal.Position}
		if err == nil && signal.Kind == eventlog.Event {
			it.passed = signal.Raw.Position
			it.record, it.err = decode(signal.Raw)
		}
		if it.err == nil && it.passed == 0 {
			continue
		}
		select {
		case items <- it:
		case <-ctx.Done():
			return
		}
		if it.err != nil {
			return
		}
	}
}

// gather waits for one item and takes what else is there.
func gather(ctx context.Context, items <-chan item) (batch []eventlog.Record, at eventlog.Position, err error) {
	take := func(it item, ok bool) error {
		switch {
		case !ok:
			return errors.Join(errors.New("the subscription ended"), context.Cause(ctx))
		case it.err != nil:
			return it.err
		}
		at = it.passed
		if it.record.Event != nil {
			batch = append(batch, it.record)
		}
		return nil
	}
	it, ok := <-items
	if err := take(it, ok); err != nil {
		return nil, 0, err
	}
	for len(batch) < batchSize {
		select {
		case it, ok := <-items:
			if err := take(it, ok); err != nil {
				return nil, 0, err
			}
		default:
			return batch, at, nil
		}
	}
	return batch, at, nil
}

// commit applies a batch and moves the checkpoint, in one transaction.
func (e *Engine) commit(ctx context.Context, r Reader, from eventlog.Position, batch []eventlog.Record,
	to eventlog.Position) (eventlog.Position, error) {
	if to <= from {
		return from, nil
	}
	batch = r.wanted(batch)
	if err := e.open(ctx, batch); err != nil {
		return from, err
	}
	err := e.apply(ctx, r, from, batch, to)
	if err != nil && len(batch) > 0 && poison(err) {
		err = e.singly(ctx, r, from, batch, to)
	}
	if err != nil {
		return from, fmt.Errorf("%s: %w", r.Name, err)
	}
	e.Progress.applied(r.Name, to)
	return to, nil
}

// wanted leaves out what the reader did not ask for.
func (r Reader) wanted(batch []eventlog.Record) []eventlog.Record {
	if r.Types == nil {
		return batch
	}
	kept := batch[:0]
	for _, rec := range batch {
		if rec.Stream.Category != eventlog.PresetCategory || slices.Contains(r.Types, rec.Kind()) {
			kept = append(kept, rec)
		}
	}
	return kept
}

func (e *Engine) apply(ctx context.Context, r Reader, from eventlog.Position, batch []eventlog.Record,
	to eventlog.Position) error {
	if r.Before != nil && len(batch) > 0 {
		if err := unread(batch); err != nil {
			return err
		}
		if err := r.Before(ctx, batch); err != nil {
			return err
		}
	}
	return e.inTx(ctx, func(tx pgx.Tx) error {
		if err := move(ctx, tx, r, from, to); err != nil {
			return err
		}
		parked, err := parkedStreams(ctx, tx, r, batch)
		if err != nil {
			return err
		}
		batch := without(batch, parked)
		if err := unread(batch); err != nil {
			return err
		}
		if r.Apply == nil || len(batch) == 0 {
			return nil
		}
		return r.Apply(ctx, tx, batch)
	})
}

// inTx runs work as the role that writes projections.
func (e *Engine) inTx(ctx context.Context, work func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, e.Pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT set_config('role', 'prelude_proj', true), "+
			"set_config('search_path', 'views_1, public', true)"); err != nil {
			return err
		}
		return work(tx)
	})
}

// move is the fence: of two owners of a reader one moves the checkpoint, and the other's work is undone.
func move(ctx context.Context, tx pgx.Tx, r Reader, from, to eventlog.Position) error {
	tag, err := tx.Exec(ctx, `UPDATE prelude.checkpoints SET pos = $4, updated_at = now()
		WHERE reader = $1 AND version = $2 AND pos = $3`, r.Name, r.Version, int64(from), int64(to))
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		return errFenced
	}
	return nil
}

// begin is where the reader goes on: at its checkpoint, or at the log's beginning where what it kept is gone.
func (e *Engine) begin(ctx context.Context, r Reader) (eventlog.Position, error) {
	anew := false
	if r.Start != nil {
		var err error
		if anew, err = r.Start(ctx); err != nil {
			return 0, err
		}
	}
	at, err := e.checkpoint(ctx, r)
	if err != nil || !anew || at == 0 {
		return at, err
	}
	err = e.inTx(ctx, func(tx pgx.Tx) error { return move(ctx, tx, r, at, 0) })
	return 0, err
}

func (e *Engine) checkpoint(ctx context.Context, r Reader) (eventlog.Position, error) {
	var at int64
	err := e.inTx(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO prelude.checkpoints (reader, version, pos) VALUES ($1, $2, 0)
			ON CONFLICT DO NOTHING`, r.Name, r.Version)
		if err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT pos FROM prelude.checkpoints WHERE reader = $1 AND version = $2`,
			r.Name, r.Version).Scan(&at)
	})
	return eventlog.Position(at), err
}

// poison says whether the fault is in an event, so that waiting does not mend it.
func poison(err error) bool {
	var pg *pgconn.PgError
	switch {
	case errors.Is(err, ErrPoison):
		return true
	case errors.As(err, &pg):
		// Classes of SQLSTATE: 22 data, 23 constraints.
		return strings.HasPrefix(pg.Code, "22") || strings.HasPrefix(pg.Code, "23")
	}
	return false
}

// ErrPoison marks a fault of an event.
var ErrPoison = errors.New("the event cannot be applied")
