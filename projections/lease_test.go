package projections

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"prelude/domain"
	"prelude/internal/eventlog"
)

// owner is an engine that takes leases by a name.
func owner(e *Engine, name string) *Engine {
	e.Owner = name
	return e
}

// soon waits until something is so.
func soon(t testing.TB, what string, so func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); !so(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within a minute", what)
		}
	}
	return time.Since(began)
}

func holder(t testing.TB, dsn, reader string) string {
	t.Helper()
	return ask[string](t, dsn, `SELECT coalesce((SELECT owner FROM prelude.leases
		WHERE reader = $1 AND version = 1 AND expires > now()), '')`, reader)
}

func TestLease_lets_one_instance_feed_a_reader_until_it_stops(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	pool, dsn := counting(t)
	r := counter()
	one, two := owner(newEngine(log, pool, r), "one"), owner(newEngine(log, pool, r), "two")
	stop := running(t, one, r)
	soon(t, "the first takes the lease", func() bool { return holder(t, dsn, r.Name) == "one" })
	running(t, two, r)
	n := 2000
	until(t, one, r.Name, fill(t, log, n))
	if at := two.Progress.At(r.Name); at != 0 || holder(t, dsn, r.Name) != "one" {
		t.Errorf("the second has applied up to %d; %s holds the lease", at, holder(t, dsn, r.Name))
	}
	stop()
	took := soon(t, "the second takes over", func() bool { return holder(t, dsn, r.Name) == "two" })
	t.Logf("it took over %s after a clean stop", took.Round(time.Millisecond))
	if took > leaseFor/2 {
		t.Error("it waited for the lease's end")
	}
	countedTo(t, dsn, n)
}

func TestLease_of_an_owner_that_is_silent_runs_out(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	pool, dsn := counting(t)
	r := counter()
	gone := owner(newEngine(log, pool, r), "gone")
	if mine, err := gone.take(t.Context(), r); !mine || err != nil {
		t.Fatal(mine, err)
	}
	e := owner(newEngine(log, pool, r), "next")
	if mine, err := e.take(t.Context(), r); mine || err != nil {
		t.Fatal("a lease that is held was taken", err)
	}
	if mine, err := gone.take(t.Context(), r); !mine || err != nil {
		t.Fatal("its holder cannot take it again, after a start anew say", err)
	}
	running(t, e, r)
	took := soon(t, "it is taken over", func() bool { return holder(t, dsn, r.Name) == "next" })
	t.Logf("it was taken over %s after its last renewal", took.Round(time.Millisecond))
	if took > 10*time.Second || took < leaseFor-time.Second {
		t.Error("that is not when it ran out")
	}
}

// A stalled owner hangs in the middle of its transaction past its lease. Another takes over, and what the first then
// goes on to do has no effect.
func TestStalledOwner_that_wakes_up_cannot_commit(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	pool, dsn := counting(t)
	n := 1500
	last := fill(t, log, n)
	r := counter()
	hangs, wake := make(chan struct{}), make(chan struct{})
	woken := make(chan error, 1)
	var once sync.Once
	stalls := r
	stalls.Apply = func(ctx context.Context, tx pgx.Tx, batch []eventlog.Record) error {
		err := r.Apply(ctx, tx, batch)
		once.Do(func() {
			close(hangs)
			<-wake
			_, err = tx.Exec(context.WithoutCancel(ctx), "SELECT 1")
			woken <- err
		})
		return err
	}
	stalled, next := owner(newEngine(log, pool, stalls), "stalled"), owner(newEngine(log, pool, r), "next")
	if !long() {
		stalled.batches.most = time.Millisecond
	}
	stop := running(t, stalled, stalls)
	<-hangs
	began := time.Now()
	running(t, next, r)
	until(t, next, r.Name, last)
	took := time.Since(began)
	t.Logf("another took over %s after the owner stalled", took.Round(time.Millisecond))
	if took > 10*time.Second {
		t.Error("that is later than 10 s")
	}
	close(wake)
	if err := <-woken; err == nil {
		t.Error("the stalled owner's transaction goes on")
	}
	countedTo(t, dsn, n)
	more := fill2(t, log, 300)
	until(t, next, r.Name, more)
	stop()
	countedTo(t, dsn, n+300)
}

func TestStuckOwner_is_replaced_within_ten_seconds_by_its_numbers(t *testing.T) {
	t.Parallel()
	// It renews for the last time just before it counts as stuck; who looks just misses the lease's end.
	if longest := stuckAfter + leaseFor + lookEvery*3/2; longest > 9*time.Second {
		t.Errorf("it takes up to %s, which leaves the successor less than a second", longest)
	}
	// Before that the database ends its transaction, which the successor's first one waits for.
	if stalled >= leaseFor {
		t.Errorf("an idle transaction stands for %s, a lease for %s", stalled, leaseFor)
	}
	// A batch in its first moments is renewed at least once, whenever the tick comes.
	if stuckAfter < renewEvery {
		t.Errorf("a batch counts as stuck after %s, and is renewed every %s", stuckAfter, renewEvery)
	}
}

