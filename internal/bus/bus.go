// Package bus carries what has happened to analytics consumers, through watermill. It is in memory: what
// makes it safe is that the reader which publishes keeps a checkpoint, and moves it only after every
// consumer has taken the message.
package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
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
)

// Consumer takes one event. It is called again until it returns nil, in the log's order.
type Consumer func(ctx context.Context, e eventlog.CloudEvent) error

// Bus publishes events and runs consumers.
type Bus struct {
	channel *gochannel.GoChannel
	router  *message.Router
}

// New returns a bus with consumers by name. Run must be called before anything is published.
func New(logger *slog.Logger, consumers map[string]Consumer) (*Bus, error) {
	log := watermill.NewSlogLogger(logger)
	router, err := message.NewRouter(message.RouterConfig{}, log)
	if err != nil {
		return nil, fmt.Errorf("make the bus: %w", err)
	}
	// A consumer's panic becomes an error; the message is then not acknowledged, and comes again.
	router.AddMiddleware(middleware.Recoverer)
	b := &Bus{router: router, channel: gochannel.NewGoChannel(
		gochannel.Config{BlockPublishUntilSubscriberAck: true}, log)}
	for name, c := range consumers {
		retry := middleware.Retry{MaxRetries: 1 << 30, InitialInterval: retryFirst, MaxInterval: retryMost,
			Multiplier: 2, Logger: log}
		h := router.AddConsumerHandler(name, topic, b.channel, handler(c))
		h.AddMiddleware(retry.Middleware)
	}
	return b, nil
}

func handler(c Consumer) message.NoPublishHandlerFunc {
	return func(m *message.Message) error {
		var e eventlog.CloudEvent
		if err := json.Unmarshal(m.Payload, &e); err != nil {
			return fmt.Errorf("read a message of the bus: %w", err)
		}
		at, err := strconv.ParseUint(m.Metadata.Get(positionKey), 10, 64)
		if err != nil {
			return fmt.Errorf("read a message's position: %w", err)
		}
		e.Position = eventlog.Position(at)
		return c(m.Context(), e)
	}
}

// Run runs the consumers until the context ends.
func (b *Bus) Run(ctx context.Context) error { return b.router.Run(ctx) }

// Running is closed when the consumers are there.
func (b *Bus) Running() <-chan struct{} { return b.router.Running() }

// Close ends the consumers.
func (b *Bus) Close() error { return b.router.Close() }

// Publish hands events over, one after the other, and returns when each was taken.
func (b *Bus) Publish(ctx context.Context, events []eventlog.CloudEvent) error {
	for _, e := range events {
		payload, err := json.Marshal(e)
		if err != nil {
			return err
		}
		m := message.NewMessage(e.ID, payload)
		m.SetContext(ctx)
		m.Metadata.Set(positionKey, strconv.FormatUint(uint64(e.Position), 10))
		if err := b.channel.Publish(topic, m); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx) // not taken for certain
		}
	}
	return nil
}
