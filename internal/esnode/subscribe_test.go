package esnode

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"prelude/test/conformance/wire"
)

func TestClose_ends_subscriptions_with_unavailable(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	all, one := r.Subscribe(wire.Options()), r.Subscribe(wire.OfStream("s"))
	all.Expect("caught up")
	one.Expect("caught up")
	if err := r.node.Close(); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*wire.Subscriber{all, one} {
		_, err := s.Call.Recv()
		if wire.Code(err) != codes.Unavailable || errors.Is(err, io.EOF) {
			t.Errorf("it ended with %v", status.Convert(err))
		}
	}
}

// Writers against subscribers, some of them late and one slow: all must see the same log, which is
// the one that a read gives, without gap or repeat.
func TestSubscribe_all_see_the_same(t *testing.T) {
	t.Parallel()
	allSeeTheSame(t, newRig(t))
}

func allSeeTheSame(t *testing.T, r *rig) {
	t.Helper()
	const writers, each = 8, 60
	const total = writers * each * 2
	collect := func(s *wire.Subscriber, slow bool) (all []int64) {
		for len(all) < total {
			m, err := s.Call.Recv()
			if err != nil {
				t.Error(err)
				return all
			}
			if e := m.GetEvent(); e != nil {
				all = append(all, int64(e.GetCommitPosition()))
			}
			if slow && len(all)%100 == 0 {
				r.Revisions("w-0") // something that takes a while
			}
		}
		return all
	}
	seen := make([][]int64, 6)
	var all sync.WaitGroup
	join := func(i int) {
		s := r.Subscribe(wire.Options())
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
				r.Must(name, int64(2*i)-1, fmt.Sprint(name, i), fmt.Sprint(name, i, "b"))
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
	o := wire.Options()
	o.CountOption = &api.ReadReq_Options_Count{Count: 2 * total}
	got, err := r.Read(o)
	want := wire.PositionsOf(got)
	if err != nil || len(want) != total || !slices.IsSorted(want) {
		t.Fatalf("the log has %d events, %v", len(want), err)
	}
	for i, s := range seen {
		if !slices.Equal(s, want) {
			t.Errorf("subscriber %d saw %d events in another order or with gaps", i, len(s))
		}
	}
}
