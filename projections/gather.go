package projections

import (
	"context"
	"errors"
	"time"

	"prelude/internal/eventlog"
)

// item is what the subscription gives: a record of the batch, or a position that was passed.
type item struct {
	record eventlog.Record
	event  bool
	passed eventlog.Position
	err    error
}

// pace is the least time between two batches. What comes after a while is committed at once; of what comes fast more
// goes into a batch, and a commit takes as long for ten events as for one.
const pace = 5 * time.Millisecond

// gather waits for one item, then until next, and takes what else is there. Position 0: nothing came until idle.
func gather(ctx context.Context, items <-chan item, next *time.Timer, idle <-chan time.Time,
) (batch []eventlog.Record, at eventlog.Position, err error) {
	take := func(it item, ok bool) error {
		switch {
		case !ok:
			return errors.Join(errors.New("the subscription ended"), context.Cause(ctx))
		case it.err != nil:
			return it.err
		}
		at = it.passed
		if it.event {
			batch = append(batch, it.record)
		}
		return nil
	}
	select {
	case it, ok := <-items:
		if err := take(it, ok); err != nil {
			return nil, 0, err
		}
	case <-idle:
		return nil, 0, nil
	}
	select {
	case <-next.C:
	case <-ctx.Done():
		return nil, 0, context.Cause(ctx)
	}
	next.Reset(pace)
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
