package eventstore_test

import (
	"context"
	"sync"
	"testing"

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

// Rights to subscribe that were taken away and given back leave no trace in the state, also where who was refused has left
// meanwhile and nobody subscribes any more. While others wait, the state tells of it.
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
