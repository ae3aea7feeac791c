package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"prelude/test/conformance/wire"
)

func TestBatchAppend(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T, *wire.Client){
		"is announced with its deadline":             batchAnnounced,
		"answers with revision and position":         batchAnswers,
		"gives a correlation id back in its form":    batchCorrelation,
		"decides on one stream in order of arrival":  batchInOrder,
		"is whole with its final message":            batchInParts,
		"keeps appends in parts apart":               batchInterleaved,
		"goes on after a wrong version":              batchWrongVersion,
		"tells what was expected":                    batchTellsExpected,
		"goes on after a deleted stream":             batchDeleted,
		"goes on after a bad request":                batchBadRequests,
		"knows a repeat":                             batchRepeat,
		"ends after half-close":                      batchHalfClosed,
		"does not begin what is too late":            batchTooLate,
		"takes deadlines of thousands of years":      batchLongDeadlines,
		"needs no events":                            batchOfNothing,
		"ends when a message is over the size limit": batchHugeMessage,
		"shows nothing of an append without its end": batchWithoutEnd,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, plain(t))
		})
	}
}

func batchAnnounced(t *testing.T, c *wire.Client) {
	t.Helper()
	got, err := serverfeatures.NewServerFeaturesClient(c.Conn).
		GetSupportedMethods(wire.Within(t), wire.Empty)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range got.Methods {
		if m.ServiceName == "event_store.client.streams.streams" && m.MethodName == "batchappend" {
			if !slices.Contains(m.Features, "deadline_duration") {
				t.Errorf("its features are %v", m.Features)
			}
			return
		}
	}
	t.Error("it is not announced")
}

// succeeded holds an answer against what a success should say, and gives its position.
func succeeded(t *testing.T, got *api.BatchAppendResp, stream string, rev uint64) uint64 {
	t.Helper()
	at := got.GetSuccess().GetPosition()
	if got.GetSuccess().GetCurrentRevision() != rev || at.GetCommitPosition() == 0 ||
		at.GetCommitPosition() != at.GetPreparePosition() ||
		string(got.GetStreamIdentifier().GetStreamName()) != stream {
		t.Fatalf("got %v, want revision %d of %s", got, rev, stream)
	}
	return at.GetCommitPosition()
}

// refused holds an answer against the code and the one detail that a refusal should have.
func refused[D proto.Message](t *testing.T, got *api.BatchAppendResp, code codes.Code, detail D) D {
	t.Helper()
	e := got.GetError()
	if e == nil || codes.Code(e.Code) != code || e.Message == "" || len(e.Details) != 1 {
		t.Fatalf("got %v, want %v", got, code)
	}
	if err := e.Details[0].UnmarshalTo(detail); err != nil {
		t.Fatalf("the detail: %v", err)
	}
	return detail
}

func correlation() *shared.UUID { return wire.Text(uuid.New()) }

func batchAnswers(t *testing.T, c *wire.Client) {
	t.Helper()
	b, s := c.Batch(wire.Within(t)), named(t, "s")
	b.Send(correlation(), wire.BatchOptions(s, wire.NoStream), true, s+"a", s+"b")
	at := succeeded(t, b.Next(), s, 1)
	got, err := c.Read(wire.OfStream(s))
	if err != nil || len(got) != 2 {
		t.Fatalf("%d events, %v", len(got), err)
	}
	last := got[1].GetEvent()
	if last.GetCommitPosition() != at || string(last.GetEvent().GetData()) != `{"id":"`+s+`b"}` ||
		last.GetEvent().GetMetadata()["type"] != "tested" ||
		string(last.GetEvent().GetCustomMetadata()) != `{"by":"test"}` {
		t.Errorf("the last event is %v, acknowledged was %d", last, at)
	}
}

