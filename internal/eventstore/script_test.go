package eventstore_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"prelude/internal/eventlog"
	"prelude/internal/eventstore"
	"prelude/internal/eventstore/storetest"
)

// scripted is a node behind a script, and a guard before it.
func scripted(t *testing.T) (*rig, *storetest.Script, *eventstore.Store) {
	t.Helper()
	r := newRig(t)
	s := storetest.NewScript(t, r.socket())
	return r, s, to(t, plainly(s.Addr))
}

// Whatever a node says in place of an answer, calls wait until it works again, and nothing is there twice.
func TestStore_waits_for_a_node_that_handles_nothing(t *testing.T) {
	t.Parallel()
	denied, unknown := status.Error(codes.PermissionDenied, "Access Denied"), status.Error(codes.Unauthenticated, "")
	all := func(err error) storetest.Part {
		return storetest.Part{Refuse: map[storetest.Call]error{storetest.Batch: err, storetest.Read: err,
			storetest.Subscribe: err}}
	}
	for what, c := range map[string]struct {
		part storetest.Part
		says string // of why it is not ready
	}{
		"it is not ready":            {storetest.Part{NotHandled: "Server Is Not Ready"}, "handles no calls"},
		"it is too busy":             {storetest.Part{NotHandled: "Server Is Too Busy"}, "handles no calls"},
		"it is busy, in other words": {storetest.Part{NotHandled: "Server Is Busy"}, "handles no calls"},
		"it knows no leader":         {storetest.Part{NotHandled: "No leader info available in response"}, ""},
		"it takes no appends":        {storetest.Part{NotHandled: "Server Is Not Ready", Appends: true}, "handles no calls"},
		"it refuses whoever asks":    {all(denied), "names none"},
		"it knows no user":           {all(unknown), "names none"},
		"it ends calls without a status": {all(status.Error(codes.Internal,
			"server closed the stream without sending trailers")), ""},
		"it cancels what is under way": {all(status.Error(codes.Aborted, "Request canceled by server")), ""},
		"it cannot commit":             {all(status.Error(codes.Aborted, "Operation timed out: Commit phase timeout")), ""},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r, script, store := scripted(t)
			r.must("s", eventlog.None, 2)
			if err := store.Ready(r.ctx()); err != nil {
				t.Fatal(err)
			}
			script.Play(c.part)
			err := store.Ready(within(t, 2*time.Second))
			if !errors.Is(err, eventlog.ErrUnavailable) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("it is ready with %v", err)
			}
			if state := store.State(); state.Reason == nil || state.Since.IsZero() {
				t.Errorf("its state is %+v", state)
			}
			appended, read := make(chan error, 1), make(chan error, 1)
			go func() {
				_, err := store.Append(r.ctx(), "s", 1, events(1))
				appended <- err
			}()
			go func() { read <- readAll(r.ctx(), store, "s", 2) }()
			_, err = store.Append(within(t, 300*time.Millisecond), "other", eventlog.None, events(1))
			if !errors.Is(err, eventlog.ErrUnavailable) {
				t.Errorf("an append ends with %v", err)
			}
			script.Play(storetest.Part{})
			if err := errors.Join(<-appended, <-read); err != nil {
				t.Error(err)
			}
			if n := len(r.log("s")); n != 3 {
				t.Errorf("%d events are there, want 3", n)
			}
			if err := store.Ready(r.ctx()); err != nil || store.State().Reason != nil {
				t.Errorf("it is ready with %v, in the state %+v", err, store.State())
			}
		})
	}
}

// readAll reads a stream, which has at least so many events.
func readAll(ctx context.Context, s *eventstore.Store, stream string, least int) error {
	n := 0
	for _, err := range s.Read(ctx, stream, 0, eventlog.Forwards, 0) {
		if err != nil {
			return err
		}
		n++
	}
	if n < least {
		return fmt.Errorf("%d events are given, want %d", n, least)
	}
	return nil
}

