package eventstore_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"prelude/internal/esnode"
	"prelude/internal/eventlog"
	"prelude/internal/eventstore"
)

// payload is about what an event of a session weighs.
var payload = append(append([]byte(`{"text":"`), bytes.Repeat([]byte("x"), 240)...), `"}`...)

func benchStore(b *testing.B) *eventstore.Store {
	b.Helper()
	dir := b.TempDir()
	socket := filepath.Join(dir, "node.sock")
	node, err := esnode.Start(b.Context(), esnode.Config{Dir: dir, Socket: socket})
	if err != nil {
		b.Fatal(err)
	}
	store, err := eventstore.Open(eventstore.Config{Socket: socket})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := store.Close(); err != nil {
			b.Error(err)
		}
		if err := node.Close(); err != nil {
			b.Error(err)
		}
	})
	return store
}

func proposals(n int) []eventlog.Proposed {
	events := make([]eventlog.Proposed, n)
	for i := range events {
		events[i] = eventlog.Proposed{ID: uuid.New(), Type: "session.posted.v1", Data: payload}
	}
	return events
}

// fill appends total events, per to an append, with many writers, each to its own stream.
func fill(b *testing.B, store *eventstore.Store, writers, per, total int) {
	b.Helper()
	var left atomic.Int64
	left.Store(int64(total))
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			stream := fmt.Sprintf("session-%d", w)
			at := eventlog.None
			for left.Add(-int64(per)) >= 0 {
				done, err := store.Append(b.Context(), stream, at, proposals(per))
				if err != nil {
					b.Error(err)
					return
				}
				at = done.Revision
			}
		})
	}
	all.Wait()
}

func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("%d_writers", writers), func(b *testing.B) {
			store := benchStore(b)
			b.ResetTimer()
			fill(b, store, writers, 1, b.N)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

func BenchmarkCatchUp(b *testing.B) {
	const events = 100_000
	store := benchStore(b)
	fill(b, store, 16, 100, events)
	for name, filter := range map[string]eventlog.Filter{
		"all_match":  {Prefixes: []string{"session-"}},
		"none_match": {Prefixes: []string{"preset-"}},
	} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				for signal, err := range store.Subscribe(b.Context(), 0, filter) {
					if err != nil {
						b.Fatal(err)
					}
					if signal.Kind == eventlog.CaughtUp {
						break
					}
				}
			}
			b.ReportMetric(float64(events*b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
