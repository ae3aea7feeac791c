package esnode

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"prelude/test/conformance/wire"
)

// held makes the writer wait within its next write until the returned function is called.
func (r *rig) held() (release func()) {
	gate := make(chan struct{})
	r.node.writer.now = func() time.Time {
		<-gate
		return time.Now()
	}
	return func() { close(gate) }
}

func answered(t *testing.T, b *wire.Batch, n int) {
	t.Helper()
	for range n {
		if got := b.Next(); got.GetSuccess() == nil {
			t.Fatalf("got %v", got)
		}
	}
}

// A client may send as much as may be under way before it reads an answer, and then goes on
// sending: it is made to wait, and nothing is lost.
func TestBatchAppend_waits_for_a_client_that_only_sends(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := r.Batch(wire.Within(t))
	const appends = batchWaiting + 1000
	full, sent := make(chan struct{}), make(chan error, 1)
	go func() {
		var err error
		for i := 0; i < appends && err == nil; i++ {
			err = b.Call.Send(&api.BatchAppendReq{
				CorrelationId: wire.Text(uuid.New()), IsFinal: true,
				Options:          wire.BatchOptions("s", int64(i)-1),
				ProposedMessages: wire.BatchMessages(fmt.Sprint(i)),
			})
			if i == batchWaiting-1 {
				close(full)
			}
		}
		sent <- err
	}()
	<-full
	answered(t, b, appends)
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestBatchAppend_bounds_what_is_under_way(t *testing.T) {
	t.Parallel()
	c := &batchCall{wake: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	admits := func(bytes int) bool {
		ok, err := c.admit(bytes)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	for range batchWaiting {
		if !admits(1) {
			t.Fatal("there is room")
		}
	}
	if admits(1) {
		t.Errorf("%d appends are under way", c.waiting)
	}
	c.settle(batchWaiting, batchWaiting)
	if !admits(batchHeld) {
		t.Error("the first is taken, however large")
	}
	if admits(1) {
		t.Errorf("%d bytes are under way", c.bytes)
	}
	c.settle(1, batchHeld)
	select {
	case <-c.room:
	default:
		t.Error("the reader is not told that there is room")
	}
	c.end(errStopping)
	if ok, err := c.admit(1); ok || err == nil || c.waiting != 0 {
		t.Error("an append was taken after the end")
	}
}

// Parts that are never finished must not fill the memory.
func TestBatchAppend_bounds_what_is_not_final(t *testing.T) {
	t.Parallel()
	r := newRigWith(t, Config{MaxAppendSize: largestAppend})
	for name, send := range map[string]func(b *wire.Batch, i int) error{
		"appends": func(b *wire.Batch, _ int) error {
			return b.Call.Send(&api.BatchAppendReq{
				CorrelationId: wire.Text(uuid.New()), Options: wire.BatchOptions("s", anyRevision),
			})
		},
		"bytes": func(b *wire.Batch, i int) error {
			m := wire.BatchMessages(fmt.Sprint(i))
			m[0].Data = make([]byte, largestAppend-100)
			return b.Call.Send(&api.BatchAppendReq{
				CorrelationId: wire.Text(uuid.New()), Options: wire.BatchOptions("s", anyRevision),
				ProposedMessages: m,
			})
		},
	} {
		b := r.Batch(wire.Within(t))
		var err error
		for i := 0; err == nil && i < 2*batchParts; i++ {
			err = send(b, i)
		}
		if _, err := b.Call.Recv(); wire.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: the call ends with %v", name, err)
		}
	}
}

// What was handed in before the node closes is stored and answered; then the call ends as
// subscriptions do.
func TestClose_answers_a_batch_and_ends_it(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	release := r.held()
	b, idle := r.Batch(wire.Within(t)), r.Batch(wire.Within(t))
	const appends = 20
	for i := range appends {
		b.Send(wire.Text(uuid.New()), wire.BatchOptions("s", int64(i)-1), true, fmt.Sprint(i))
	}
	// A refusal that needs no writer is answered at once: then those before it were handed in.
	b.Send(wire.Text(uuid.New()), wire.BatchOptions("", noStream), true)
	if got := b.Next(); got.GetError() == nil {
		t.Fatalf("got %v", got)
	}
	closed := make(chan error, 1)
	go func() { closed <- r.node.Close() }()
	if _, err := idle.Call.Recv(); wire.Code(err) != codes.Unavailable {
		t.Errorf("a call without appends ends with %v", err)
	}
	release()
	answered(t, b, appends)
	if _, err := b.Call.Recv(); wire.Code(err) != codes.Unavailable {
		t.Errorf("the call ends with %v", err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestBatchAppend_a_client_that_leaves_holds_nothing_up(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	release := r.held()
	ctx, leave := context.WithCancel(wire.Within(t))
	b := r.Batch(ctx)
	for i := range 10 {
		b.Send(wire.Text(uuid.New()), wire.BatchOptions("s", int64(i)-1), true, fmt.Sprint(i))
	}
	b.Send(wire.Text(uuid.New()), wire.BatchOptions("", noStream), true)
	b.Next()
	leave()
	release()
	other := r.Batch(wire.Within(t))
	other.Send(wire.Text(uuid.New()), wire.BatchOptions("t", noStream), true, "t")
	answered(t, other, 1)
}

func TestBatchAppend_says_when_the_node_cannot_write(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	fail := "CREATE TEMP TRIGGER fail BEFORE INSERT ON events " +
		"BEGIN SELECT RAISE(ABORT, 'no room'); END"
	if err := r.node.writer.conn.run(fail); err != nil {
		t.Fatal(err)
	}
	b := r.Batch(wire.Within(t))
	b.Send(wire.Text(uuid.New()), wire.BatchOptions("s", noStream), true, "a")
	e := b.Next().GetError()
	if codes.Code(e.GetCode()) != codes.Unavailable || len(e.GetDetails()) != 1 ||
		!e.GetDetails()[0].MessageIs(&shared.Unknown{}) {
		t.Errorf("got %v", e)
	}
}

// An append that waits too long behind others is not begun.
func TestBatchAppend_the_deadline_ends_the_waiting(t *testing.T) {
	t.Parallel()
	now := time.Now()
	r := &request{ctx: t.Context(), until: now.Add(-time.Nanosecond)}
	if r.stale() == nil {
		t.Error("it is begun after its deadline")
	}
	if r.until = now.Add(time.Hour); r.stale() != nil {
		t.Error("it is not begun before its deadline")
	}
	within := func(d time.Duration) *api.BatchAppendReq_Options {
		o := wire.BatchOptions("s", noStream)
		o.DeadlineOption = &api.BatchAppendReq_Options_Deadline{Deadline: durationpb.New(d)}
		return o
	}
	hour, second := within(time.Hour), within(time.Second)
	for what, c := range map[string]struct {
		o    *api.BatchAppendReq_Options
		want time.Duration
	}{
		"without a deadline": {wire.BatchOptions("s", noStream), longestWait},
		"one of a second":    {second, time.Second},
		"one of an hour":     {hour, longestWait},
	} {
		b := &batched{call: &batchCall{ctx: t.Context()}}
		if b.begin(c.o, now); !b.until.Equal(now.Add(c.want)) {
			t.Errorf("%s waits until %v after its first message, want %v", what, b.until.Sub(now), c.want)
		}
	}
}

// What cannot be an append is answered, and the call goes on; only what names no append ends it.
func TestBatchAppend_answers_mistakes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := r.Batch(wire.Within(t))
	for name, o := range map[string]*api.BatchAppendReq_Options{
		"no options":  nil,
		"no revision": {StreamIdentifier: wire.Stream("s")},
		"no name":     {ExpectedStreamPosition: wire.BatchOptions("s", anyRevision).ExpectedStreamPosition},
	} {
		b.Send(wire.Text(uuid.New()), o, true, "a")
		e := b.Next().GetError()
		if codes.Code(e.GetCode()) != codes.InvalidArgument || len(e.GetDetails()) != 1 ||
			!e.GetDetails()[0].MessageIs(&shared.BadRequest{}) {
			t.Errorf("%s: got %v", name, e)
		}
	}
	b.Send(nil, wire.BatchOptions("s", anyRevision), true, "a")
	if got, err := b.Call.Recv(); wire.Code(err) != codes.InvalidArgument {
		t.Errorf("without a correlation id: %v, %v", got, err)
	}
	if got := r.Revisions("s"); got[0] != -1 {
		t.Errorf("something was appended: %v", got)
	}
}
