package projections

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"prelude/internal/eventlog"
)

// What unparking refuses.
var (
	// ErrNotParked: the reader does not hold that stream back.
	ErrNotParked = errors.New("the stream is not parked")
	// ErrStillPoison: the stream cannot be applied, still; it stays parked.
	ErrStillPoison = errors.New("the stream still cannot be applied")
)

// errHeldAnew: the stream was unparked and parked again by others while it was being unparked here.
var errHeldAnew = errors.New("the stream was parked anew meanwhile")

// errPassed: the reader went past more of the stream meanwhile, which is held back too.
var errPassed = errors.New("the reader has passed more of the stream")

// waiting is a stream that is parked: from which event on and since when, and how far the reader is.
type waiting struct {
	from   eventlog.Position
	since  time.Time
	passed eventlog.Position
}

// Unpark applies a parked stream again, from its first event to where the reader is, and lets its later events pass.
// What was made of it is taken away in the same transaction, under the fence, so nothing of it is counted twice. A
// reader that keeps nothing of its own gets what was parked alone, marked as late, before that transaction: whoever
// takes it may take long. Errors: [ErrNotParked], [ErrStillPoison].
func (e *Engine) Unpark(ctx context.Context, r Reader, s eventlog.Stream) error {
	err := e.unpark(ctx, r, s)
	for errors.Is(err, errHeldAnew) {
		err = e.unpark(ctx, r, s)
	}
	if err == nil || !poison(err) {
		return err
	}
	if noted := e.note(ctx, r, s, err); noted != nil {
		return noted
	}
	return fmt.Errorf("%w: %s", ErrStillPoison, reason(err))
}

func (e *Engine) unpark(ctx context.Context, r Reader, s eventlog.Stream) error {
	h, err := e.waiting(ctx, r, s)
	if err != nil {
		return err
	}
	var all []eventlog.Record
	for {
		more, err := e.due(ctx, r, s, next(all), h)
		if err != nil {
			return err
		}
		for batch := range slices.Chunk(more, batchSize) {
			if err := e.hand(ctx, r, batch); err != nil {
				return err
			}
		}
		all = append(all, more...)
		if h, err = e.unhold(ctx, r, s, h, all); !errors.Is(err, errPassed) {
			return err
		}
	}
}