func batchCorrelation(t *testing.T, c *wire.Client) {
	t.Helper()
	b, id := c.Batch(wire.Within(t)), uuid.New()
	for i, form := range []*shared.UUID{wire.Text(id), wire.Structured(id)} {
		b.Send(form, wire.BatchOptions(named(t, fmt.Sprint(i)), wire.NoStream), true, "a")
		if got := b.Next(); !proto.Equal(got.GetCorrelationId(), form) {
			t.Errorf("%v came back as %v", form, got.GetCorrelationId())
		}
	}
}

func batchInOrder(t *testing.T, c *wire.Client) {
	t.Helper()
	const appends = 300
	b, s := c.Batch(wire.Within(t)), named(t, "s")
	revs := map[string]uint64{}
	for i := range appends {
		id := correlation()
		revs[id.GetString_()] = uint64(i)
		b.Send(id, wire.BatchOptions(s, int64(i)-1), true, fmt.Sprint(s, i))
	}
	for range appends {
		got := b.Next()
		succeeded(t, got, s, revs[got.GetCorrelationId().GetString_()])
		delete(revs, got.GetCorrelationId().GetString_())
	}
	if len(revs) != 0 {
		t.Errorf("%d appends were not answered", len(revs))
	}
}

func batchInParts(t *testing.T, c *wire.Client) {
	t.Helper()
	b, s, id := c.Batch(wire.Within(t)), named(t, "s"), correlation()
	b.Send(id, wire.BatchOptions(s, wire.NoStream), false)
	b.Send(id, nil, false, s+"a", s+"b")
	b.Send(id, nil, true, s+"c")
	succeeded(t, b.Next(), s, 2)
}

func batchInterleaved(t *testing.T, c *wire.Client) {
	t.Helper()
	b, one, two := c.Batch(wire.Within(t)), correlation(), correlation()
	s, other := named(t, "s"), named(t, "other")
	b.Send(one, wire.BatchOptions(s, wire.NoStream), false, s+"a")
	b.Send(two, wire.BatchOptions(other, wire.NoStream), false, other+"a", other+"b")
	b.Send(one, nil, true, s+"b", s+"c")
	succeeded(t, b.Next(), s, 2)
	b.Send(two, nil, true)
	succeeded(t, b.Next(), other, 1)
}

func batchWrongVersion(t *testing.T, c *wire.Client) {
	t.Helper()
	b, s := c.Batch(wire.Within(t)), named(t, "s")
	b.Send(correlation(), wire.BatchOptions(s, 7), true, s+"a")
	wrong := refused(t, b.Next(), codes.AlreadyExists, &shared.WrongExpectedVersion{})
	if wrong.GetCurrentNoStream() == nil || wrong.GetExpectedStreamPosition() != 7 {
		t.Errorf("got %v", wrong)
	}
	b.Send(correlation(), wire.BatchOptions(s, wire.NoStream), true, s+"a", s+"b")
	succeeded(t, b.Next(), s, 1)
	b.Send(correlation(), wire.BatchOptions(s, 0), true, s+"c")
	wrong = refused(t, b.Next(), codes.AlreadyExists, &shared.WrongExpectedVersion{})
	if wrong.GetCurrentStreamRevision() != 1 || wrong.GetExpectedStreamPosition() != 0 {
		t.Errorf("got %v", wrong)
	}
}

func batchTellsExpected(t *testing.T, c *wire.Client) {
	t.Helper()
	b, s := c.Batch(wire.Within(t)), named(t, "s")
	c.Must(s, wire.NoStream, s+"a")
	b.Send(correlation(), wire.BatchOptions(s, wire.NoStream), true, s+"b")
	wrong := refused(t, b.Next(), codes.AlreadyExists, &shared.WrongExpectedVersion{})
	if wrong.GetExpectedNoStream() == nil {
		t.Errorf("no stream was expected: %v", wrong)
	}
	b.Send(correlation(), wire.BatchOptions(named(t, "none"), wire.Exists), true, s+"b")
	wrong = refused(t, b.Next(), codes.AlreadyExists, &shared.WrongExpectedVersion{})
	if wrong.GetExpectedStreamExists() == nil || wrong.GetCurrentNoStream() == nil {
		t.Errorf("a stream was expected: %v", wrong)
	}
}

