package commands

import (
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"prelude/domain"
	"prelude/internal/eventstore/storetest"
)

// Commands of every kind are given while the way to the store is cut, silenced and slowed down, and the node killed, each
// again until it is done. Each has happened once, and so has the end of each reply.
func TestCommands_through_a_faulty_way_happen_once(t *testing.T) {
	t.Parallel()
	const customers = 16
	commands := storetest.Scale(250, 50_000)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r, proxy, node := newFaultyRig(t)
	ids := make([]domain.PresetID, customers)
	for i := range ids {
		ids[i] = r.create(olga, fmt.Sprint("tone-", i))
	}
	all := make([]*customer, customers)
	for i := range all {
		all[i] = r.customer(ids, i, rand.New(rand.NewPCG(seed, uint64(i)+1)))
	}
	stop, faults := make(chan struct{}), make(chan storetest.Faults)
	go func() {
		faults <- storetest.Trouble(proxy, rand.New(rand.NewPCG(seed, 0)), node.Restart, stop)
	}()
	var given atomic.Int64
	orders := make([]order, commands)
	var busy sync.WaitGroup
	for _, c := range all {
		busy.Go(func() {
			for n := given.Add(1) - 1; n < int64(commands); n = given.Add(1) - 1 {
				orders[n] = c.gives()
			}
		})
	}
	busy.Wait()
	close(stop)
	troubles := <-faults
	r.settle(orders)
	lost, twice, kinds := r.count(orders)
	repeats := int64(0)
	for _, c := range all {
		repeats += c.repeats
	}
	t.Logf("%d commands (%v), %d repeats: lost %d, twice %d; %s", commands, kinds, repeats, lost, twice, troubles)
	if lost+twice > 0 {
		t.Errorf("lost %d, twice %d", lost, twice)
	}
	if len(kinds) != 7 {
		t.Errorf("the kinds of commands given are %v", kinds)
	}
}

// newFaultyRig is a rig whose way to the store is a proxy, and whose node is a process that can be killed.
func newFaultyRig(t *testing.T) (*rig, *storetest.Proxy, *storetest.Process) {
	t.Helper()
	dir := storetest.Folder(t)
	node := storetest.NewProcess(t, dir)
	proxy := storetest.NewProxy(t, filepath.Join(dir, "proxy.sock"), filepath.Join(dir, socketFile))
	return newRigOn(t, proxy.Path), proxy, node
}

// TestNode is that process.
func TestNode(t *testing.T) {
	storetest.Serve(t, func(dir string) (io.Closer, error) { return startNode(t.Context(), dir) })
}
