package wire

import (
	"context"
	"fmt"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
)

// Subscriber is a subscription that was confirmed.
type Subscriber struct {
	c    *Client
	Call api.Streams_ReadClient
}

// Subscribe makes a subscription of a read and waits for its confirmation.
func (c *Client) Subscribe(o *api.ReadReq_Options) *Subscriber {
	c.T.Helper()
	ctx, cancel := context.WithCancel(Within(c.T))
	c.T.Cleanup(cancel)
	call, err := c.Streams.Read(ctx, &api.ReadReq{Options: Subscribed(o)})
	if err != nil {
		c.T.Fatal(err)
	}
	if m, err := call.Recv(); err != nil || m.GetConfirmation().GetSubscriptionId() == "" {
		c.T.Fatalf("the first message is %v, %v", m, err)
	}
	return &Subscriber{c, call}
}

// Next gives the next message as a word: an event's data, a checkpoint's position, "caught up", or
// the status with which it ended.
func (s *Subscriber) Next() string {
	s.c.T.Helper()
	m, err := s.Call.Recv()
	switch {
	case err != nil:
		return Code(err).String()
	case m.GetEvent() != nil:
		return string(m.GetEvent().GetEvent().GetData())
	case m.GetCheckpoint() != nil:
		return fmt.Sprint("checkpoint ", m.GetCheckpoint().GetCommitPosition())
	case m.GetCaughtUp() != nil:
		return "caught up"
	}
	return fmt.Sprint(m)
}

// Expect takes messages and holds each against what it should be.
func (s *Subscriber) Expect(want ...string) {
	s.c.T.Helper()
	for _, w := range want {
		if got := s.Next(); got != w {
			s.c.T.Fatalf("got %s, want %s", got, w)
		}
	}
}
