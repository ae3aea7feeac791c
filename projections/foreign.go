package projections

import (
	"context"

	"github.com/jackc/pgx/v5"

	"prelude/domain/org"
	"prelude/internal/eventlog"
)

// foreign stands in a batch for an event of another application in the same store. It is counted, and passed over.
type foreign struct{}

func isForeign(rec eventlog.Record) bool {
	_, is := rec.Event.(foreign)
	return is
}

// ours leaves out events of other applications, and counts them.
func ours(batch []eventlog.Record) (kept []eventlog.Record, passed int) {
	kept = batch[:0]
	for _, rec := range batch {
		if !isForeign(rec) {
			kept = append(kept, rec)
		}
	}
	return kept, len(batch) - len(kept)
}

// tellForeign says, once for each process, that the store holds events of other applications. It does not name their
// streams, whose names may be secrets of theirs.
func (e *Engine) tellForeign(r Reader, passed int) {
	if passed > 0 {
		e.told.Do(func() {
			e.Logger.Info("events of other applications are in the store; they are passed over",
				"reader", r.Name, "events", passed)
		})
	}
}

// founded leaves out of a batch, for a reader that stops at what it cannot apply, what cannot be read and is of no org
// that was founded before it: a stream of another application whose name happens to have our form, or of a log of
// Prelude that somebody mixed into this one. It counts them. The database is asked only where something cannot be read.
func (e *Engine) founded(ctx context.Context, r Reader, batch []eventlog.Record,
) (kept []eventlog.Record, passed int, err error) {
	if r.Founded == nil {
		return batch, 0, nil
	}
	orgs := unreadOrgs(batch)
	if len(orgs) == 0 {
		return batch, 0, nil
	}
	// That the checkpoint is moved from where it was proves that no other founded one in between.
	var known map[string]bool
	err = e.inTx(ctx, r, func(tx pgx.Tx) error {
		known, err = r.Founded(ctx, tx, orgs)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	var why error
	for _, rec := range batch {
		b, unread := rec.Event.(broken)
		if _, founds := rec.Event.(org.Founded); founds {
			known[rec.Stream.Org] = true
		}
		if unread && !known[rec.Stream.Org] {
			why = poisoned(b)
			continue
		}
		kept = append(kept, rec)
	}
	passed = len(batch) - len(kept)
	e.tellUnfounded(r, passed, why)
	return kept, passed, nil
}

// unreadOrgs are the orgs of a batch's events that cannot be read.
func unreadOrgs(batch []eventlog.Record) (orgs []string) {
	seen := map[string]bool{}
	for _, rec := range batch {
		if _, unread := rec.Event.(broken); unread && !seen[rec.Stream.Org] {
			seen[rec.Stream.Org] = true
			orgs = append(orgs, rec.Stream.Org)
		}
	}
	return orgs
}

func (e *Engine) tellUnfounded(r Reader, passed int, why error) {
	if passed > 0 {
		e.Logger.Warn("events that cannot be applied are of no org of this log; they are passed over",
			"reader", r.Name, "events", passed, "error", reason(why))
	}
}

// passUnfounded goes past an event that the reader's tables do not take, if its org was not founded before it, nor is
// by this very event; else it gives back why they do not.
func (e *Engine) passUnfounded(ctx context.Context, r Reader, from eventlog.Position, rec eventlog.Record, to mark,
	why error) error {
	if _, founds := rec.Event.(org.Founded); founds {
		return why
	}
	to.foreign++
	err := e.inTx(ctx, r, func(tx pgx.Tx) error {
		known, err := r.Founded(ctx, tx, []string{rec.Stream.Org})
		switch {
		case err != nil:
			return err
		case known[rec.Stream.Org]:
			return why
		}
		return move(ctx, tx, r, from, to, 0)
	})
	if err == nil {
		e.tellUnfounded(r, 1, why)
	}
	return err
}