// A subscription is not ended by what a store refuses: it waits, says so, and goes on.
func TestSubscribe_waits_for_rights(t *testing.T) {
	t.Parallel()
	for what, err := range map[string]error{
		"rights": status.Error(codes.PermissionDenied, "Access Denied"), "a user": status.Error(codes.Unauthenticated, ""),
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r, script, store := scripted(t)
			r.must("s-1", eventlog.None, 1)
			lost, last := make(chan struct{}, 100), make(chan eventlog.Position, 100)
			go func() {
				for s, err := range store.Subscribe(r.ctx(), 0, eventlog.Filter{}) {
					if err != nil {
						return // the test is over
					}
					switch s.Kind {
					case eventlog.Lost:
						lost <- struct{}{}
					case eventlog.Event:
						last <- s.Position
					}
				}
			}()
			<-last
			script.Play(storetest.Part{Refuse: map[storetest.Call]error{storetest.Read: err, storetest.Subscribe: err}})
			<-lost
			for store.State().Reason == nil {
				<-time.After(time.Millisecond)
			}
			a := r.must("s-1", 0, 1)
			script.Play(storetest.Part{})
			if at := <-last; at != a.Position {
				t.Errorf("it goes on at %d, want %d", at, a.Position)
			}
		})
	}
}

// Checkpoints of every value: what is none, or lies beyond the log's end, passes nothing; what matches comes once each.
func TestSubscribe_heeds_no_odd_checkpoint(t *testing.T) {
	t.Parallel()
	for what, at := range map[string]uint64{
		"before the first event": math.MaxUint64, "the greatest": math.MaxInt64, "no position": math.MaxInt64 + 1,
		"zero": 0, "backwards": 1,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r, script, store := scripted(t)
			r.must("mine-1", eventlog.None, 2)
			grown := make(chan struct{})
			odd := &api.ReadResp{Content: &api.ReadResp_Checkpoint_{
				Checkpoint: &api.ReadResp_Checkpoint{CommitPosition: at, PreparePosition: at}}}
			script.Play(storetest.Part{Says: func(c storetest.Call, m *api.ReadResp) []*api.ReadResp {
				if c == storetest.Subscribe && m.GetConfirmation() == nil {
					if what == "backwards" {
						return []*api.ReadResp{m, odd, odd}
					}
					return []*api.ReadResp{odd, m, odd, odd}
				}
				return []*api.ReadResp{m}
			}})
			var got []eventlog.Position
			var last error
			ctx := within(t, 20*time.Second)
			for s, err := range store.Subscribe(ctx, 0, eventlog.Filter{Prefixes: []string{"mine-"}}) {
				last = err
				if err == nil && s.Position > math.MaxInt64-1 {
					t.Errorf("position %d is given", s.Position)
				}
				switch s.Kind {
				case eventlog.Event:
					got = append(got, s.Position)
				case eventlog.CaughtUp:
					select {
					case <-grown:
					default:
						close(grown)
						r.must("mine-1", 1, 2)
					}
				}
				if len(got) == 4 {
					break
				}
			}
			if what == "no position" { // it is no answer that can be read
				if last == nil || ctx.Err() != nil {
					t.Errorf("it ends with %v", last)
				}
				return
			}
			if want := r.log("mine-"); !slices.Equal(got, want) {
				t.Errorf("the events at %v are given, want %v: %v", got, want, last)
			}
		})
	}
}

