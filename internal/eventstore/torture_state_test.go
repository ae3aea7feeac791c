package eventstore_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"prelude/internal/eventlog"
	"prelude/internal/eventstore"
	"prelude/internal/eventstore/storetest"
)

// refusedOnes have n subscriptions wait because the store refuses them, and give what ends each.
func refusedOnes(t *testing.T, r *rig, store *eventstore.Store, n int) (leave []func()) {
	t.Helper()
	for range n {
		ctx, cancel := context.WithCancel(r.ctx())
		refused, left := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(left)
			once := sync.OnceFunc(func() { close(refused) })
			for s, err := range store.Subscribe(ctx, 0, eventlog.Filter{}) {
				if err != nil {
					return
				}
				if s.Kind == eventlog.Lost {
					once()
				}
			}
		}()
		<-refused
		leave = append(leave, func() { cancel(); <-left })
	}
	return leave
}

// Rights to subscribe that were taken away and given back leave no trace in the state, also where whoever was refused
// has left meanwhile and nobody subscribes any more. While others wait, the state tells of it.
func TestStore_is_well_again_after_who_was_refused_has_left(t *testing.T) {
	t.Parallel()
	r, script, store := scripted(t)
	if err := store.Ready(r.ctx()); err != nil {
		t.Fatal(err)
	}
	script.Goes(storetest.Part{Refuse: map[storetest.Call]error{
		storetest.Subscribe: status.Error(codes.PermissionDenied, "Access Denied")}})
	leave := refusedOnes(t, r, store, 2)
	leave[0]()
	if store.State().Reason == nil {
		t.Error("one is refused, and nothing is said of it")
	}
	leave[1]()
	script.Goes(storetest.Part{})
	if err := store.Ready(r.ctx()); err != nil {
		t.Fatal(err)
	}
	if state := store.State(); state.Reason != nil || !state.Since.IsZero() {
		t.Errorf("its state is %+v", state)
	}
}

// A leader that falls silent is left as soon as it is doubted, however often it is asked for its role meanwhile: what
// takes that long must not stand in the way each time anew.
func TestCluster_leaves_a_silent_leader_at_the_first_doubt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := storetest.NewCluster(t, r.socket(), 3)
	proxies := c.Proxies(t)
	const guards, asking, bound = 16, "4", 9 * time.Second // 3 s until appends are silent, one question of 4 s
	stores := make([]*eventstore.Store, guards)
	for i := range stores {
		stores[i] = to(t, c.Address("gossipTimeout="+asking))
		if _, err := stores[i].Append(r.ctx(), fmt.Sprint("s-", i), eventlog.None, events(1)); err != nil {
			t.Fatal(err)
		}
	}
	proxies[0].Hold(storetest.Both)
	c.CutOff(0)
	c.Elect(1)
	began := time.Now()
	var all sync.WaitGroup
	for i, s := range stores {
		all.Go(func() {
			if _, err := s.Append(r.ctx(), fmt.Sprint("s-", i), 0, events(1)); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took > bound {
				t.Errorf("an append takes %s", took)
			}
		})
	}
	all.Wait()
	t.Logf("all are with the new leader after %s", time.Since(began).Round(time.Millisecond))
}
