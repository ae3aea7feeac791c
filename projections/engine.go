package projections

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"prelude/internal/eventlog"
)

// Engine runs readers: each follows the log, gathers what has come, and commits the batch with its checkpoint in one
// transaction. Of several instances one feeds a reader; that two would leave no wrong row either is the checkpoint's
// doing.
type Engine struct {
	Log      *eventlog.Log
	Pool     *pgxpool.Pool
	Progress *Progress
	Logger   *slog.Logger
	Owner    string // who takes the leases; empty: it feeds its readers without any
	handing  sync.Mutex
	batches  batches
	unwell   sync.Map  // by readers: the checkpoint may say why it stopped, though it has not stopped now
	told     sync.Once // that there are events of other applications
}

const (
	batchSize   = 2000
	batchBuffer = 2 * batchSize
)

// errFenced: the checkpoint is not where this reader left it; another has moved it.
var errFenced = errors.New("the checkpoint was moved by another")

// Run follows the log for one reader until the context ends, while this instance holds the reader's lease. Faults are
// logged when they begin, noted beside the checkpoint, and tried again, ever slower.
func (e *Engine) Run(ctx context.Context, r Reader) error {
	wait, last := 50*time.Millisecond, ""
	e.unwell.Store(r.Name, true) // as an earlier process may have left it
	for ctx.Err() == nil {
		began := time.Now()
		err := e.hold(ctx, r, func(ctx context.Context) error { return e.follow(ctx, r) })
		if ctx.Err() != nil {
			break
		}
		if time.Since(began) > time.Minute {
			wait, last = 50*time.Millisecond, ""
		}
		e.failed(ctx, r, err, told(err) == last)
		last = told(err)
		select {
		case <-ctx.Done():
		case <-time.After(wait/2 + rand.N(wait)): //nolint:gosec // a pause, not a secret
		}
		wait = min(2*wait, 5*time.Second)
	}
	return context.Cause(ctx)
}

// failed tells why a reader stopped: the log of this process, and whoever asks for the state of the readers. That
// another has taken over is no failure of the reader. Known: the same was told just before.
func (e *Engine) failed(ctx context.Context, r Reader, err error, known bool) {
	if errors.Is(err, errFenced) || errors.Is(err, errLeaseLost) {
		e.Logger.Warn("a reader starts again", "reader", r.Name, "error", told(err))
		return
	}
	level := slog.LevelError
	if known {
		level = slog.LevelDebug
	}
	e.Logger.Log(ctx, level, "a reader stopped and starts again", "reader", r.Name, "error", told(err))
	e.unwell.Store(r.Name, true)
	noted := e.inTx(ctx, r, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE prelude.checkpoints SET error = $3, failed_at = now()
			WHERE reader = $1 AND version = $2`, r.Name, r.Version, reason(err))
		return err
	})
	if noted != nil && ctx.Err() == nil {
		e.Logger.Warn("why a reader stopped is not noted", "reader", r.Name, "error", noted)
	}
}

func (e *Engine) follow(ctx context.Context, r Reader) error {
	at, err := e.begin(ctx, r)
	if err != nil {
		return err
	}
	e.Progress.began(r.Name, at)
	defer e.Progress.left(r.Name)
	for err == nil {
		at, err = e.subscription(ctx, r, at)
	}
	return err
}

// subscription applies what one subscription gives. It ends without an error when another has to be made.
func (e *Engine) subscription(ctx context.Context, r Reader, at eventlog.Position) (eventlog.Position, error) {
	again := e.Progress.Begins()
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
	idle := time.NewTicker(idleEvery)
	defer idle.Stop()
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		batch, passed, err := gather(ctx, items, next, idle.C)
		if err != nil {
			return at, err
		}
		if passed == 0 {
			select {
			case <-again:
				return at, nil
			default:
				passed = e.Progress.quiet(r.Name)
			}
		}
		if at, err = e.commit(ctx, r, at, batch, passed); err != nil {
			return at, err
		}
	}
}

func (e *Engine) read(ctx context.Context, r Reader, at eventlog.Position, items chan<- item) {
	defer close(items)
	again := false
	for signal, err := range e.Log.Store.Subscribe(ctx, at, eventlog.Filter{Prefixes: r.Prefixes}) {
		if signal.Kind == eventlog.Lost {
			again = true
			continue
		}
		if again && err == nil {
			err, again = e.same(ctx, r), false
		}
		it := item{err: err, passed: signal.Position}
		if err == nil && signal.Kind == eventlog.Event {
			it.event, it.passed = true, signal.Raw.Position
			it.record = decode(signal.Raw)
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

// idleEvery is how often a checkpoint follows a log in which nothing happens for its reader: others hold against it how
// far the reader is.
const idleEvery = time.Second

// well takes back why a reader stopped, once it has passed all that there is, though nothing came for it: else that
// stood there until something does.
func (e *Engine) well(ctx context.Context, r Reader, passed eventlog.Position) error {
	if passed == 0 {
		return nil // how far it is, is not known
	}
	if _, may := e.unwell.LoadAndDelete(r.Name); !may {
		return nil
	}
	return e.inTx(ctx, r, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE prelude.checkpoints SET error = NULL, failed_at = NULL
			WHERE reader = $1 AND version = $2 AND error IS NOT NULL`, r.Name, r.Version)
		return err
	})
}