// CaughtUp says that all has passed up to the end that the log had before, where nothing matched too.
func TestSubscribe_has_passed_the_end_when_it_has_caught_up(t *testing.T) {
	t.Parallel()
	r, script, store := scripted(t)
	before := &api.ReadResp{Content: &api.ReadResp_Checkpoint_{
		Checkpoint: &api.ReadResp_Checkpoint{CommitPosition: math.MaxUint64, PreparePosition: math.MaxUint64}}}
	// A real store (24.6) says no more of where it is than that nothing has matched.
	script.Play(storetest.Part{Says: func(c storetest.Call, m *api.ReadResp) []*api.ReadResp {
		if c == storetest.Subscribe && m.GetCheckpoint() != nil {
			return []*api.ReadResp{before}
		}
		return []*api.ReadResp{m}
	}})
	end := r.must("others-1", eventlog.None, 3).Position
	for _, filter := range []eventlog.Filter{{Prefixes: []string{"mine-"}}, {Prefixes: []string{"others-"}}, {}} {
		at := eventlog.Position(0)
		for s, err := range store.Subscribe(r.ctx(), 0, filter) {
			if err != nil {
				t.Fatal(err)
			}
			if s.Kind == eventlog.CaughtUp {
				at = s.Position
				break
			}
		}
		if at != end {
			t.Errorf("%v: it has caught up at %d, want %d", filter.Prefixes, at, end)
		}
	}
}

// A log that ends before what was read of it, or has another event there, is not gone on with.
func TestSubscribe_to_a_log_that_was_put_back(t *testing.T) {
	t.Parallel()
	for what, n := range map[string]int{"it is shorter": 1, "it has grown past that again": 40} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r, script, store := scripted(t)
			r.must("s-1", eventlog.None, 20)
			other := newRig(t)
			other.must("s-1", eventlog.None, n)
			ended, seen := make(chan error, 1), make(chan struct{}, 100)
			go func() {
				var last error
				for s, err := range store.Subscribe(r.ctx(), 0, eventlog.Filter{}) {
					if last = err; s.Kind == eventlog.Event {
						seen <- struct{}{}
					}
				}
				ended <- last
			}()
			for range 20 {
				<-seen
			}
			script.Behind(t, other.socket())
			if err := <-ended; !errors.Is(err, eventlog.ErrRewound) {
				t.Errorf("it ends with %v", err)
			}
			if len(seen) > 0 {
				t.Errorf("%d events of the other log are given", len(seen))
			}
		})
	}
}

// Half an answer is none: what was cut is asked for again, or is an error, and is never an event.
func TestRead_of_half_a_message(t *testing.T) {
	t.Parallel()
	r, script, store := scripted(t)
	r.must("s-1", eventlog.None, 5)
	script.Play(storetest.Part{Half: 3})
	n := 0
	for e, err := range store.Read(within(t, 10*time.Second), "s-1", 0, eventlog.Forwards, 0) {
		if err == nil && int(e.Revision) != n {
			t.Errorf("revision %d comes as the %dth", e.Revision, n)
		}
		if err == nil {
			n++
		}
	}
	if n != 5 { // each attempt gives two more
		t.Errorf("%d events are given", n)
	}
}

// A refusal comes before the event that was first can be read: whoever hears of it can read that.
func TestAppend_refused_shows_what_was_first(t *testing.T) {
	t.Parallel()
	r, script, store := scripted(t)
	r.must("s", eventlog.None, 1)
	hidden := make(chan struct{})
	script.Play(storetest.Part{Says: func(c storetest.Call, m *api.ReadResp) []*api.ReadResp {
		select {
		case <-hidden:
		default:
			if m.GetEvent().GetEvent().GetStreamRevision() > 0 {
				return nil
			}
		}
		return []*api.ReadResp{m}
	}})
	r.must("s", 0, 1)
	refused := make(chan error, 1)
	go func() {
		_, err := store.Append(r.ctx(), "s", 0, events(1))
		refused <- err
	}()
	for script.Asked(storetest.Read) < 3 {
		<-time.After(time.Millisecond)
	}
	select {
	case err := <-refused:
		t.Errorf("it is refused before the winner can be read: %v", err)
	default:
	}
	close(hidden)
	if err := <-refused; !errors.Is(err, eventlog.ErrMoved) {
		t.Errorf("it answers %v", err)
	}
}
