package projections

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"prelude/internal/eventlog"
)

// broken stands in a batch for an event that cannot be read, so that its stream alone waits for it.
type broken struct{ why error }

// decode reads an event. What cannot be read stands in the record as broken, what is another application's as foreign.
func decode(raw eventlog.Raw) eventlog.Record {
	rec, err := eventlog.Decode(raw)
	switch {
	case err == nil:
		return rec
	case errors.Is(err, eventlog.ErrForeign):
		return eventlog.Record{Position: raw.Position, Event: foreign{}}
	}
	rec, _ = eventlog.Head(raw) // its stream is one of ours: else it were foreign
	rec.Event = broken{err}
	return rec
}

// open opens what is under an org's key. An event whose texts do not open stands broken in the batch.
func (e *Engine) open(ctx context.Context, batch []eventlog.Record) error {
	err := e.Log.Open(ctx, batch, "o.")
	if !errors.Is(err, eventlog.ErrSealed) {
		return err
	}
	for i := range batch {
		if err := e.Log.Open(ctx, batch[i:i+1], "o."); errors.Is(err, eventlog.ErrSealed) {
			batch[i].Event = broken{err}
		} else if err != nil {
			return err
		}
	}
	return nil
}

// unread is the fault of a batch with an event that cannot be read.
func unread(batch []eventlog.Record) error {
	for _, rec := range batch {
		if b, ok := rec.Event.(broken); ok {
			return poisoned(b)
		}
	}
	return nil
}

// known leaves out events of unknown names.
func known(batch []eventlog.Record) []eventlog.Record {
	if !slices.ContainsFunc(batch, nameless) {
		return batch
	}
	return slices.DeleteFunc(slices.Clone(batch), nameless)
}

func nameless(rec eventlog.Record) bool { return rec.Event == nil }

func poisoned(b broken) error { return fmt.Errorf("%w: %w", ErrPoison, b.why) }

// singly applies a batch event by event, so that only the stream of the one that cannot be applied is parked.
// A reader that does not park stops there.
func (e *Engine) singly(ctx context.Context, r Reader, from eventlog.Position, batch []eventlog.Record, to mark,
) error {
	at := from
	for _, rec := range batch {
		m := markOf(rec)
		if m.at == to.at {
			m = to // it says too what else was passed
		}
		err := e.apply(ctx, r, at, []eventlog.Record{rec}, m)
		switch {
		case err == nil || !poison(err):
		case r.Parks:
			err = e.park(ctx, r, at, rec, m, err)
		case r.Founded != nil:
			err = e.passUnfounded(ctx, r, at, rec, m, err)
		}
		if err != nil {
			return err
		}
		at = rec.Position
	}
	if to.at > at {
		return e.apply(ctx, r, at, nil, to)
	}
	return nil
}

// park notes that a stream waits, and why, and goes past the event.
func (e *Engine) park(ctx context.Context, r Reader, from eventlog.Position, rec eventlog.Record, to mark, why error,
) error {
	e.Logger.Error("a stream is parked", "reader", r.Name, "object", rec.Stream.Object(), "kind", rec.Kind(),
		"error", reason(why))
	gaps := 0
	if errors.Is(why, errGap) {
		gaps = 1
	}
	return e.inTx(ctx, r, func(tx pgx.Tx) error {
		if err := move(ctx, tx, r, from, to, 0); err != nil {
			return err
		}
		b := &pgx.Batch{}
		b.Queue(`INSERT INTO prelude.parked (reader, version, stream, pos, error)
			VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`,
			r.Name, r.Version, rec.Stream.String(), int64(rec.Position), reason(why))
		b.Queue(`UPDATE prelude.checkpoints SET gaps = gaps + $3 WHERE reader = $1 AND version = $2`,
			r.Name, r.Version, gaps)
		return tx.SendBatch(ctx, b).Close()
	})
}

// parkedStreams says which streams of a batch wait.
func parkedStreams(ctx context.Context, tx pgx.Tx, r Reader, batch []eventlog.Record,
) (map[string]bool, error) {
	if len(batch) == 0 {
		return nil, nil
	}
	rows, err := tx.Query(ctx, `SELECT stream FROM prelude.parked WHERE reader = $1 AND version = $2`,
		r.Name, r.Version)
	if err != nil {
		return nil, err
	}
	streams, err := pgx.CollectRows(rows, pgx.RowTo[string])
	parked := make(map[string]bool, len(streams))
	for _, s := range streams {
		parked[s] = true
	}
	return parked, err
}

func without(batch []eventlog.Record, parked map[string]bool) []eventlog.Record {
	if len(parked) == 0 {
		return batch
	}
	var kept []eventlog.Record
	for _, rec := range batch {
		if !parked[rec.Stream.String()] {
			kept = append(kept, rec)
		}
	}
	return kept
}
