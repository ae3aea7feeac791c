package eventstore_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"prelude/internal/eventlog"
	"prelude/internal/eventstore"
	"prelude/internal/eventstore/storetest"
)

// A large append over a slow way takes its time, once; one that waits behind it does not break it off.
func TestAppend_that_takes_longer_than_others(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const part, rate = 512 << 10, 1200 << 10
	large := make([]eventlog.Proposed, storetest.Scale(8, 16)) // 4 MiB in 3.5 s, 8 MiB in 7 s: a store waits 10 s for all of one
	for i := range large {
		large[i] = event("large.v1", `{"a":"`+strings.Repeat("x", part)+`"}`)
	}
	r.proxy.Slow(rate)
	ctx := within(t, 60*time.Second)
	began := time.Now()
	var all sync.WaitGroup
	for w := range 3 {
		all.Go(func() {
			if _, err := r.store.Append(ctx, fmt.Sprint("small-", w), eventlog.None, events(1)); err != nil {
				t.Errorf("the small one: %v", err)
			}
		})
	}
	if _, err := r.store.Append(ctx, "large", eventlog.None, large); err != nil {
		t.Errorf("the large one: %v", err)
	}
	all.Wait()
	once := time.Duration(len(large)*part) * time.Second / rate
	took := time.Since(began)
	t.Logf("%d bytes took %v, the way alone %v", len(large)*part, took.Round(time.Millisecond), once)
	if took > once+once/2+time.Second {
		t.Error("it was sent more than once")
	}
	if got := r.log("large"); len(got) != len(large) {
		t.Errorf("%d events are stored", len(got))
	}
}

// An append that a store is slow with is repeated; those on the same call that are answered meanwhile
// are left alone.
func TestAppend_that_is_late_leaves_the_others(t *testing.T) {
	t.Parallel()
	var calls, late, others atomic.Int64
	o := &odd{append: func(s api.Streams_BatchAppendServer) error {
		calls.Add(1)
		for {
			req, err := s.Recv()
			if err != nil {
				return nil //nolint:nilerr // the client has left
			}
			if string(req.GetOptions().GetStreamIdentifier().GetStreamName()) == "late" {
				if late.Add(1) == 1 {
					continue
				}
			} else {
				others.Add(1)
			}
			if err := s.Send(stored(req)); err != nil {
				return err
			}
		}
	}}
	s := to(t, "esdb://"+serve(t, o)+"?tls=false")
	ctx := within(t, 20*time.Second)
	ended := make(chan error, 1)
	go func() {
		_, err := s.Append(ctx, "late", eventlog.None, events(1))
		ended <- err
	}()
	for sent, done := int64(0), false; !done; {
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the late one: %v", err)
			}
			done = true
		case <-time.After(10 * time.Millisecond):
			sent++
			if _, err := s.Append(ctx, fmt.Sprint("s-", sent), eventlog.None, events(1)); err != nil {
				t.Fatalf("one of the others: %v", err)
			}
			if others.Load() != sent {
				t.Fatalf("%d appends were sent %d times", sent, others.Load())
			}
		}
	}
	if calls.Load() != 1 || late.Load() != 2 {
		t.Errorf("%d calls, the late one was sent %d times", calls.Load(), late.Load())
	}
}

// A store that answers on its connection and on no call for appends gets another call.
func TestAppend_on_a_call_that_is_silent(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	o := &odd{append: func(s api.Streams_BatchAppendServer) error {
		calls.Add(1)
		<-s.Context().Done()
		return nil
	}}
	s := to(t, "esdb://"+serve(t, o)+"?tls=false")
	for ctx := within(t, 20*time.Second); calls.Load() < 2; {
		if ctx.Err() != nil {
			t.Fatal("the call is kept")
		}
		_, err := s.Append(short(ctx, t), "s", eventlog.None, events(1))
		if !errors.Is(err, eventlog.ErrUnavailable) {
			t.Fatalf("it answers %v", err)
		}
	}
}

