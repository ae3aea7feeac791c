package projections

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"prelude/internal/eventlog"
)

// takers hands events to consumers, as the bus does.
type takers []func(context.Context, eventlog.CloudEvent) error

func (all takers) Publish(ctx context.Context, events []eventlog.CloudEvent) error {
	for _, e := range events {
		for _, take := range all {
			if err := take(ctx, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// race lets owners of a reader's checkpoint commit batches of some sizes, each as fast as it can and without a
// lease, until one has come to the end. It says how many batches were undone.
func race(t *testing.T, log *eventlog.Log, pool *pgxpool.Pool, r Reader, records []eventlog.Record) int64 {
	t.Helper()
	const owners = 3
	end := records[len(records)-1].Position
	var fenced atomic.Int64
	var all sync.WaitGroup
	for owner := range owners {
		e := newEngine(log, pool, r)
		rng := rand.New(rand.NewPCG(uint64(owner), 2))
		all.Go(func() {
			for {
				at, err := e.begin(t.Context(), r)
				if err == nil && at == end {
					return
				}
				for err == nil && at < end {
					rest := after(records, at)
					batch := slices.Clone(rest[:min(len(rest), 1+rng.IntN(60))])
					at, err = e.commit(t.Context(), r, at, batch, batch[len(batch)-1].Position)
				}
				if err != nil && !errors.Is(err, errFenced) {
					t.Errorf("%s: %v", r.Name, err)
					return
				}
				fenced.Add(1)
			}
		})
	}
	all.Wait()
	return fenced.Load()
}

func after(records []eventlog.Record, at eventlog.Position) []eventlog.Record {
	i, _ := slices.BinarySearchFunc(records, at, func(r eventlog.Record, at eventlog.Position) int {
		return cmp.Compare(r.Position, at+1)
	})
	return records[i:]
}

func TestFence_keeps_rows_and_counts_right_under_several_owners(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	write(t, log, 5, 2200)
	pool, dsn := database(t)
	records := recordsFor(t, log, ViewsReader())
	for _, r := range []Reader{ViewsReader(), OutReader(takers{Usage{pool}.Take})} {
		undone := race(t, log, pool, r, records)
		t.Logf("%s: %d events, %d batches were undone", r.Name, len(records), undone)
		if undone == 0 {
			t.Error("the owners did not meet")
		}
	}
	hold(t, log, dsn, records)
}

// hold holds a database against a log that is applied once.
func hold(t *testing.T, log *eventlog.Log, dsn string, records []eventlog.Record) {
	t.Helper()
	apart, once := database(t)
	apply(t, newEngine(log, apart), ViewsReader(), slices.Clone(records), func() int { return 1 << 30 })
	same(t, "several owners", dump(t, dsn), dump(t, once))
	if got, want := usageRows(t, dsn), counts(records); !maps.Equal(got, want) || len(want) == 0 {
		t.Errorf("counted %v\nwant %v", got, want)
	}
}

// Two engines follow a log that grows, as two programs on one database would.
func TestFence_keeps_rows_right_under_two_engines(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	pool, dsn := database(t)
	readers := []Reader{ViewsReader(), OutReader(takers{Usage{pool}.Take})}
	one, two := newEngine(log, pool, readers...), newEngine(log, pool, readers...)
	running(t, one, readers...)
	running(t, two, readers...)
	a := write(t, log, 15, 150)
	for _, r := range readers {
		until(t, one, r.Name, a.last)
		until(t, two, r.Name, a.last)
	}
	hold(t, log, dsn, recordsFor(t, log, ViewsReader()))
}

func TestFence_lets_no_stalled_owner_commit(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	a := newAuthor(t, log, 6)
	p := a.newPreset(acme, a.found(acme))
	a.edit(p)
	pool, dsn := database(t)
	views, records := ViewsReader(), recordsFor(t, log, ViewsReader())
	stalled := newEngine(log, pool, views)
	at, err := stalled.begin(t.Context(), views)
	if err != nil {
		t.Fatal(err)
	}
	apply(t, newEngine(log, pool), views, records, func() int { return 2 })
	before := dump(t, dsn)
	for _, batch := range [][]eventlog.Record{records[:1], records, nil} {
		to := a.last
		if len(batch) > 0 {
			to = batch[len(batch)-1].Position
		}
		got, err := stalled.commit(t.Context(), views, at, batch, to)
		if !errors.Is(err, errFenced) || got != at {
			t.Errorf("%d events: it came to %d: %v", len(batch), got, err)
		}
	}
	same(t, "after the stalled owner", dump(t, dsn), before)
	if stalled.Progress.At(Views) != 0 {
		t.Error("the stalled owner believes that it has come on")
	}
}
