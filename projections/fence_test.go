package projections

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"prelude/domain/completion"
	"prelude/domain/session"
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

// TestFence lets owners of the same readers race, without a lease and without a pause between their tries,
// while the log grows.
func TestFence_keeps_rows_and_counts_right_under_several_owners(t *testing.T) {
	t.Parallel()
	const owners = 3
	log := newLog(t)
	pool, dsn := database(t)
	readers := []Reader{ViewsReader(), OutReader(takers{Usage{pool}.Take})}
	ctx, cancel := context.WithCancel(t.Context())
	var fenced atomic.Int64
	var all sync.WaitGroup
	var engines []*Engine
	for range owners {
		e := newEngine(log, pool, readers...)
		engines = append(engines, e)
		for _, r := range readers {
			all.Go(func() {
				for ctx.Err() == nil {
					err := e.follow(ctx, r)
					if errors.Is(err, errFenced) {
						fenced.Add(1)
					} else if ctx.Err() == nil {
						t.Errorf("%s: %v", r.Name, err)
						return
					}
				}
			})
		}
	}
	a := write(t, log, 5, 1200)
	for _, r := range readers {
		until(t, engines[0], r.Name, a.last)
	}
	cancel()
	all.Wait()
	if fenced.Load() == 0 {
		t.Error("no owner was fenced: they did not meet")
	}
	t.Logf("%d batches were undone", fenced.Load())
	apart, once := database(t)
	records := recordsFor(t, log, ViewsReader())
	apply(t, newEngine(log, apart), ViewsReader(), records, func() int { return 1 << 30 })
	same(t, "several owners", dump(t, dsn), dump(t, once))
	ends := 0
	for _, rec := range records {
		switch rec.Event.(type) {
		case session.ReplyCompleted, session.ReplyFailed, session.ReplyCancelled, completion.Ended:
			ends++
		}
	}
	if n := ask[int](t, dsn, "SELECT sum(messages) FROM prelude.usage_daily"); n != ends || n == 0 {
		t.Errorf("%d replies were counted, want %d", n, ends)
	}
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