// A connection that is dead and looks alive is given up soon, also when no caller waits as long as it
// takes to tell.
func TestStore_notices_a_silence_that_nobody_waits_for(t *testing.T) {
	t.Parallel()
	for what, call := range map[string]func(context.Context, *rig) error{
		"append": func(ctx context.Context, r *rig) error {
			_, err := r.store.Append(ctx, "s", eventlog.None, events(1))
			return err
		},
		"ready": func(ctx context.Context, r *rig) error { return r.store.Ready(ctx) },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.proxy.Lose()
			began := time.Now()
			for {
				err := call(short(r.ctx(), t), r)
				if err == nil || errors.Is(err, eventlog.ErrMoved) {
					break
				}
				if !errors.Is(err, eventlog.ErrUnavailable) || time.Since(began) > 9*time.Second {
					t.Fatalf("after %v: %v", time.Since(began), err)
				}
			}
			t.Logf("after %v", time.Since(began).Round(time.Millisecond))
		})
	}
}

// short is the patience of one who soon gives up.
func short(ctx context.Context, t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 400*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// Who gives up an append half sent leaves nothing of it in the store, and its end is no refusal of what others append.
func TestAppend_that_is_given_up_half_sent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var parts []eventlog.Proposed
	for range 3 {
		parts = append(parts, event("large.v1", `{"a":"`+strings.Repeat("x", 700<<10)+`"}`))
	}
	for i := range 200 { // the node keeps 64 MiB of what is not whole
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, err := r.store.Append(ctx, fmt.Sprint("large-", i), eventlog.None, parts)
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}()
		cancel()
		<-ended
		if _, err := r.store.Append(r.ctx(), "small", eventlog.Revision(i)-1, events(1)); err != nil {
			t.Fatalf("after %d that were given up, another's is: %v", i+1, err)
		}
	}
}

// A call that ends with a refusal, after it has answered some, does not refuse the others: they are appended on the next.
func TestAppend_on_a_call_that_ends_with_a_refusal(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	o := &odd{append: func(s api.Streams_BatchAppendServer) error {
		first := calls.Add(1) == 1
		for n := 0; ; n++ {
			req, err := s.Recv()
			if err != nil {
				return nil //nolint:nilerr // the client has left
			}
			if first && n == 1 {
				return status.Error(codes.PermissionDenied, "not any more")
			}
			if err := s.Send(stored(req)); err != nil {
				return err
			}
		}
	}}
	s := to(t, "esdb://"+serve(t, o)+"?tls=false")
	for i := range 3 {
		if _, err := s.Append(within(t, 10*time.Second), fmt.Sprint("s-", i), eventlog.None, events(1)); err != nil {
			t.Errorf("append %d: %v", i, err)
		}
	}
	if calls.Load() != 2 {
		t.Errorf("%d calls", calls.Load())
	}
}

// stored says that a new stream has its first event.
func stored(req *api.BatchAppendReq) *api.BatchAppendResp {
	return &api.BatchAppendResp{CorrelationId: req.GetCorrelationId(),
		Result: &api.BatchAppendResp_Success_{Success: &api.BatchAppendResp_Success{
			CurrentRevisionOption: &api.BatchAppendResp_Success_CurrentRevision{CurrentRevision: 0}}}}
}

// A call that is silent is ended, and the connection, which answers, is kept for all who wait.
func TestStore_keeps_a_connection_that_answers(t *testing.T) {
	t.Parallel()
	o := &odd{append: func(s api.Streams_BatchAppendServer) error {
		<-s.Context().Done()
		return nil
	}}
	var said lines
	s, err := eventstore.Open(eventstore.Config{Address: "esdb://" + serve(t, o) + "?tls=false",
		Logger: slog.New(slog.NewTextHandler(&said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx := within(t, 7*time.Second)
	var all sync.WaitGroup
	for i := range 3 {
		all.Go(func() {
			<-time.After(time.Duration(i) * time.Second)
			if _, err := s.Append(ctx, "s", eventlog.None, events(1)); !errors.Is(err, eventlog.ErrUnavailable) {
				t.Errorf("it answers %v", err)
			}
		})
	}
	all.Wait()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if text := said.String(); strings.Contains(text, "connection replaced") {
		t.Errorf("it was replaced:\n%s", text)
	}
}

// lines are what is logged.
type lines struct {
	mu  sync.Mutex
	all strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}
