package eventstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"

	"prelude/internal/eventlog"
	"prelude/internal/eventstore/storetest"
)

// A large append over a slow way takes its time, once; one that waits behind it does not break it off.
func TestAppend_that_takes_longer_than_others(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const part, rate = 512 << 10, 1200 << 10
	large := make([]eventlog.Proposed, storetest.Scale(8, 30)) // 4 MiB in 3.5 s, 15 MiB in 13 s
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
			err = s.Send(&api.BatchAppendResp{CorrelationId: req.GetCorrelationId(),
				Result: &api.BatchAppendResp_Success_{Success: &api.BatchAppendResp_Success{
					CurrentRevisionOption: &api.BatchAppendResp_Success_CurrentRevision{CurrentRevision: 0}}}})
			if err != nil {
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