// commit applies a batch and moves the checkpoint, in one transaction.
func (e *Engine) commit(ctx context.Context, r Reader, from eventlog.Position, batch []eventlog.Record,
	to eventlog.Position) (eventlog.Position, error) {
	if to <= from {
		return from, e.well(ctx, r, to)
	}
	if _, err := to.Stored(); err != nil {
		return from, fmt.Errorf("%s: %w", r.Name, err) // before anything is sent out that names it
	}
	defer e.batches.begin(r.Name)()
	batch, passed := ours(batch)
	m := e.mark(ctx, batch, to)
	m.foreign = passed
	batch = r.wanted(batch)
	if err := e.open(ctx, batch); err != nil {
		return from, err
	}
	batch, passed, err := e.founded(ctx, r, batch)
	m.foreign += passed
	if err == nil {
		err = e.apply(ctx, r, from, batch, m)
	}
	if err != nil && len(batch) > 0 && poison(err) {
		err = e.singly(ctx, r, from, batch, m)
	}
	if err != nil {
		return from, fmt.Errorf("%s: %w", r.Name, err)
	}
	e.tellForeign(r, m.foreign)
	e.Progress.applied(r.Name, to)
	return to, nil
}

func (e *Engine) apply(ctx context.Context, r Reader, from eventlog.Position, batch []eventlog.Record, to mark,
) error {
	waiting, err := e.before(ctx, r, batch)
	if err != nil {
		return err
	}
	return e.inTx(ctx, r, func(tx pgx.Tx) error {
		if err := move(ctx, tx, r, from, to, len(batch)-len(known(batch))); err != nil {
			return err
		}
		parked, err := parkedStreams(ctx, tx, r, batch)
		if err != nil {
			return err
		}
		if r.Before != nil && !maps.Equal(parked, waiting) {
			return errFenced // a stream was unparked meanwhile: its events come before the transaction too
		}
		return enact(ctx, tx, r, without(batch, parked))
	})
}

// before does what comes before the transaction, for what is not parked. It gives the streams that are.
func (e *Engine) before(ctx context.Context, r Reader, batch []eventlog.Record) (map[string]bool, error) {
	if r.Before == nil {
		return nil, nil
	}
	var parked map[string]bool
	err := e.inTx(ctx, r, func(tx pgx.Tx) error {
		var err error
		parked, err = parkedStreams(ctx, tx, r, batch)
		return err
	})
	if err != nil {
		return nil, err
	}
	return parked, e.hand(ctx, r, without(batch, parked))
}

