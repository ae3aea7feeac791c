package eventstore_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"prelude/internal/esnode"
	"prelude/internal/eventlog"
	"prelude/internal/eventstore/storetest"
)

// TestAppend_whose_repeats_are_dropped: a store drops the repeat of an append that is still under way, and answers it after a
// while that the commit timed out. The guard goes on repeating until the outcome is known; it happens once.
func TestAppend_whose_repeats_are_dropped(t *testing.T) {
	t.Parallel()
	dir := storetest.Folder(t)
	socket := filepath.Join(dir, socketFile)
	// An append is acknowledged later than an attempt has patience for.
	n, err := esnode.Start(t.Context(), esnode.Config{Dir: dir, Socket: socket,
		Moods: &esnode.Moods{Seed: 3, Lag: 8 * time.Second, CommitTimeout: 300 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	store := open(t, socket)
	ctx := within(t, 60*time.Second)
	late, slowest := 0, time.Duration(0)
	for at := eventlog.None; late == 0 && at < 20; at++ { // about half of all are late, by up to 8 s
		began := time.Now()
		left, err := store.Append(ctx, "s", at, events(1))
		if err != nil || left.Revision != at+1 {
			t.Fatalf("append %d: %+v, %v", at+1, left, err)
		}
		if slowest = max(slowest, time.Since(began)); time.Since(began) > 4*time.Second {
			late++
		}
	}
	if late == 0 {
		t.Errorf("no append was repeated; the slowest took %s", slowest)
	}
	stored := slices.Collect(func(yield func(eventlog.Revision) bool) {
		for e, err := range store.Read(ctx, "s", 0, eventlog.Forwards, 0) {
			if err != nil || !yield(e.Revision) {
				return
			}
		}
	})
	for i, at := range stored {
		if int(at) != i {
			t.Errorf("revision %d is the %dth", at, i)
		}
	}
}

// TestRead_of_a_stream_that_changes: a store reads a long stream page by page, and looks at it anew for each. One that is
// deleted or cut off meanwhile ends the read with an error: what was given is not the whole, and is not taken for it.
func TestRead_of_a_stream_that_changes(t *testing.T) {
	t.Parallel()
	metadata := func(text string) func(context.Context, *rig) error {
		return func(ctx context.Context, r *rig) error {
			_, err := r.direct.Append(ctx, "$$s", eventlog.None, []eventlog.Proposed{event("$metadata", text)})
			return err
		}
	}
	for what, change := range map[string]func(context.Context, *rig) error{
		"deleted": metadata(`{"$tb":9223372036854775807}`),
		"cut off": metadata(`{"$tb":2990}`),
		"limited": metadata(`{"$maxCount":10}`),
		"deleted for good": func(ctx context.Context, r *rig) error {
			conn, err := grpc.NewClient("unix:"+r.socket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				return err
			}
			_, err = api.NewStreamsClient(conn).Tombstone(ctx, &api.TombstoneReq{Options: &api.TombstoneReq_Options{
				StreamIdentifier:       &shared.StreamIdentifier{StreamName: []byte("s")},
				ExpectedStreamRevision: &api.TombstoneReq_Options_Any{Any: &shared.Empty{}},
			}})
			return errors.Join(err, conn.Close())
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			for i := range 3 {
				at := eventlog.Revision(1000*i - 1)
				if _, err := r.direct.Append(r.ctx(), "s", at, large(1000)); err != nil {
					t.Fatal(err)
				}
			}
			n := 0
			var last error
			for e, err := range r.store.Read(r.ctx(), "s", 0, eventlog.Forwards, 0) {
				if last = err; err != nil {
					break
				}
				if int(e.Revision) != n {
					t.Fatalf("revision %d comes as the %dth", e.Revision, n)
				}
				if n++; n == 1 {
					if err := change(r.ctx(), r); err != nil {
						t.Fatal(err)
					}
				}
			}
			if !errors.Is(last, eventlog.ErrChanged) || n == 3000 {
				t.Errorf("after %d of 3000 events it ends with %v", n, last)
			}
		})
	}
}

// large are events of which more come at once than a connection holds that nobody reads from.
func large(n int) []eventlog.Proposed {
	all := events(n)
	for i := range all {
		all[i].Data = append(append([]byte(`{"x":"`), slices.Repeat([]byte("x"), 12<<10)...), []byte(`"}`)...)
	}
	return all
}