// waiting is how a stream waits, as it is now.
func (e *Engine) waiting(ctx context.Context, r Reader, s eventlog.Stream) (h waiting, err error) {
	err = e.inTx(ctx, r, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT p.pos, p.parked_at, coalesce(c.pos, 0) FROM prelude.parked p
			LEFT JOIN prelude.checkpoints c USING (reader, version)
			WHERE reader = $1 AND version = $2 AND stream = $3`,
			r.Name, r.Version, s.String()).Scan(&h.from, &h.since, &h.passed)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNotParked
	}
	return h, err
}

// due reads, from a revision on, what is to be applied of a stream up to where the reader is.
func (e *Engine) due(ctx context.Context, r Reader, s eventlog.Stream, from eventlog.Revision, h waiting,
) ([]eventlog.Record, error) {
	records, err := e.history(ctx, s, from)
	if err != nil {
		return nil, err
	}
	records = r.wanted(upTo(records, h.passed))
	if r.Forget == nil {
		records = late(records, h.from)
	}
	return records, e.open(ctx, records)
}

// unhold takes the stream off the list and applies it, with what the reader has passed since. What of that must be
// handed over before is left to another round, which begins where this one came to: what it gives with [errPassed].
func (e *Engine) unhold(ctx context.Context, r Reader, s eventlog.Stream, h waiting, all []eventlog.Record,
) (waiting, error) {
	err := e.inTx(ctx, r, func(tx pgx.Tx) error {
		var err error
		if h.passed, err = takeOff(ctx, tx, r, s, h); err != nil {
			return err
		}
		rest, err := e.due(ctx, r, s, next(all), h)
		if err != nil {
			return err
		}
		if r.Before != nil && len(rest) > 0 {
			return errPassed
		}
		return again(ctx, tx, r, s, append(all, rest...))
	})
	return h, err
}

// takeOff takes the stream off the list, if it waits there as it did. It locks the checkpoint: until the transaction
// ends the reader stays where it has passed to.
func takeOff(ctx context.Context, tx pgx.Tx, r Reader, s eventlog.Stream, was waiting,
) (passed eventlog.Position, err error) {
	err = tx.QueryRow(ctx, `SELECT pos FROM prelude.checkpoints WHERE reader = $1 AND version = $2 FOR UPDATE`,
		r.Name, r.Version).Scan(&passed)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, err
	}
	now := waiting{}
	err = tx.QueryRow(ctx, `DELETE FROM prelude.parked WHERE reader = $1 AND version = $2 AND stream = $3
		RETURNING pos, parked_at`, r.Name, r.Version, s.String()).Scan(&now.from, &now.since)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return 0, ErrNotParked
	case err == nil && (now.from != was.from || !now.since.Equal(was.since)):
		return 0, errHeldAnew
	}
	return passed, err
}

// again applies a stream's events once more, batch by batch.
func again(ctx context.Context, tx pgx.Tx, r Reader, s eventlog.Stream, records []eventlog.Record) error {
	if r.Forget != nil {
		if err := r.Forget(ctx, tx, s); err != nil {
			return err
		}
	}
	for batch := range slices.Chunk(records, batchSize) {
		if err := enact(ctx, tx, r, batch); err != nil {
			return err
		}
	}
	return nil
}

// history reads a stream from a revision on; what cannot be read stands broken in it.
func (e *Engine) history(ctx context.Context, s eventlog.Stream, from eventlog.Revision) ([]eventlog.Record, error) {
	var all []eventlog.Record
	for raw, err := range e.Log.Store.Read(ctx, s.String(), from, eventlog.Forwards, 0) {
		if err != nil {
			return nil, fmt.Errorf("read a %s stream: %w", s.Category, err)
		}
		all = append(all, decode(raw))
	}
	return all, nil
}

// next is the revision after the last of a stream's records.
func next(records []eventlog.Record) eventlog.Revision {
	if len(records) == 0 {
		return 0
	}
	return records[len(records)-1].Revision + 1
}

// upTo cuts off what lies after a position: the reader comes to it by itself.
func upTo(records []eventlog.Record, to eventlog.Position) []eventlog.Record {
	return slices.DeleteFunc(records, func(rec eventlog.Record) bool { return rec.Position > to })
}

// late are the records from a position on, marked.
func late(records []eventlog.Record, from eventlog.Position) []eventlog.Record {
	records = slices.DeleteFunc(records, func(rec eventlog.Record) bool { return rec.Position < from })
	for i := range records {
		records[i].Late = true
	}
	return records
}

// note writes down why a stream stays parked.
func (e *Engine) note(ctx context.Context, r Reader, s eventlog.Stream, why error) error {
	return e.inTx(ctx, r, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE prelude.parked SET error = $4
			WHERE reader = $1 AND version = $2 AND stream = $3`, r.Name, r.Version, s.String(), reason(why))
		return err
	})
}

// forgetViews takes away every row that came of a stream.
func forgetViews(ctx context.Context, tx pgx.Tx, s eventlog.Stream) error {
	b := &pgx.Batch{}
	org, object := "org_"+s.Org, s.Object()
	b.Queue(`DELETE FROM audit WHERE org = $1 AND object = $2`, org, object)
	switch s.Category {
	case eventlog.PresetCategory:
		b.Queue(`DELETE FROM presets WHERE org = $1 AND id = $2`, org, object)
		b.Queue(`DELETE FROM preset_versions WHERE org = $1 AND preset = $2`, org, object)
		b.Queue(`DELETE FROM preset_labels WHERE org = $1 AND preset = $2`, org, object)
		b.Queue(`DELETE FROM preset_search WHERE org = $1 AND id = $2`, org, object)
	case eventlog.SessionCategory:
		b.Queue(`DELETE FROM sessions WHERE org = $1 AND id = $2`, org, object)
		b.Queue(`DELETE FROM messages WHERE org = $1 AND session = $2`, org, object)
	case eventlog.CompletionCategory:
		b.Queue(`DELETE FROM messages WHERE org = $1 AND id = $2`, org, object)
	}
	return tx.SendBatch(ctx, b).Close()
}
