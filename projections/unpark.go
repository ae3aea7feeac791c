package projections

import (
	"context"
	"errors"
	"fmt"
	"slices"

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

// Unpark applies a parked stream again, from its first event to where the reader is, and lets its later events pass.
// What was made of it is taken away in the same transaction, under the fence, so nothing of it is counted twice. A
// reader that keeps nothing of its own gets what was parked alone, marked as late. Errors: [ErrNotParked],
// [ErrStillPoison].
func (e *Engine) Unpark(ctx context.Context, r Reader, s eventlog.Stream) error {
	// Most of it is read before the transaction begins: the reader waits for that.
	records, err := e.history(ctx, s, 0)
	if err != nil {
		return err
	}
	err = e.inTx(ctx, r, func(tx pgx.Tx) error {
		to, parked, err := e.claim(ctx, tx, r, s)
		if err != nil {
			return err
		}
		rest, err := e.history(ctx, s, next(records))
		if err != nil {
			return err
		}
		return e.again(ctx, tx, r, s, upTo(append(records, rest...), to), parked)
	})
	if err == nil || !poison(err) {
		return err
	}
	if noted := e.note(ctx, r, s, err); noted != nil {
		return noted
	}
	return fmt.Errorf("%w: %s", ErrStillPoison, reason(err))
}

// claim takes the stream off the list. It locks the checkpoint: until the transaction ends the reader stays at to.
func (e *Engine) claim(ctx context.Context, tx pgx.Tx, r Reader, s eventlog.Stream,
) (to, parked eventlog.Position, err error) {
	err = tx.QueryRow(ctx, `SELECT pos FROM prelude.checkpoints WHERE reader = $1 AND version = $2 FOR UPDATE`,
		r.Name, r.Version).Scan(&to)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, 0, err
	}
	err = tx.QueryRow(ctx, `DELETE FROM prelude.parked WHERE reader = $1 AND version = $2 AND stream = $3
		RETURNING pos`, r.Name, r.Version, s.String()).Scan(&parked)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNotParked
	}
	return to, parked, err
}

// again applies a stream's events once more, batch by batch.
func (e *Engine) again(ctx context.Context, tx pgx.Tx, r Reader, s eventlog.Stream, records []eventlog.Record,
	parked eventlog.Position) error {
	records = r.wanted(records)
	if err := e.open(ctx, records); err != nil {
		return err
	}
	if r.Forget != nil {
		if err := r.Forget(ctx, tx, s); err != nil {
			return err
		}
	} else {
		records = late(records, parked)
	}
	for len(records) > 0 {
		batch := records[:min(len(records), batchSize)]
		records = records[len(batch):]
		if err := e.hand(ctx, r, batch); err != nil {
			return err
		}
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
		rec, err := decode(raw)
		if err != nil {
			return nil, err
		}
		all = append(all, rec)
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
