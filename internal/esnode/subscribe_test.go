package esnode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func subscribed(o *api.ReadReq_Options) *api.ReadReq_Options {
	o.CountOption = &api.ReadReq_Options_Subscription{
		Subscription: &api.ReadReq_Options_SubscriptionOptions{},
	}
	return o
}

func filtered(
	o *api.ReadReq_Options, window, multiplier uint32, regex string, prefix ...string,
) *api.ReadReq_Options {
	o.FilterOption = &api.ReadReq_Options_Filter{Filter: &api.ReadReq_Options_FilterOptions{
		Filter: &api.ReadReq_Options_FilterOptions_StreamIdentifier{
			StreamIdentifier: &api.ReadReq_Options_FilterOptions_Expression{Regex: regex, Prefix: prefix},
		},
		Window:                       &api.ReadReq_Options_FilterOptions_Max{Max: window},
		CheckpointIntervalMultiplier: multiplier,
	}}
	return o
}

// subscriber is a subscription that was confirmed.
type subscriber struct {
	t    *testing.T
	call api.Streams_ReadClient
	end  context.CancelFunc
}

func (r *rig) subscribe(o *api.ReadReq_Options) *subscriber {
	r.t.Helper()
	ctx, cancel := context.WithCancel(within(r.t))
	call, err := r.client.Read(ctx, &api.ReadReq{Options: subscribed(o)})
	if err != nil {
		r.t.Fatal(err)
	}
	s := &subscriber{t: r.t, call: call, end: cancel}
	if m, err := call.Recv(); err != nil || m.GetConfirmation().GetSubscriptionId() == "" {
		r.t.Fatalf("the first message is %v, %v", m, err)
	}
	r.t.Cleanup(cancel)
	return s
}

// next gives the next message as a word: an event's data, a checkpoint's position, or "caught up".
func (s *subscriber) next() string {
	s.t.Helper()
	m, err := s.call.Recv()
	switch {
	case err != nil:
		return code(err).String()
	case m.GetEvent() != nil:
		return string(m.GetEvent().GetEvent().GetData())
	case m.GetCheckpoint() != nil:
		return fmt.Sprint("checkpoint ", m.GetCheckpoint().GetCommitPosition())
	case m.GetCaughtUp() != nil:
		return "caught up"
	}
	return fmt.Sprint(m)
}

func (s *subscriber) expect(want ...string) {
	s.t.Helper()
	for _, w := range want {
		if got := s.next(); got != w {
			s.t.Fatalf("got %s, want %s", got, w)
		}
	}
}

func TestSubscribe_all(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.subscribe(options()).expect("caught up")
	a := r.must("s", noStream, "a", "b").pos
	s := r.subscribe(options())
	s.expect(`{"id":"a"}`, `{"id":"b"}`, "caught up")
	after := options()
	after.StreamOption = at(a)
	exclusive := r.subscribe(after)
	exclusive.expect("caught up")
	end := options()
	end.GetAll().AllOption = &api.ReadReq_Options_AllOptions_End{End: empty}
	fromNow := r.subscribe(end)
	fromNow.expect("caught up")
	r.must("other", noStream, "c")
	for _, s := range []*subscriber{s, exclusive, fromNow} {
		s.expect(`{"id":"c"}`)
	}
}

func TestSubscribe_filter(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var at []int64
	for i := range 10 {
		at = append(at, r.must(fmt.Sprintf("noise-%d", i), noStream, fmt.Sprint(i)).pos)
	}
	r.must("wanted-1", noStream, "x")
	last := r.must("noise-0", 0, "y").pos
	live := func(s *subscriber) {
		t.Helper()
		s.expect(`{"id":"x"}`, fmt.Sprint("checkpoint ", last), "caught up")
	}
	// Two windows of 2 are 4 events between checkpoints.
	s := r.subscribe(filtered(options(), 2, 2, "", "gone-", "wanted-"))
	s.expect(fmt.Sprint("checkpoint ", at[3]), fmt.Sprint("checkpoint ", at[7]))
	live2 := []*subscriber{
		r.subscribe(filtered(options(), 100, 1, "", "wanted-")),
		r.subscribe(filtered(options(), 100, 1, "^wan.*")),
		r.subscribe(filtered(options(), 100, 1, "^(?!noise).*")), // RE2 knows no look-ahead
	}
	s.expect(`{"id":"x"}`, fmt.Sprint("checkpoint ", last), "caught up")
	for _, s := range live2 {
		live(s)
	}
	r.must("wanted-2", noStream, "z")
	for _, s := range append(live2, s) {
		s.expect(`{"id":"z"}`)
	}
}