// A batch that takes longer than its lease commits all the same, though another has taken over meanwhile: else no
// owner would ever come on, where each needs as long.
func TestLongBatch_commits_though_its_lease_was_taken(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	pool, dsn := counting(t)
	n := 200
	last := fill(t, log, n)
	r := counter()
	working, taken := make(chan struct{}), make(chan struct{})
	var once sync.Once
	works := r
	works.Apply = func(ctx context.Context, tx pgx.Tx, batch []eventlog.Record) error {
		once.Do(func() {
			close(working)
			for { // it is busy, and its transaction not idle
				select {
				case <-taken:
					return
				default:
					if _, err := tx.Exec(ctx, "SELECT pg_sleep(0.05)"); err != nil {
						t.Errorf("the long batch was ended: %v", err)
						return
					}
				}
			}
		})
		return r.Apply(ctx, tx, batch)
	}
	first, next := owner(newEngine(log, pool, works), "first"), owner(newEngine(log, pool, r), "next")
	first.batches.most = time.Millisecond
	running(t, first, works)
	<-working
	running(t, next, r)
	soon(t, "another has the lease", func() bool { return holder(t, dsn, r.Name) == "next" })
	close(taken)
	until(t, first, r.Name, 1) // what was in the batch; of the rest, either may commit it
	until(t, next, r.Name, last)
	countedTo(t, dsn, n)
}

// fill2 goes on where a fill of 1,500 ended: with a stream of its own.
func fill2(t testing.TB, log *eventlog.Log, n int) (last eventlog.Position) {
	t.Helper()
	a := newAuthor(t, log, 40)
	s := eventlog.Stream{Category: eventlog.PresetCategory, Org: domain.Bare(acme), ID: "00000000000000000000000099"}
	for i := range n {
		last = a.raw(s, eventlog.Revision(i)-1, "preset.unlabeled.v1", `{"label":"x","by":"usr_1","at":"2026-03-01T12:00:00Z"}`)
	}
	return last
}

// Owners fight over a reader without any lease, in batches by chance, and some crash after their work and before its
// commit.
func TestFence_counts_each_event_once_however_owners_fight(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	pool, dsn := counting(t)
	n := some(5_000, 40_000)
	last := fill(t, log, n)
	records := recordsFor(t, log, counter())
	var fenced, crashed atomic.Int64
	var all sync.WaitGroup
	for i := range uint64(4) {
		rng := rand.New(rand.NewPCG(i, 9))
		r := counter()
		apply := r.Apply
		r.Apply = func(ctx context.Context, tx pgx.Tx, batch []eventlog.Record) error {
			err := apply(ctx, tx, batch)
			if err == nil && rng.IntN(10) == 0 {
				err = errCrash
			}
			return err
		}
		e := newEngine(log, pool, r)
		all.Go(func() {
			for at := eventlog.Position(0); at < last; {
				var err error
				if at, err = e.begin(t.Context(), r); err != nil {
					t.Error(err)
					return
				}
				for err == nil && at < last {
					rest := after(records, at)
					batch := slices.Clone(rest[:min(len(rest), 1+rng.IntN(150))])
					at, err = e.commit(t.Context(), r, at, batch, batch[len(batch)-1].Position)
				}
				switch {
				case errors.Is(err, errFenced):
					fenced.Add(1)
				case errors.Is(err, errCrash):
					crashed.Add(1)
				case err != nil:
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	countedTo(t, dsn, n)
	t.Logf("%d events, 4 owners: %d batches were undone by the fence, %d by a crash", n, fenced.Load(), crashed.Load())
	if fenced.Load() == 0 || crashed.Load() == 0 {
		t.Error("the owners did not meet, or did not crash")
	}
}

var errCrash = errors.New("it crashed")

// Engines follow the log, crash at any point and are stopped at any moment: what they leave is what one leaves that
// goes through it once.
func TestRows_do_not_depend_on_where_engines_crashed(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	a := write(t, log, 31, some(200, 2000))
	want := tables(t, log, func() int { return 1 << 30 })
	rights := recordsFor(t, log, RightsReader())
	for seed := range uint64(some(3, 12)) {
		t.Run("by chance", func(t *testing.T) {
			t.Parallel()
			pool, dsn := database(t)
			rng := rand.New(rand.NewPCG(seed, 3))
			var mu sync.Mutex
			crashes := 0
			faulty := func(r Reader) Reader {
				apply := r.Apply
				r.Apply = func(ctx context.Context, tx pgx.Tx, batch []eventlog.Record) error {
					mu.Lock()
					cut := rng.IntN(len(batch) + 1)
					// Nobody comes to the end before enough of them have crashed.
					crash := crashes < 6 && (rng.IntN(3) > 0 || batch[len(batch)-1].Position == a.last)
					if crash {
						crashes++
					}
					mu.Unlock()
					if crash {
						return errors.Join(apply(ctx, tx, batch[:cut]), errCrash)
					}
					return apply(ctx, tx, batch)
				}
				return r
			}
			readers := []Reader{faulty(ViewsReader()), faulty(RightsReader())}
			crashed := func() int {
				mu.Lock()
				defer mu.Unlock()
				return crashes
			}
			for i := 0; crashed() < 6; i++ {
				e := owner(newEngine(log, pool, readers...), fmt.Sprint("engine ", i))
				was := crashed()
				stop := running(t, e, readers...)
				soon(t, "a crash", func() bool { return crashed() > was })
				stop()
			}
			readers = []Reader{ViewsReader(), RightsReader()} // which crash no more
			e := owner(newEngine(log, pool, readers...), "last")
			running(t, e, readers...)
			until(t, e, Views, a.last)
			until(t, e, Rights, rights[len(rights)-1].Position)
			same(t, "after crashes", dump(t, dsn), want)
			t.Logf("%d crashes", crashed())
		})
	}
}
