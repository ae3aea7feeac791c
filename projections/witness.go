package projections

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"prelude/internal/eventlog"
)

// witness is an event by which a log is known again. A position alone says little: a log that was restored from an
// older backup grows past every position that it once had, with other events.
type witness struct {
	ID       uuid.UUID         `json:"id"`
	Stream   string            `json:"stream"`
	Revision eventlog.Revision `json:"revision"`
}

// mark is how far a reader comes: a position, and the newest event up to there that is at hand; without one the
// checkpoint keeps the one it has.
type mark struct {
	at      eventlog.Position
	last    *witness
	foreign int // events of other applications that were passed on the way
}

func markOf(rec eventlog.Record) mark {
	return mark{at: rec.Position, last: &witness{rec.ID, rec.Stream.String(), rec.Revision}}
}

// witnessWait is how long is looked for the event at a position that was passed without one for the reader. Going on
// is worth more: an older witness is as true, it only says less.
const witnessWait = time.Second

// mark is the mark at the end of a batch. What lies there may not be for the reader, and then not in the batch.
func (e *Engine) mark(ctx context.Context, batch []eventlog.Record, to eventlog.Position) mark {
	var m mark
	if n := len(batch); n > 0 {
		m = markOf(batch[n-1])
	}
	if m.at == to {
		return m
	}
	m.at = to
	ctx, cancel := context.WithTimeout(ctx, witnessWait)
	defer cancel()
	for raw, err := range e.Log.Store.ReadAll(ctx, to, eventlog.Forwards, 1) {
		if err != nil || raw.Position != to {
			continue
		}
		// What is not ours may go at any time, and we may lose the right to read it.
		if rec, err := eventlog.Head(raw); err == nil {
			m.last = markOf(rec).last
		}
	}
	return m
}

// recognise refuses a log without a checkpoint's witness. Of a stream that was deleted or cut, what is left cannot
// tell: then the log passes.
func recognise(ctx context.Context, log *eventlog.Log, w *witness) error {
	if w == nil {
		return nil
	}
	for raw, err := range log.Store.Read(ctx, w.Stream, w.Revision, eventlog.Forwards, 1) {
		switch {
		case errors.Is(err, eventlog.ErrGone):
			return nil
		case err != nil:
			return fmt.Errorf("look for the event of a checkpoint: %w", err)
		case raw.Revision == w.Revision && raw.ID == w.ID:
			return nil
		case raw.Revision == w.Revision:
			return ErrAhead
		}
	}
	// A stream loses events only after something was set in its metadata.
	for _, err := range log.Store.Read(ctx, "$$"+w.Stream, eventlog.Last, eventlog.Backwards, 1) {
		if err != nil {
			return fmt.Errorf("look for the metadata of a checkpoint's stream: %w", err)
		}
		return nil
	}
	return ErrAhead
}

// holds refuses a log that ends before a mark, or has not its event. Error: [ErrAhead].
func (e *Engine) holds(ctx context.Context, at mark) error {
	end, err := e.Log.End(ctx)
	if err != nil {
		return err
	}
	if at.at > end {
		return ErrAhead
	}
	return recognise(ctx, e.Log, at.last)
}

// same refuses what comes after an outage from another log than before it: a store may have been put back meanwhile,
// and have grown past what was passed, with events of others. It waits while the store does not tell. Error:
// [ErrAhead].
func (e *Engine) same(ctx context.Context, r Reader) error {
	for pause := firstRetry; ; pause = min(2*pause, mostRetry) {
		at, err := e.checkpoint(ctx, r)
		if err == nil {
			err = e.holds(ctx, at)
		}
		if err == nil || errors.Is(err, ErrAhead) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

const (
	firstRetry = 50 * time.Millisecond
	mostRetry  = time.Second
)