// hand hands events over. One does so at a time: what is published has one order.
func (e *Engine) hand(ctx context.Context, r Reader, batch []eventlog.Record) error {
	if err := unread(batch); err != nil {
		return err
	}
	if batch = known(batch); r.Before == nil || len(batch) == 0 {
		return nil
	}
	e.handing.Lock()
	defer e.handing.Unlock()
	return r.Before(ctx, batch)
}

// enact applies a batch within tx.
func enact(ctx context.Context, tx pgx.Tx, r Reader, batch []eventlog.Record) error {
	if err := unread(batch); err != nil {
		return err
	}
	if r.Apply == nil || len(batch) == 0 {
		return nil
	}
	return r.Apply(ctx, tx, batch)
}

// stalled is how long a transaction may do nothing: the row of its checkpoint waits for it, and with that row whoever
// takes over from an owner that stands still.
const stalled = 4 * time.Second

// inTx runs work as the role that writes projections, in the reader's schema.
func (e *Engine) inTx(ctx context.Context, r Reader, work func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, e.Pool, func(tx pgx.Tx) error {
		path := "public"
		if r.tables != "" {
			path = r.Schema() + ", public"
		}
		// A commit need not be on the disk before the next batch: rows and checkpoint are lost together in a crash, and
		// come again from the log.
		if _, err := tx.Exec(ctx, `SELECT set_config('role', 'prelude_proj', true),
			set_config('synchronous_commit', 'off', true), set_config('search_path', $1, true),
			set_config('idle_in_transaction_session_timeout', $2, true)`,
			path, strconv.FormatInt(stalled.Milliseconds(), 10)); err != nil {
			return err
		}
		return work(tx)
	})
}

// move is the fence: of two owners of a reader one moves the checkpoint, and the other's work is undone.
func move(ctx context.Context, tx pgx.Tx, r Reader, from eventlog.Position, to mark, skipped int) error {
	pos, err := to.at.Stored()
	if err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, `UPDATE prelude.checkpoints SET pos = $4, updated_at = now(), error = NULL,
		failed_at = NULL, skipped = skipped + $5, witness = coalesce($6, witness),
		foreign_events = foreign_events + $7
		WHERE reader = $1 AND version = $2 AND pos = $3`,
		r.Name, r.Version, int64(from), pos, skipped, to.last, to.foreign)
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
	at, err := e.checkpoint(ctx, r)
	if err == nil && r.Missing != nil {
		at, err = e.anew(ctx, r, at, r.Missing) // before it is made: else it were taken for whole after a crash
	}
	if err == nil && r.Start != nil {
		at, err = e.anew(ctx, r, at, r.Start)
	}
	if err != nil {
		return 0, err
	}
	return at.at, e.holds(ctx, at)
}

// anew has the reader begin at the log's beginning where what it kept is gone.
func (e *Engine) anew(ctx context.Context, r Reader, at mark, gone func(context.Context) (bool, error)) (mark, error) {
	is, err := gone(ctx)
	if err != nil || !is || at.at == 0 {
		return at, err
	}
	return mark{}, e.inTx(ctx, r, func(tx pgx.Tx) error {
		// This one must be on the disk: what is made next is empty.
		if _, err := tx.Exec(ctx, `SELECT set_config('synchronous_commit', 'on', true)`); err != nil {
			return err
		}
		return move(ctx, tx, r, at.at, mark{}, 0)
	})
}

func (e *Engine) checkpoint(ctx context.Context, r Reader) (at mark, err error) {
	err = e.inTx(ctx, r, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO prelude.checkpoints (reader, version, pos) VALUES ($1, $2, 0)
			ON CONFLICT DO NOTHING`, r.Name, r.Version)
		if err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT pos, witness FROM prelude.checkpoints WHERE reader = $1 AND version = $2`,
			r.Name, r.Version).Scan(&at.at, &at.last)
	})
	return at, err
}
