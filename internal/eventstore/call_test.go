package eventstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"prelude/internal/eventlog"
)

// The client wraps its errors, and io.EOF for an append that it could not send: that is no success.
func TestKindOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want kind
	}{
		{nil, fine},
		{io.EOF, ambiguous},
		{fmt.Errorf("could not send append request. Reason: %w", io.EOF), ambiguous},
		{context.DeadlineExceeded, ambiguous},
		{status.Error(codes.Unknown, ""), ambiguous},
		{status.Error(codes.Aborted, ""), ambiguous},
		{status.Error(codes.ResourceExhausted, ""), ambiguous},
		{fmt.Errorf("wrapped: %w", status.Error(codes.Unavailable, "")), transport},
		{fmt.Errorf("wrapped: %w", status.Error(codes.InvalidArgument, "")), refused},
		{status.Error(codes.Unauthenticated, ""), refused},
	} {
		if got := kindOf(c.err); got != c.want {
			t.Errorf("%v is of kind %d, want %d", c.err, got, c.want)
		}
	}
}

func TestWithin_makes_an_error_of_a_panic(t *testing.T) {
	t.Parallel()
	c := &client{life: t.Context(), asking: 1}
	c.none = sync.NewCond(&c.mu)
	err := c.within(t.Context(), func(context.Context) error { panic("unreachable code") })
	if kindOf(err) != ambiguous {
		t.Errorf("a panic became %v", err)
	}
}

func TestUnavailable_keeps_the_contexts_end(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cause := errors.New("cause")
	for _, err := range []error{unavailable(ctx, cause), unavailable(ctx, ctx.Err())} {
		if !errors.Is(err, context.Canceled) || !errors.Is(err, eventlog.ErrUnavailable) {
			t.Errorf("%v", err)
		}
	}
	if err := unavailable(t.Context(), cause); !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
}

// A broken connection is reported only after every call has one, and no other can ask.
func TestFailing_waits_for_those_who_ask(t *testing.T) {
	t.Parallel()
	c := &client{idle: make(chan struct{})}
	c.none = sync.NewCond(&c.mu)
	for range 2 {
		if !c.enter() {
			t.Fatal("a call was refused")
		}
	}
	c.asked() // the one that will fail
	log := c.bridge(slog.New(slog.DiscardHandler))
	reported := make(chan struct{})
	go func() {
		log(esdb.LogError, "unexpected exception: %v", status.Error(codes.Unavailable, "gone"))
		close(reported)
	}()
	for c.enter() { // until it is retired
		c.asked()
		c.leave()
	}
	select {
	case <-reported:
		t.Error("it was reported while a call asked")
	default:
	}
	c.asked()
	<-reported
	c.leave()
	c.leave()
	<-c.idle
}