func batchDeleted(t *testing.T, c *wire.Client) {
	t.Helper()
	b, s := c.Batch(wire.Within(t)), named(t, "s")
	if a := c.Tombstone(s, wire.Any); a.Err != nil {
		t.Fatal(a.Err)
	}
	b.Send(correlation(), wire.BatchOptions(s, wire.Any), true, s+"a")
	got := refused(t, b.Next(), codes.NotFound, &shared.StreamDeleted{})
	if string(got.GetStreamIdentifier().GetStreamName()) != s {
		t.Errorf("got %v", got)
	}
	b.Send(correlation(), wire.BatchOptions(s+"2", wire.Any), true, s+"a")
	succeeded(t, b.Next(), s+"2", 0)
}

func batchBadRequests(t *testing.T, c *wire.Client) {
	t.Helper()
	b, s := c.Batch(wire.Within(t)), named(t, "s")
	untyped, unnamed := wire.BatchMessages(s)[0], wire.BatchMessages(s)[0]
	delete(untyped.Metadata, "type")
	unnamed.Id = nil
	for name, c := range map[string]struct {
		o *api.BatchAppendReq_Options
		m []*api.BatchAppendReq_ProposedMessage
	}{
		"no name":     {wire.BatchOptions("", wire.Any), wire.BatchMessages(s)},
		"no type":     {wire.BatchOptions(s, wire.Any), append(wire.BatchMessages(s+"x"), untyped)},
		"no event id": {wire.BatchOptions(s, wire.Any), append(wire.BatchMessages(s+"x"), unnamed)},
	} {
		b.SendMessages(correlation(), c.o, true, c.m...)
		if got := refused(t, b.Next(), codes.InvalidArgument, &shared.BadRequest{}); got.Message == "" {
			t.Errorf("%s: got %v", name, got)
		}
	}
	if got := c.Revisions(s); !slices.Equal(got, []int64{-1}) {
		t.Errorf("something was appended: %v", got)
	}
}

func batchRepeat(t *testing.T, c *wire.Client) {
	t.Helper()
	b, s := c.Batch(wire.Within(t)), named(t, "s")
	var first uint64
	for i := range 3 {
		b.Send(correlation(), wire.BatchOptions(s, wire.NoStream), true, s+"a", s+"b")
		at := succeeded(t, b.Next(), s, 1)
		if i == 0 {
			first = at
		}
		if at != first {
			t.Errorf("a repeat answers %d, the first %d", at, first)
		}
	}
}

// After a half-close a store may end the call without the answers of what is under way: who needs them
// does not half-close before. What is answered is right, and all that was sent may be stored.
func batchHalfClosed(t *testing.T, c *wire.Client) {
	t.Helper()
	const appends = 200
	b, s := c.Batch(wire.Within(t)), named(t, "s")
	for i := range appends {
		b.Send(correlation(), wire.BatchOptions(s, int64(i)-1), true, fmt.Sprint(s, i))
	}
	if err := b.Call.CloseSend(); err != nil {
		t.Fatal(err)
	}
	answers := 0
	got, err := b.Call.Recv()
	for ; err == nil; got, err = b.Call.Recv() {
		if answers++; got.GetSuccess() == nil {
			t.Fatalf("got %v", got)
		}
	}
	if answers > appends || !errors.Is(err, io.EOF) {
		t.Errorf("the call ends with %v after %d answers", err, answers)
	}
}

