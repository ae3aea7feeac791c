// Package bus carries what has happened to analytics consumers, through watermill. It is in memory: what
// makes it safe is that the reader which publishes keeps a checkpoint, and moves it only after every
// consumer has taken the message.
package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"prelude/internal/eventlog"
)

const (
	topic       = "prelude.events"
	retryFirst  = 50 * time.Millisecond
	retryMost   = 5 * time.Second
	positionKey = "position"
	lateKey     = "late"
)

// errNotTaken: the bus was ended, or has not begun, and not every consumer has taken an event.
var errNotTaken = errors.New("not every consumer has taken the event")

// Consumer takes one event. It is called again until it returns nil, in the log's order.
type Consumer func(ctx context.Context, e eventlog.CloudEvent) error

// Bus publishes events and runs consumers.
type Bus struct {
	channel   *gochannel.GoChannel
	router    *message.Router
	consumers int
	mu        sync.Mutex
	taken     map[string]int // how many consumers have taken an event that is being published
}

// New returns a bus with consumers by name. Run must be called before anything is published.
func New(logger *slog.Logger, consumers map[string]Consumer) (*Bus, error) {
	log := watermill.NewSlogLogger(logger)
	router, err := message.NewRouter(message.RouterConfig{}, log)
	if err != nil {
		return nil, fmt.Errorf("make the bus: %w", err)
	}
	b := &Bus{router: router, consumers: len(consumers), taken: map[string]int{},
		channel: gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, log)}
	for name, c := range consumers {
		retry := middleware.Retry{MaxRetries: 1 << 30, InitialInterval: retryFirst, MaxInterval: retryMost,
			Multiplier: 2, Logger: log}
		h := router.AddConsumerHandler(name, topic, b.channel, b.handler(c))
		h.AddMiddleware(retry.Middleware)
	}
	// A consumer's panic becomes an error. What is added last is innermost: outside of retry, the message would
	// come again at once, and again.
	router.AddMiddleware(middleware.Recoverer)
	return b, nil
}

func (b *Bus) handler(c Consumer) message.NoPublishHandlerFunc {
	return func(m *message.Message) error {
		var e eventlog.CloudEvent
		if err := json.Unmarshal(m.Payload, &e); err != nil {
			return fmt.Errorf("read a message of the bus: %w", err)
		}
		at, err := strconv.ParseUint(m.Metadata.Get(positionKey), 10, 64)
		if err != nil {
			return fmt.Errorf("read a message's position: %w", err)
		}
		e.Position, e.Late = eventlog.Position(at), m.Metadata.Get(lateKey) != ""
		if err := c(m.Context(), e); err != nil {
			return err
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.taken[m.UUID]++
		return nil
	}
}

// Run runs the consumers until the context ends.
func (b *Bus) Run(ctx context.Context) error { return b.router.Run(ctx) }

// Running is closed when the consumers are there.
func (b *Bus) Running() <-chan struct{} { return b.router.Running() }

// Publish hands events over, one after the other, and returns when each was taken by all consumers. It is for
// one caller at a time.
func (b *Bus) Publish(ctx context.Context, events []eventlog.CloudEvent) error {
	for _, e := range events {
		payload, err := json.Marshal(e)
		if err != nil {
			return err
		}
		m := message.NewMessage(e.ID, payload)
		m.SetContext(ctx)
		m.Metadata.Set(positionKey, strconv.FormatUint(uint64(e.Position), 10))
		if e.Late {
			m.Metadata.Set(lateKey, "yes")
		}
		b.settled(m.UUID) // what came late of an earlier try does not count
		if err := b.channel.Publish(topic, m); err != nil {
			return fmt.Errorf("%w: %w", errNotTaken, err) // a bus that is closed has no consumers
		}
		switch taken := b.settled(m.UUID); {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case taken < b.consumers:
			return errNotTaken // the channel does not say so, where there are no subscribers any more
		}
	}
	return nil
}

// settled says how many consumers have taken an event.
func (b *Bus) settled(id string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	taken := b.taken[id]
	delete(b.taken, id)
	return taken
}
