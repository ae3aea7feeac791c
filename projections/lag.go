package projections

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"prelude/internal/eventlog"
)

// Lag is how much a reader has not applied yet.
type Lag struct {
	Events int       // at most as many as were looked for
	Since  time.Time // when the first of them was stored; zero: there is none
}

// ErrNoPosition: a checkpoint is at a position that is none, as programs of before kept the one that a store gives
// before the first event.
var ErrNoPosition = errors.New("its position is none; prelude migrate mends it")

// CheckpointOf is how far a reader is, and why it has stopped, if it has; false: it has not begun. Error:
// [ErrNoPosition].
func CheckpointOf(ctx context.Context, conn *pgx.Conn, r Reader) (at eventlog.Position, stopped string, known bool,
	err error) {
	var pos int64
	err = conn.QueryRow(ctx, `SELECT pos, coalesce(error, '') FROM prelude.checkpoints WHERE reader = $1 AND version = $2`,
		r.Name, r.Version).Scan(&pos, &stopped)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return 0, "", false, nil
	case err != nil:
		return 0, "", false, fmt.Errorf("ask how far %s is: %w", r.Name, err)
	case pos < 0:
		return 0, "", false, ErrNoPosition
	}
	return eventlog.Position(pos), stopped, true, nil
}

// Behind counts the events after a position that a reader wants, at most most.
func Behind(ctx context.Context, log *eventlog.Log, r Reader, at eventlog.Position, most int) (Lag, error) {
	var lag Lag
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for signal, err := range log.Store.Subscribe(ctx, at, eventlog.Filter{Prefixes: r.Prefixes}) {
		switch {
		case err != nil:
			return lag, fmt.Errorf("look how far %s is behind: %w", r.Name, err)
		case signal.Kind == eventlog.CaughtUp:
			return lag, nil
		case signal.Kind == eventlog.Lost:
			return lag, fmt.Errorf("look how far %s is behind: %w", r.Name, eventlog.ErrUnavailable)
		case signal.Kind != eventlog.Event:
			continue
		}
		if rec := decode(signal.Raw); isForeign(rec) || len(r.wanted([]eventlog.Record{rec})) == 0 {
			continue
		}
		if lag.Events++; lag.Events == 1 {
			lag.Since = signal.Raw.Created
		}
		if lag.Events == most {
			return lag, nil
		}
	}
	return lag, context.Cause(ctx)
}
