package projections

import (
	"context"

	"prelude/internal/eventlog"
)

// Publisher is the port to the bus. internal/bus implements it.
type Publisher interface {
	// Publish hands events over and returns when each was taken. An event may be handed over again.
	Publish(ctx context.Context, events []eventlog.CloudEvent) error
}

// OutReader publishes what has happened, without texts, at least once and in order.
func OutReader(bus Publisher) Reader {
	return Reader{Name: Out, Version: OutVersion, Parks: true,
		Prefixes: []string{"org-", "user-", "apikey-", "preset-", "session-", "completion-"},
		Before: func(ctx context.Context, batch []eventlog.Record) error {
			events := make([]eventlog.CloudEvent, len(batch))
			for i, rec := range batch {
				events[i] = rec.CloudEvent()
			}
			return bus.Publish(ctx, events)
		}}
}