func TestSubscribe_filter_by_type(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.must("s", noStream, "a")
	r.setMeta("s", `{"$maxCount":9}`)
	r.must("s", 0, "b")
	o := filtered(options(), 32, 1, `^[^\$].*`)
	o.GetFilter().Filter = &api.ReadReq_Options_FilterOptions_EventType{
		EventType: &api.ReadReq_Options_FilterOptions_Expression{Regex: `^[^\$].*`},
	}
	r.subscribe(o).expect(`{"id":"a"}`, `{"id":"b"}`, "caught up")
	got, err := r.read(filtered(options(), 32, 1, "", "$$"))
	if err != nil || len(got) != 1 {
		t.Errorf("a filtered read gives %d events, %v", len(got), err)
	}
}

func TestSubscribe_refuses_filters(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, o := range map[string]*api.ReadReq_Options{
		"no window":      filtered(options(), 0, 1, "", "a"),
		"no interval":    filtered(options(), 32, 0, "", "a"),
		"no expression":  filtered(options(), 32, 1, "(?<"),
		"an empty field": {},
	} {
		if name == "an empty field" {
			o = filtered(options(), 32, 1, "")
			o.GetFilter().Filter = nil
		}
		if _, err := r.read(subscribed(o)); code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSubscribe_stream(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.subscribe(ofStream("s"))
	s.expect("caught up")
	r.must("other", noStream, "x")
	r.must("s", noStream, "a", "b", "c")
	s.expect(`{"id":"a"}`, `{"id":"b"}`, `{"id":"c"}`)
	after := ofStream("s")
	after.GetStream().RevisionOption = &api.ReadReq_Options_StreamOptions_Revision{Revision: 1}
	r.subscribe(after).expect(`{"id":"c"}`, "caught up")
	end := ofStream("s")
	end.GetStream().RevisionOption = &api.ReadReq_Options_StreamOptions_End{End: empty}
	fromNow := r.subscribe(end)
	fromNow.expect("caught up")
	r.setMeta("s", `{"$tb":2}`)
	r.subscribe(ofStream("s")).expect(`{"id":"c"}`, "caught up")
	if err := r.tombstone("s"); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*subscriber{s, fromNow} {
		s.expect("", codes.FailedPrecondition.String())
	}
	if _, err := r.read(subscribed(ofStream("s"))); code(err) != codes.FailedPrecondition {
		t.Errorf("a stream deleted for good: %v", err)
	}
}

func TestClose_ends_subscriptions_with_unavailable(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	all, one := r.subscribe(options()), r.subscribe(ofStream("s"))
	all.expect("caught up")
	one.expect("caught up")
	if err := r.node.Close(); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*subscriber{all, one} {
		_, err := s.call.Recv()
		if code(err) != codes.Unavailable || errors.Is(err, io.EOF) {
			t.Errorf("it ended with %v", status.Convert(err))
		}
	}
}

// Writers against subscribers, some of them late and one slow: all must see the same log, which is
// the one that a read gives, without gap or repeat.
func TestSubscribe_all_see_the_same(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const writers, each = 8, 60
	const total = writers * each * 2
	collect := func(s *subscriber, slow bool) (all []int64) {
		for len(all) < total {
			m, err := s.call.Recv()
			if err != nil {
				t.Error(err)
				return all
			}
			if e := m.GetEvent(); e != nil {
				all = append(all, int64(e.GetCommitPosition()))
			}
			if slow && len(all)%100 == 0 {
				r.revisions("w-0") // something that takes a while
			}
		}
		return all
	}
	seen := make([][]int64, 6)
	var all sync.WaitGroup
	join := func(i int) {
		s := r.subscribe(options())
		all.Go(func() { seen[i] = collect(s, i == 0) })
	}
	for i := range 3 {
		join(i)
	}
	var late sync.Once
	for w := range writers {
		all.Go(func() {
			name := fmt.Sprint("w-", w)
			for i := range each {
				r.must(name, int64(2*i)-1, fmt.Sprint(name, i), fmt.Sprint(name, i, "b"))
				if i == each/2 {
					late.Do(func() {
						for i := 3; i < len(seen); i++ {
							join(i)
						}
					})
				}
			}
		})
	}
	all.Wait()
	o := options()
	o.CountOption = &api.ReadReq_Options_Count{Count: 2 * total}
	got, err := r.read(o)
	want := positions(got)
	if err != nil || len(want) != total || !slices.IsSorted(want) {
		t.Fatalf("the log has %d events, %v", len(want), err)
	}
	for i, s := range seen {
		if !slices.Equal(s, want) {
			t.Errorf("subscriber %d saw %d events in another order or with gaps", i, len(s))
		}
	}
}
