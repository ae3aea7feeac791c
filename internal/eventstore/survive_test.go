package eventstore_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"prelude/internal/eventlog"
	"prelude/internal/eventstore/storetest"
)

// Writers go on through outages, short and longer than the official client survives, with every
// event stored once; a subscription sees each once; nothing is left over.
func TestOutage(t *testing.T) {
	t.Parallel()
	outages := storetest.Scale(
		[]time.Duration{300 * time.Millisecond, 1500 * time.Millisecond},
		[]time.Duration{
			300 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second, time.Minute,
		})
	for _, outage := range outages {
		for how, away := range map[string]func(r *rig) (back func()){
			"the way is cut": func(r *rig) func() {
				r.proxy.Down()
				return r.proxy.Up
			},
			"the way is silent": func(r *rig) func() {
				r.proxy.Hold(storetest.Both)
				return r.proxy.Release
			},
			"answers are silent": func(r *rig) func() {
				r.proxy.Hold(storetest.Answers)
				return r.proxy.Release
			},
			"the node is away": func(r *rig) func() {
				if err := r.node.Close(); err != nil {
					r.t.Error(err)
				}
				return r.start
			},
			killed: func(r *rig) func() {
				r.process.Kill()
				return func() {
					if err := r.process.Start(); err != nil {
						r.t.Error(err)
					}
				}
			},
		} {
			t.Run(fmt.Sprint(outage, "/", how), func(t *testing.T) {
				t.Parallel()
				r := newRig
				if how == killed {
					r = newMortalRig
				}
				survive(r(t), outage, away)
			})
		}
	}
}

const killed = "the node is killed"

const survivors, eachWrites = 6, 40

// survive has writers and a follower meet an outage half-way.
func survive(r *rig, outage time.Duration, away func(*rig) (back func())) {
	r.t.Helper()
	ctx := within(r.t, outage+30*time.Second)
	r.warm(ctx)
	var seen []eventlog.Position
	halfway, over := make(chan struct{}, survivors), make(chan struct{})
	ended := make(chan struct{}, survivors+1)
	go r.asGuard(func() {
		seen = follow(ctx, r.t, r.store, 0, survivors*eachWrites*2, func(eventlog.Signal) {})
		ended <- struct{}{}
	})
	var acknowledged ids
	for w := range survivors {
		go r.asGuard(func() {
			acknowledged.write(ctx, r, fmt.Sprint("s-", w), halfway)
			ended <- struct{}{}
		})
	}
	<-halfway
	back := away(r)
	var came time.Time
	time.AfterFunc(outage, func() { came = time.Now(); back(); close(over) })
	<-over
	r.asGuard(func() {
		if err := r.store.Ready(ctx); err != nil {
			r.t.Errorf("after the outage: %v", err)
		}
	})
	ready := time.Since(came)
	hung := waitFor(ctx, ended, survivors+1)
	if hung > 0 {
		r.t.Fatalf("%d calls did not end with their context", hung)
	}
	stored := r.stored("s-")
	lost, twice := acknowledged.against(stored)
	connections, goroutines := r.leaked()
	r.t.Logf("away for %v: %d events acknowledged, %d stored, %d seen: lost %d, twice %d, hung %d, leaked %d connections, "+
		"%d goroutines besides %d; ready %v after it was back", outage, len(acknowledged.all), len(stored), len(seen), lost,
		twice, hung, connections, goroutines, r.steady, ready.Round(time.Millisecond))
	if lost+twice+connections+goroutines > 0 || len(stored) != survivors*eachWrites*2 || !slices.Equal(seen, positions(stored)) {
		r.t.Error("not every event is stored once and seen once, or something is left over")
	}
}

// ids are those of events that were acknowledged.
type ids struct {
	mu  sync.Mutex
	all []uuid.UUID
}

// write appends to a stream, and says when it is half done.
func (i *ids) write(ctx context.Context, r *rig, stream string, halfway chan<- struct{}) {
	at := eventlog.None
	for n := range eachWrites {
		if n == eachWrites/2 {
			halfway <- struct{}{}
		}
		two := events(2)
		a, err := r.store.Append(ctx, stream, at, two)
		if err != nil {
			r.t.Errorf("%s, append %d: %v", stream, n, err)
			return
		}
		at = a.Revision
		i.mu.Lock()
		i.all = append(i.all, two[0].ID, two[1].ID)
		i.mu.Unlock()
	}
}

func (i *ids) against(log []eventlog.Raw) (lost, twice int) {
	var stored []uuid.UUID
	for _, e := range log {
		stored = append(stored, e.ID)
	}
	return storetest.Compare(i.all, stored)
}

// waitFor waits for n to end, no longer than calls may outlive their context, and says how many have not.
func waitFor(ctx context.Context, ended <-chan struct{}, n int) (hung int) {
	deadline, _ := ctx.Deadline()
	late := time.After(time.Until(deadline) + lateness)
	for ; n > 0; n-- {
		select {
		case <-ended:
		case <-late:
			return n
		}
	}
	return 0
}
