package eventstore_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"prelude/internal/esnode/esnodetest"
	"prelude/internal/eventstore/storetest"
)

const (
	leastOutage = 100 * time.Millisecond
	mostOutage  = 40 * time.Second
	longOutage  = 29 * time.Second // longer than a call's usual time
)

// outages are lengths of outages, log-uniformly from the least to the most, of which at least long ones are longer than
// calls wait; all together last no longer than most.
func outages(rng *rand.Rand, n, long int, most time.Duration) []time.Duration {
	for {
		all, sum := make([]time.Duration, n), time.Duration(0)
		for i := range all {
			least := leastOutage
			if i < long {
				least = longOutage
			}
			ratio := math.Pow(float64(mostOutage)/float64(least), rng.Float64())
			all[i] = time.Duration(float64(least) * ratio)
			sum += all[i]
		}
		if sum <= most {
			rng.Shuffle(n, func(i, j int) { all[i], all[j] = all[j], all[i] })
			return all
		}
	}
}

// outage is a way in which the store is away for a time.
type outage struct {
	what string
	run  func(p *storetest.Proxy, w *workload, lasts time.Duration) bool
}

func outageWays() []outage {
	return []outage{
		{"away", func(p *storetest.Proxy, w *workload, d time.Duration) bool { return w.trouble(p.Down, d, p.Up) }},
		{"all silent", func(p *storetest.Proxy, w *workload, d time.Duration) bool {
			return w.trouble(func() { p.Hold(storetest.Both) }, d, p.Release)
		}},
		{"answers silent", func(p *storetest.Proxy, w *workload, d time.Duration) bool {
			return w.trouble(func() { p.Hold(storetest.Answers) }, d, p.Release)
		}},
		{"cut again and again", func(p *storetest.Proxy, w *workload, d time.Duration) bool {
			return w.trouble(func() { again(d, p.Cut) }, 0, func() {})
		}},
		{"forgotten again and again", func(p *storetest.Proxy, w *workload, d time.Duration) bool {
			return w.trouble(func() { again(d, p.Lose) }, 0, func() {})
		}},
	}
}

// again does something now and, every 20 ms, again, for a time.
func again(d time.Duration, do func()) {
	over := time.After(d)
	for {
		do()
		select {
		case <-time.After(20 * time.Millisecond):
		case <-over:
			return
		}
	}
}

// Outages of 0.1 to 40 s come and go: all go on by themselves.
func TestTorture_outages(t *testing.T) {
	t.Parallel()
	seed := esnodetest.Seed()
	rng := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	r := newRig(t)
	lengths := []time.Duration{leastOutage, 400 * time.Millisecond}
	if storetest.Long() {
		lengths = outages(rng, 40, 3, 6*time.Minute)
	}
	w := newWorkload(t, r.store, r.direct, seed)
	made, deck, sum, longest := storetest.Faults{}, outageWays(), time.Duration(0), time.Duration(0)
	if !storetest.Long() {
		deck = deck[:len(deck)-1] // a connection that is forgotten alone takes 5 s to be given up
	}
	for i, d := range lengths {
		if i%len(deck) == 0 {
			rng.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		how := deck[i%len(deck)]
		made[how.what]++
		sum, longest = sum+d, max(longest, d)
		if !how.run(r.proxy, w, d) {
			t.Errorf("after %q for %s, the %dth", how.what, d, i+1)
			break
		}
	}
	w.ends(fmt.Sprintf("%s; outages of %s together, the longest of %s", made, sum.Round(time.Millisecond),
		longest.Round(time.Millisecond)), seed)
}

// Rights and password are taken away, of each kind of call alone and of all, and given back: all is waited for.
func TestTorture_rights_taken(t *testing.T) {
	t.Parallel()
	seed := esnodetest.Seed()
	rng := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	r, script, store := scripted(t)
	if err := store.Ready(r.ctx()); err != nil {
		t.Fatal(err)
	}
	w := newWorkload(t, store, r.direct, seed)
	taken, deck := storetest.Faults{}, takings()
	for i := range storetest.Scale(4, 100) {
		if i%len(deck) == 0 {
			rng.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		how := deck[i%len(deck)]
		taken[how.what]++
		plays := script.Goes // what is under way goes on
		if rng.IntN(2) == 0 {
			plays = script.Play // it ends, as where the store closes the connections of a user
		}
		lasts := time.Duration(50+rng.IntN(storetest.Scale(300, 1500))) * time.Millisecond
		if !w.trouble(func() { plays(how.part) }, lasts, func() { plays(storetest.Part{}) }) {
			t.Errorf("after %q, the %dth", how.what, i+1)
			break
		}
	}
	w.ends(taken.String(), seed)
}

// taking is what is taken away from whoever asks.
type taking struct {
	what string
	part storetest.Part
}

// takings are of each kind of call alone and of all, by both words of a store. A store that does not know who asks ends
// the call that appends share.
func takings() (all []taking) {
	calls := []storetest.Call{storetest.Batch, storetest.Read, storetest.Subscribe}
	for _, word := range []string{"right", "password"} {
		err := status.Error(codes.PermissionDenied, "Access Denied")
		if word == "password" {
			err = status.Error(codes.Unauthenticated, "")
		}
		part := storetest.Part{Refuse: map[storetest.Call]error{}, EndsBatch: word == "password"}
		for _, c := range calls {
			part.Refuse[c] = err
			all = append(all, taking{word + " to " + string(c), storetest.Part{Refuse: map[storetest.Call]error{c: err},
				EndsBatch: part.EndsBatch}})
		}
		all = append(all, taking{word + " to all", part})
	}
	return all
}
