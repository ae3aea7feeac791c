package eventstore_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"prelude/internal/eventlog"
	"prelude/internal/eventstore/storetest"
)

// Rights to subscribe that were taken away and given back leave no trace in the state, also where who was refused has left
// meanwhile and nobody subscribes any more.
func TestStore_is_well_again_after_who_was_refused_has_left(t *testing.T) {
	t.Parallel()
	r, script, store := scripted(t)
	r.must("s-1", eventlog.None, 1)
	if err := store.Ready(r.ctx()); err != nil {
		t.Fatal(err)
	}
	script.Goes(storetest.Part{Refuse: map[storetest.Call]error{
		storetest.Subscribe: status.Error(codes.PermissionDenied, "Access Denied")}})
	ctx, leave := context.WithCancel(r.ctx())
	left := make(chan struct{})
	go func() {
		defer close(left)
		for range store.Subscribe(ctx, 0, eventlog.Filter{}) { //nolint:revive // it is refused
		}
	}()
	for store.State().Reason == nil {
		<-time.After(time.Millisecond)
	}
	leave()
	<-left
	script.Goes(storetest.Part{})
	if err := store.Ready(r.ctx()); err != nil {
		t.Fatal(err)
	}
	if state := store.State(); state.Reason != nil || !state.Since.IsZero() {
		t.Errorf("its state is %+v", state)
	}
}
