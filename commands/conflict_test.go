package commands

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"prelude/domain/claim"
	"prelude/internal/eventlog"
)

// writer gives commands on one stream, each of which changes it, and notes on what it decides.
type writer struct {
	*rig
	stale   int       // decisions on the same state as the one before, without a pause
	on      string    // the state of the last decision
	at      time.Time // its time
	decided int
}

// changes gives one command.
func (w *writer) changes() error {
	w.on = "" // that of the command before
	_, err := transact(w.t.Context(), w.Engine, name, once(), func(c claim.Claim, _ *Meta) ([]claim.Event, error) {
		w.decided++
		if on := "on " + c.Thing; on == w.on && time.Since(w.at) == 0 {
			if w.stale++; w.stale > 1000 { // the clock of the test stands still while it goes on
				return nil, errors.New("it never pauses")
			}
		} else {
			w.on = on
		}
		w.at = time.Now()
		n, err := strconv.Atoi(c.Thing)
		if err != nil && c.Thing != "" {
			return nil, err
		}
		return []claim.Event{claimed(strconv.Itoa(n + 1))}, nil
	})
	return err
}

// A real store refuses an append before the one that won can be read. Of many who write to one stream nobody gives up,
// nobody decides on the same state again at once, and each change counts once.
func TestTransact_waits_until_the_winner_can_be_read(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	for _, c := range []struct {
		writers, processes, commands int
		took, lag                    time.Duration
	}{
		{8, 1, 100, 0, 20 * time.Millisecond},
		{8, 8, 100, 0, 20 * time.Millisecond},
		{8, 2, 100, time.Millisecond, 5 * time.Millisecond},
		{16, 1, 100, 3 * time.Millisecond, 0},
		{16, 2, 100, 3 * time.Millisecond, 3 * time.Millisecond},
		{16, 16, 100, 3 * time.Millisecond, 0},
		{2, 2, 20, 0, 300 * time.Millisecond},
	} {
		what := fmt.Sprintf("%d writers in %d processes, %v an append, shown up to %v later", c.writers, c.processes,
			c.took, c.lag)
		synctest.Test(t, func(t *testing.T) {
			r, store := newScriptedRig(t)
			rng := rand.New(rand.NewPCG(seed, 1))
			store.took = c.took
			store.lag = func() time.Duration { return time.Duration(rng.Int64N(int64(c.lag) + 1)) } // under its lock
			var all sync.WaitGroup
			writers := make([]*writer, c.writers)
			processes := make([]*rig, c.processes)
			for i := range processes {
				processes[i] = r.other()
			}
			longest := time.Duration(0)
			var mu sync.Mutex
			for i := range writers {
				writers[i] = &writer{rig: processes[i%c.processes]}
				all.Go(func() {
					for range c.commands {
						<-time.After(300 * time.Microsecond) // the next request is on its way
						began := time.Now()
						if err := writers[i].changes(); err != nil {
							t.Errorf("seed %d: %s: %v", seed, what, err)
						}
						mu.Lock()
						longest = max(longest, time.Since(began))
						mu.Unlock()
					}
				})
			}
			all.Wait()
			<-time.After(c.lag + 1)
			f, err := load[claim.Claim, claim.Event](t.Context(), r.Engine, name, true)
			if want := strconv.Itoa(c.writers * c.commands); err != nil || f.State.Thing != want {
				t.Errorf("%s: it is %s, not %s: %v", what, f.State.Thing, want, err)
			}
			decided := 0
			for _, w := range writers {
				if decided += w.decided; w.stale > 0 {
					t.Errorf("%s: %d times it decided on the same state without a pause", what, w.stale)
				}
			}
			t.Logf("%s: %d decisions, the longest command took %v", what, decided, longest)
		})
	}
}

// Who is always late gives up with its context, or where that has no deadline, in time.
func TestTransact_gives_up_in_time(t *testing.T) {
	t.Parallel()
	for want, bound := range map[time.Duration]time.Duration{conflicts.For: 0, time.Second: time.Second} {
		synctest.Test(t, func(t *testing.T) {
			r, _ := newScriptedRig(t)
			took, err := r.outrun(bound)
			if !errors.Is(err, ErrMoved) || took > want || took < want-conflicts.Most {
				t.Errorf("with the deadline %v it took %v: %v", bound, took, err)
			}
		})
	}
}

// outrun gives a command while another is always first. With a bound that is its deadline.
func (r *rig) outrun(bound time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithCancel(r.t.Context())
	defer cancel()
	if bound > 0 {
		ctx, cancel = context.WithTimeout(ctx, bound)
		defer cancel()
	}
	began, other := time.Now(), r.other()
	first := func(claim.Claim, *Meta) ([]claim.Event, error) { return []claim.Event{claimed("first")}, nil }
	_, err := transact(ctx, r.Engine, name, once(), func(claim.Claim, *Meta) ([]claim.Event, error) {
		if _, err := transact(r.t.Context(), other.Engine, name, once(), first); err != nil {
			return nil, err
		}
		return []claim.Event{claimed("mine")}, nil
	})
	return time.Since(began), err
}

// The log's id is looked for again with a pause, while another's cannot be read yet.
func TestIdentify_waits_until_the_winner_can_be_read(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, store := newScriptedRig(t)
		store.lag = func() time.Duration { return 300 * time.Millisecond }
		ids := make([]string, 4)
		var all sync.WaitGroup
		for i := range ids {
			all.Go(func() {
				var err error
				if ids[i], err = r.other().Identify(t.Context(), "a"); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		for _, id := range ids {
			if id != ids[0] {
				t.Errorf("it is %s and %s", ids[0], id)
			}
		}
		if n := len(store.visible(eventlog.IdentityStream.String())); n != 1 {
			t.Errorf("the log has %d ids", n)
		}
	})
}
