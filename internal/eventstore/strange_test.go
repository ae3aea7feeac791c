package eventstore_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"prelude/internal/eventlog"
)

// recorded is an event of the stream "s" as a store sends it.
func recorded(revision, position uint64, created string) *api.ReadResp {
	return &api.ReadResp{Content: &api.ReadResp_Event{Event: &api.ReadResp_ReadEvent{
		Event: &api.ReadResp_ReadEvent_RecordedEvent{
			Id: &shared.UUID{Value: &shared.UUID_Structured_{Structured: &shared.UUID_Structured{
				MostSignificantBits: 1, LeastSignificantBits: int64(revision + 1)}}},
			StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte("s")}, StreamRevision: revision,
			CommitPosition: position, PreparePosition: position,
			Metadata: map[string]string{"type": "t", "created": created},
		}}}}
}

// A store before 22.6 gives the events of a stream no positions in the whole log.
func TestRead_of_a_stream_without_positions(t *testing.T) {
	t.Parallel()
	o := &odd{read: func(s api.Streams_ReadServer) error {
		for i := range uint64(5) {
			if err := s.Send(recorded(i, math.MaxUint64, "17000000000000000")); err != nil {
				return err
			}
		}
		return nil
	}}
	next := eventlog.Revision(0)
	store := to(t, "esdb://"+serve(t, o)+"?tls=false")
	for raw, err := range store.Read(within(t, 10*time.Second), "s", 0, eventlog.Forwards, 0) {
		if err != nil || raw.Revision != next {
			t.Fatalf("revision %d, want %d: %v", raw.Revision, next, err)
		}
		next++
	}
	if next != 5 {
		t.Errorf("%d of 5 events are given", next)
	}
}

// An event that cannot be read cannot be read the next time either: a subscription says so, and is no outage.
func TestSubscribe_ends_at_an_event_that_cannot_be_read(t *testing.T) {
	t.Parallel()
	o := &odd{end: 7, read: func(s api.Streams_ReadServer) error {
		return errors.Join(
			s.Send(&api.ReadResp{Content: &api.ReadResp_Confirmation{Confirmation: &api.ReadResp_SubscriptionConfirmation{}}}),
			s.Send(recorded(3, 7, "yesterday")))
	}}
	ctx := within(t, 20*time.Second)
	var last error
	for _, err := range to(t, "esdb://"+serve(t, o)+"?tls=false").Subscribe(ctx, 1, eventlog.Filter{}) {
		last = err
	}
	if last == nil || ctx.Err() != nil {
		t.Errorf("it ends with %v, and the context with %v", last, ctx.Err())
	}
}

// A read without a deadline ends although the store answers pings and says nothing.
func TestRead_of_a_store_that_is_silent(t *testing.T) {
	t.Parallel()
	o := &odd{read: func(s api.Streams_ReadServer) error {
		<-s.Context().Done()
		return nil
	}}
	store := to(t, "esdb://"+serve(t, o)+"?tls=false")
	ended := make(chan error, 1)
	go func() {
		var last error
		for _, last = range store.Read(t.Context(), "s", 0, eventlog.Forwards, 0) {
			continue
		}
		ended <- last
	}()
	select {
	case err := <-ended:
		if !errors.Is(err, eventlog.ErrUnavailable) {
			t.Errorf("it ends with %v", err)
		}
	case <-time.After(40 * time.Second):
		t.Error("it does not end")
	}
}

// A store may say more than once that all there was has been given, may fall behind, say what this program does not
// know, or come back to what it has sent: who listens is given each event once.
func TestSubscribe_to_a_store_that_repeats_itself(t *testing.T) {
	t.Parallel()
	caughtUp := &api.ReadResp{Content: &api.ReadResp_CaughtUp_{CaughtUp: &api.ReadResp_CaughtUp{}}}
	behind := &api.ReadResp{Content: &api.ReadResp_FellBehind_{FellBehind: &api.ReadResp_FellBehind{}}}
	checkpoint := func(at uint64) *api.ReadResp {
		return &api.ReadResp{Content: &api.ReadResp_Checkpoint_{
			Checkpoint: &api.ReadResp_Checkpoint{CommitPosition: at, PreparePosition: at}}}
	}
	unknown := &api.ReadResp{}
	unknown.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 99, protowire.BytesType), []byte("new")))
	const created = "17000000000000000"
	o := &odd{end: 5, read: func(s api.Streams_ReadServer) error {
		for _, m := range []*api.ReadResp{
			{Content: &api.ReadResp_Confirmation{Confirmation: &api.ReadResp_SubscriptionConfirmation{}}},
			recorded(0, 5, created), caughtUp, behind, unknown, checkpoint(3), recorded(0, 5, created), checkpoint(8),
			recorded(1, 7, created), recorded(2, 9, created), caughtUp, caughtUp, recorded(3, 11, created),
		} {
			if err := s.Send(m); err != nil {
				return err
			}
		}
		<-s.Context().Done()
		return nil
	}}
	var got []string
	for s, err := range to(t, "esdb://"+serve(t, o)+"?tls=false").Subscribe(within(t, 20*time.Second), 1, eventlog.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		kind := map[eventlog.SignalKind]string{eventlog.Event: "event", eventlog.Checkpoint: "checkpoint",
			eventlog.CaughtUp: "caught up", eventlog.Lost: "lost"}[s.Kind]
		got = append(got, fmt.Sprint(kind, " ", s.Position))
		if s.Position == 11 {
			break
		}
	}
	// The checkpoint at 8 lies beyond the end that the store names: it is not heeded.
	want := []string{"event 5", "caught up 5", "event 7", "event 9", "caught up 9", "caught up 9", "event 11"}
	if !slices.Equal(got, want) {
		t.Errorf("it gives %q, want %q", got, want)
	}
}

// A store that says that the time is up, again and again, is away, and has refused nothing.
func TestRead_of_a_store_that_says_the_time_is_up(t *testing.T) {
	t.Parallel()
	o := &odd{read: func(api.Streams_ReadServer) error { return status.Error(codes.DeadlineExceeded, "too late") }}
	s := to(t, "esdb://"+serve(t, o)+"?tls=false")
	for _, err := range s.Read(within(t, 2*time.Second), "s", 0, eventlog.Forwards, 0) {
		if !errors.Is(err, eventlog.ErrUnavailable) {
			t.Errorf("it ends with %v", err)
		}
	}
	if n := o.reads.Load(); n <= 3 {
		t.Errorf("it was asked %d times", n)
	}
}