func batchTooLate(t *testing.T, c *wire.Client) {
	t.Helper()
	b, s := c.Batch(wire.Within(t)), named(t, "s")
	late := wire.BatchOptions(s, wire.NoStream)
	for _, d := range []time.Duration{0, -time.Hour} {
		late.DeadlineOption = &api.BatchAppendReq_Options_Deadline{Deadline: durationpb.New(d)}
		b.Send(correlation(), late, true, s)
		refused(t, b.Next(), codes.DeadlineExceeded, &shared.Timeout{})
	}
	late.DeadlineOption = &api.BatchAppendReq_Options_Deadline_21_10_0{
		Deadline_21_10_0: timestamppb.New(time.Now().Add(-time.Second)),
	}
	b.Send(correlation(), late, true, s)
	refused(t, b.Next(), codes.DeadlineExceeded, &shared.Timeout{})
	if got := c.Revisions(s); !slices.Equal(got, []int64{-1}) {
		t.Errorf("something was appended: %v", got)
	}
}

func batchLongDeadlines(t *testing.T, c *wire.Client) {
	t.Helper()
	const year = 365 * 24 * 60 * 60
	b := c.Batch(wire.Within(t))
	for i, deadline := range []*api.BatchAppendReq_Options{
		{DeadlineOption: &api.BatchAppendReq_Options_Deadline{
			Deadline: &durationpb.Duration{Seconds: 10_000 * year},
		}},
		{DeadlineOption: &api.BatchAppendReq_Options_Deadline{
			Deadline: &durationpb.Duration{Seconds: 56 * year},
		}},
		{DeadlineOption: &api.BatchAppendReq_Options_Deadline_21_10_0{
			Deadline_21_10_0: &timestamppb.Timestamp{Seconds: 8_000 * year},
		}},
	} {
		s := named(t, fmt.Sprint(i))
		o := wire.BatchOptions(s, wire.NoStream)
		o.DeadlineOption = deadline.DeadlineOption
		b.Send(correlation(), o, true, s)
		succeeded(t, b.Next(), s, 0)
	}
}

func batchOfNothing(t *testing.T, c *wire.Client) {
	t.Helper()
	b, s := c.Batch(wire.Within(t)), named(t, "s")
	b.Send(correlation(), wire.BatchOptions(s, wire.NoStream), true)
	// Its position, if there is one, is that of the end.
	if got := b.Next().GetSuccess(); got.GetNoStream() == nil {
		t.Errorf("got %v", got)
	}
	if got := c.Revisions(s); !slices.Equal(got, []int64{-1}) {
		t.Errorf("something was appended: %v", got)
	}
}

func batchHugeMessage(t *testing.T, c *wire.Client) {
	t.Helper()
	b, s := c.Batch(wire.Within(t)), named(t, "s")
	large := wire.BatchMessages(s)[0]
	large.Data = bytes.Repeat([]byte("x"), 18<<20)
	// The store may hang up before it has all.
	err := b.Call.Send(&api.BatchAppendReq{
		CorrelationId: correlation(), Options: wire.BatchOptions(s, wire.Any), IsFinal: true,
		ProposedMessages: []*api.BatchAppendReq_ProposedMessage{large},
	})
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if got, err := b.Call.Recv(); wire.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v, %v", got, err)
	}
}

func batchWithoutEnd(t *testing.T, c *wire.Client) {
	t.Helper()
	b, s := c.Batch(wire.Within(t)), named(t, "s")
	o := wire.BatchOptions(s, wire.NoStream)
	o.DeadlineOption = &api.BatchAppendReq_Options_Deadline{
		Deadline: durationpb.New(100 * time.Millisecond),
	}
	b.Send(correlation(), o, false, s+"a")
	refused(t, b.Next(), codes.DeadlineExceeded, &shared.Timeout{})
	b.Send(correlation(), wire.BatchOptions(s+"2", wire.NoStream), true, s+"b")
	succeeded(t, b.Next(), s+"2", 0)
	if got := c.Revisions(s); !slices.Equal(got, []int64{-1}) {
		t.Errorf("something was appended: %v", got)
	}
}
