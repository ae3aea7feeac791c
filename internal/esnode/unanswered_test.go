package esnode

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"prelude/test/conformance/wire"
)

// What a real store does not answer ends with the caller's deadline, or when the node closes.
func TestRead_that_is_not_answered(t *testing.T) {
	t.Parallel()
	r := newStoppedRig(t)
	r.start(t)
	r.Must("s", noStream, "a")
	unanswered := map[string]func() *api.ReadReq_Options{
		"a count of 0":           func() *api.ReadReq_Options { return wire.Count(wire.Options(), 0) },
		"a count of 0, a stream": func() *api.ReadReq_Options { return wire.Count(wire.OfStream("s"), 0) },
		"a window of 0":          func() *api.ReadReq_Options { return filteredBy(wire.Options(), "s", 0) },
	}
	var open []api.Streams_ReadClient
	for name, o := range unanswered {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		call, err := r.Streams.Read(ctx, &api.ReadReq{Options: o()})
		if err == nil {
			_, err = call.Recv()
		}
		if wire.Code(err) != codes.DeadlineExceeded {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
		call, err = r.Streams.Read(wire.Within(t), &api.ReadReq{Options: o()})
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, call)
	}
	if err := r.node.Close(); err != nil {
		t.Error(err)
	}
	for _, call := range open {
		if _, err := call.Recv(); wire.Code(err) != codes.Unavailable {
			t.Errorf("at the end: %v", err)
		}
	}
	if err := r.Conn.Close(); err != nil {
		t.Error(err)
	}
}

// A filter needs a window. With neither a prefix nor a pattern nothing passes; with both the pattern counts.
func TestFilter_of_a_real_store(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	one, two := r.Must("one", noStream, "a").Pos, r.Must("two", noStream, "b").Pos
	for name, rule := range map[string]struct {
		f    wire.Filter
		want []int64
	}{
		"neither":          {wire.Filter{}, nil},
		"neither, by type": {wire.Filter{ByType: true}, nil},
		"both":             {wire.Filter{Prefixes: []string{"one"}, Regex: "^two"}, []int64{two}},
		"a prefix":         {wire.Filter{Prefixes: []string{"one"}}, []int64{one}},
	} {
		rule.f.Window, rule.f.Multiplier = 32, 1
		got, err := r.Read(wire.Filtered(wire.Options(), rule.f))
		if at := wire.PositionsOf(got); err != nil || !slices.Equal(at, rule.want) {
			t.Errorf("%s: got %v, want %v, %v", name, at, rule.want, err)
		}
	}
	o := filteredBy(wire.Options(), "one", 32)
	o.GetFilter().Window = nil
	if _, err := r.Read(o); wire.Code(err) != codes.InvalidArgument {
		t.Errorf("without a window a read ends with %v", err)
	}
	if _, err := r.Read(wire.Subscribed(o)); wire.Code(err) != codes.InvalidArgument {
		t.Errorf("without a window a subscription ends with %v", err)
	}
}

func timedOutIn(t *testing.T, got *api.BatchAppendResp) {
	t.Helper()
	e := got.GetError()
	if codes.Code(e.GetCode()) != codes.DeadlineExceeded || len(e.GetDetails()) != 1 ||
		!e.GetDetails()[0].MessageIs(&shared.Timeout{}) {
		t.Errorf("got %v", got)
	}
}

// An append whose end does not come is answered at its deadline, once, and nothing of it is kept.
func TestBatchAppend_without_its_end(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := r.Batch(wire.Within(t))
	o := func(d time.Duration) *api.BatchAppendReq_Options {
		o := wire.BatchOptions("s", noStream)
		o.DeadlineOption = &api.BatchAppendReq_Options_Deadline{Deadline: durationpb.New(d)}
		return o
	}
	for _, d := range []time.Duration{20 * time.Millisecond, 0, -time.Hour} {
		id := wire.Text(uuid.New())
		b.Send(id, o(d), false, "a")
		got := b.Next()
		timedOutIn(t, got)
		if got.GetCorrelationId().GetString_() != id.GetString_() {
			t.Errorf("it answers %v", got.GetCorrelationId())
		}
		// What comes later begins anew, and has no options.
		b.Send(id, nil, true, "b")
		if e := b.Next().GetError(); codes.Code(e.GetCode()) != codes.InvalidArgument {
			t.Errorf("what comes later: %v", e)
		}
	}
	if got := r.Revisions("s"); !slices.Equal(got, []int64{-1}) {
		t.Errorf("something was appended: %v", got)
	}
	b.Send(wire.Text(uuid.New()), wire.BatchOptions("s", noStream), true, "c")
	answered(t, b, 1)
}

// sent is the server's side of a call that keeps what it sends.
type sent struct {
	api.Streams_BatchAppendServer
	all []*api.BatchAppendResp
}

func (s *sent) Send(m *api.BatchAppendResp) error {
	s.all = append(s.all, m)
	return nil
}

// After a half-close one more answer comes and the call ends, whatever else is under way.
func TestBatchAppend_half_closed_with_appends_under_way(t *testing.T) {
	t.Parallel()
	out := &sent{}
	c := &batchCall{
		ctx: t.Context(), stream: out, wake: make(chan struct{}, 1), room: make(chan struct{}, 1),
	}
	for range 3 {
		if ok, err := c.admit(1); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	c.end(nil)
	ended := make(chan error)
	go func() { ended <- c.answer(nil) }()
	for range 2 {
		(&batched{call: c, id: wire.Text(uuid.New())}).finished()
	}
	if err := <-ended; err != nil || len(out.all) != 1 {
		t.Errorf("it ends with %v after %d answers", err, len(out.all))
	}
}

// A batch that was answered in full does not end at the half-close, but with its deadline or the node.
func TestBatchAppend_half_closed_when_all_is_answered(t *testing.T) {
	t.Parallel()
	r := newStoppedRig(t)
	r.start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	idle, late := r.Batch(wire.Within(t)), r.Batch(ctx)
	for _, b := range []*wire.Batch{idle, late} {
		if err := b.Call.CloseSend(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := late.Call.Recv(); wire.Code(err) != codes.DeadlineExceeded {
		t.Errorf("it ends with %v", err)
	}
	if err := r.node.Close(); err != nil {
		t.Error(err)
	}
	if _, err := idle.Call.Recv(); status.Convert(err).Message() != status.Convert(errStopping).Message() {
		t.Errorf("when the node closes it ends with %v", err)
	}
	if err := r.Conn.Close(); err != nil {
		t.Error(err)
	}
}

// A connection has 100 calls at once; the next waits in the client.
func TestConnection_has_100_calls(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, cancel := context.WithCancel(wire.Within(t))
	defer cancel()
	for i := range streamsPerConnection {
		call, err := r.Streams.Read(ctx, &api.ReadReq{Options: wire.Subscribed(wire.OfStream("s"))})
		if err == nil {
			_, err = call.Recv()
		}
		if err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
	}
	short, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	call, err := r.Streams.Read(short, &api.ReadReq{Options: wire.OfStream("s")})
	if err == nil {
		_, err = call.Recv()
	}
	if wire.Code(err) != codes.DeadlineExceeded {
		t.Errorf("one more ends with %v", err)
	}
	cancel()
	r.Must("s", noStream, "a")
}
