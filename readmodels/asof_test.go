package readmodels

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"prelude/domain"
	"prelude/domain/preset"
	"prelude/internal/esnode"
	"prelude/internal/esnode/esnodetest"
	"prelude/internal/eventlog"
	"prelude/internal/eventlog/eventlogtest"
	"prelude/internal/eventstore"
	"prelude/internal/eventstore/storetest"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// newLog is a log on a node of its own.
func newLog(t *testing.T) *eventlog.Log {
	t.Helper()
	dir := storetest.Folder(t)
	socket := filepath.Join(dir, "node.sock")
	node, err := esnode.Start(t.Context(), esnodetest.Config(t, esnode.Config{Dir: dir, Socket: socket}))
	if err != nil {
		t.Fatal(err)
	}
	store, err := eventstore.Open(eventstore.Config{Socket: socket})
	if err != nil {
		t.Fatal(errors.Join(err, node.Close()))
	}
	t.Cleanup(func() {
		if err := errors.Join(store.Close(), node.Close()); err != nil {
			t.Error(err)
		}
	})
	return &eventlog.Log{Store: store, Keys: &eventlogtest.Keys{}}
}

// A clock that went backwards reorders nothing: an event counts as of no earlier than the one before it. So an answer
// never shows what was recorded as later than it was asked for, it only grows with the time, and the time that it says
// it stands for gives it again.
func TestAsOf_of_events_whose_clock_went_backwards(t *testing.T) {
	t.Parallel()
	r := &Reader{Log: newLog(t)}
	stream := eventlog.PresetStream("org_1", "prs_1")
	minutes := []int{0, 5, 1, 2, 9, 7} // after noon, by the clock of each event
	at := eventlog.None
	for i, m := range minutes {
		meta := eventlog.Meta{Org: "org_1", Command: uuid.New(), Step: uuid.New(), At: noon.Add(time.Duration(m) * time.Minute)}
		done, _, err := r.Log.Append(t.Context(), stream, at, meta, []any{preset.Renamed{To: fmt.Sprint("slug-", i), At: meta.At}})
		if err != nil {
			t.Fatal(err)
		}
		at = done.Revision
	}
	ask := func(as AsOf) ([]eventlog.Record, Point) {
		t.Helper()
		records, point, err := r.prefix(context.WithoutCancel(t.Context()), stream, as)
		if err != nil && !errors.Is(err, domain.ErrNotFound) {
			t.Fatal(err)
		}
		return records, point
	}
	for minute, want := range map[int]struct{ events, stands int }{
		-1: {0, 0}, 0: {1, 0}, 1: {1, 0}, 2: {1, 0}, 4: {1, 0}, 5: {4, 5}, 7: {4, 5}, 8: {4, 5}, 9: {6, 9}, 1e6: {6, 9}} {
		when := noon.Add(time.Duration(minute) * time.Minute)
		records, point := ask(AsOf{At: &when})
		if len(records) != want.events {
			t.Errorf("as of minute %d there are %d events, want %d", minute, len(records), want.events)
		}
		if len(records) == 0 {
			continue
		}
		last := records[len(records)-1]
		if stands := noon.Add(time.Duration(want.stands) * time.Minute); !point.At.Equal(stands) ||
			point.Revision != last.Revision || point.Position != last.Position {
			t.Errorf("as of minute %d it stands for %+v, want %s", minute, point, stands)
		}
		if again, same := ask(AsOf{At: &point.At}); len(again) != len(records) || same != point {
			t.Errorf("as of what minute %d stands for there are %d events, not %d", minute, len(again), len(records))
		}
		// By its position there is the same, whatever the clock said.
		if again, same := ask(AsOf{Position: point.Position}); len(again) != len(records) || same != point {
			t.Errorf("as of the position of minute %d there are %d events, not %d", minute, len(again), len(records))
		}
	}
}
