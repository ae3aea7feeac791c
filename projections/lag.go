package projections

import (
	"context"
	"fmt"
	"time"

	"prelude/internal/eventlog"
)

// Lag is how much a reader has not applied yet.
type Lag struct {
	Events int       // at most as many as were looked for
	Since  time.Time // when the first of them was stored; zero: there is none
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
