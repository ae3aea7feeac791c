package eventstore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"

	"prelude/internal/esnode"
	"prelude/internal/esnode/esnodetest"
	"prelude/internal/eventstore/storetest"
)

// tortured is a cluster of three, each member behind a proxy.
type tortured struct {
	*storetest.Cluster
	t       *testing.T
	proxies []*storetest.Proxy
	leader  int
}

func newTortured(t *testing.T, seed uint64) (*tortured, *workload) {
	t.Helper()
	r := newRig(t)
	c := &tortured{Cluster: storetest.NewCluster(t, r.socket(), 3), t: t}
	c.proxies = c.Proxies(t)
	s := to(t, c.Address())
	if err := s.Ready(r.ctx()); err != nil {
		t.Fatal(err)
	}
	return c, newWorkload(t, s, r.direct, seed)
}

// silence is a part that answers nothing.
func silence() storetest.Part {
	return storetest.Part{Silent: map[storetest.Call]bool{storetest.Batch: true, storetest.Append: true,
		storetest.Read: true, storetest.Subscribe: true, storetest.Features: true, storetest.Gossip: true}}
}

// cutting is a way in which a member is cut off, and how it comes back.
type cutting struct {
	what      string
	off, back func(c *tortured, member int)
}

func cuttings() []cutting {
	nothing := func(*tortured, int) {}
	released := func(c *tortured, i int) { c.proxies[i].Release() }
	return []cutting{
		{"still leads", nothing, nothing},
		{"knows it", func(c *tortured, i int) { c.State(i, gossip.MemberInfo_Unknown) }, nothing},
		{"appends unanswered", func(c *tortured, i int) {
			c.Members[i].Goes(storetest.Part{Silent: map[storetest.Call]bool{storetest.Batch: true}})
		}, nothing},
		{"dies", func(c *tortured, i int) { c.Members[i].Stop() },
			func(c *tortured, i int) { c.Members[i].Start(c.t) }},
		{"its machine dies", func(c *tortured, i int) { c.Members[i].Stop(); c.proxies[i].Down() },
			func(c *tortured, i int) { c.Members[i].Start(c.t); c.proxies[i].Up() }},
		{"hangs", func(c *tortured, i int) { c.Members[i].Play(silence()) }, nothing},
		{"hangs, and ends nothing", func(c *tortured, i int) { c.Members[i].Goes(silence()) }, nothing},
		{"bytes held", func(c *tortured, i int) { c.proxies[i].Hold(storetest.Both) }, released},
		{"answers held", func(c *tortured, i int) { c.proxies[i].Hold(storetest.Answers) }, released},
		{"bytes swallowed", func(c *tortured, i int) { c.proxies[i].Lose() }, nothing},
	}
}

// cut cuts the leader off, has another elected, and lets the old one come back.
func (c *tortured) cut(w *workload, how cutting, rng *rand.Rand) bool {
	old := c.leader
	c.leader = (old + 1 + rng.IntN(2)) % 3
	ok := w.trouble(func() { c.CutOff(old); how.off(c, old) }, time.Duration(rng.IntN(200))*time.Millisecond,
		func() { c.Elect(c.leader) })
	return ok && w.trouble(func() { how.back(c, old) }, 0, func() { c.Rejoin(old, c.leader) })
}

// Leaders are cut off in every way, one after another, under writers, readers and subscriptions: within 10 s all are
// with the new leader; nothing is lost or there twice.
func TestTorture_leaders_cut_off(t *testing.T) {
	t.Parallel()
	for n := range storetest.Scale(1, 2) {
		t.Run(fmt.Sprint("cluster ", n+1), func(t *testing.T) {
			t.Parallel()
			seed := esnodetest.Seed()
			rng := rand.New(rand.NewPCG(seed, 1))
			t.Logf("seed %d", seed)
			c, w := newTortured(t, seed)
			made, deck := storetest.Faults{}, cuttings()
			for i := range storetest.Scale(2, 90) {
				if i%len(deck) == 0 {
					rng.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
				}
				how := deck[i%len(deck)]
				made[how.what]++
				if !c.cut(w, how, rng) {
					t.Errorf("after %q, the %dth", how.what, i+1)
					break
				}
			}
			w.ends(made.String(), seed)
		})
	}
}

// Leaders resign in turn: that is no outage at all.
func TestTorture_leaders_resign(t *testing.T) {
	t.Parallel()
	seed := esnodetest.Seed()
	rng := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	c, w := newTortured(t, seed)
	resigned := 0
	for range storetest.Scale(3, 200) {
		c.leader = (c.leader + 1 + rng.IntN(2)) % 3
		if !w.trouble(func() { c.Elect(c.leader) }, 0, func() {}) {
			break
		}
		resigned++
	}
	w.ends(fmt.Sprint(resigned, " resignations"), seed)
}

// standby is two nodes that have one folder in turn, as those of machines that share a disk, each behind a proxy.
type standby struct {
	t       *testing.T
	dir     string
	node    *esnode.Node
	proxies [2]*storetest.Proxy
}

func (s *standby) socket(n int) string { return filepath.Join(s.dir, fmt.Sprint("node", n, ".sock")) }

func (s *standby) start(n int) {
	s.t.Helper()
	var err error
	s.node, err = esnode.Start(context.Background(),
		esnodetest.Config(s.t, esnode.Config{Dir: s.dir, Socket: s.socket(n)}))
	if err != nil {
		s.t.Fatal(err)
	}
}

// fail has what one says be swallowed, that one end, and the other begin.
func (s *standby) fail(old int, how string) {
	switch how {
	case "bytes held":
		s.proxies[old].Hold(storetest.Both)
	case "answers held":
		s.proxies[old].Hold(storetest.Answers)
	case "bytes swallowed":
		s.proxies[old].Lose()
	}
	<-time.After(100 * time.Millisecond) // appends get into it
	if err := s.node.Close(); err != nil {
		s.t.Error(err)
	}
	s.start(1 - old)
}

// One of two nodes is silent, its bytes swallowed, and the other takes its place.
func TestTorture_two_nodes_whose_bytes_are_swallowed(t *testing.T) {
	t.Parallel()
	seed := esnodetest.Seed()
	rng := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	s := &standby{t: t, dir: storetest.Folder(t)}
	s.start(0)
	t.Cleanup(func() {
		if err := s.node.Close(); err != nil {
			t.Error(err)
		}
	})
	for i := range s.proxies {
		s.proxies[i] = storetest.NewProxy(t, "127.0.0.1:0", s.socket(i))
	}
	store := to(t, "esdb://"+s.proxies[0].Path+","+s.proxies[1].Path+"?tls=false")
	if err := store.Ready(within(t, 30*time.Second)); err != nil {
		t.Fatal(err)
	}
	direct := to(t, "esdb://"+s.proxies[0].Path+","+s.proxies[1].Path+"?tls=false")
	w := newWorkload(t, store, direct, seed)
	made, ways := storetest.Faults{}, []string{"bytes held", "answers held", "bytes swallowed"}
	for n := range storetest.Scale(1, 20) {
		how := ways[rng.IntN(len(ways))]
		made[how]++
		if !w.trouble(func() { s.fail(n%2, how) }, 0, func() {}) {
			break
		}
		s.proxies[n%2].Release()
	}
	w.ends(made.String(), seed)
}
