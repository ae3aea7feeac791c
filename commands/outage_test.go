package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"prelude/domain"
	"prelude/domain/preset"
	"prelude/internal/eventlog"
	"prelude/internal/eventstore/storetest"
)

// Commands are given while the way to the store is cut, silenced and slowed down, and the node killed, each again until
// it is done. Each has happened once.
func TestCommands_through_a_faulty_way_happen_once(t *testing.T) {
	t.Parallel()
	commands, presets, clients := storetest.Scale(200, 50_000), 16, 16
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r, proxy, node := newFaultyRig(t)
	ids := make([]domain.PresetID, presets)
	for i := range ids {
		ids[i] = r.create(olga, fmt.Sprint("tone-", i))
	}
	stop, faults := make(chan struct{}), make(chan storetest.Faults)
	go func() {
		faults <- storetest.Trouble(proxy, rand.New(rand.NewPCG(seed, 0)), node.Restart, stop)
	}()
	var given, repeats atomic.Int64
	made := make([]Meta, commands)
	of := make([]domain.PresetID, commands)
	var all sync.WaitGroup
	for c := range clients {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(c)+1))
			for n := given.Add(1) - 1; n < int64(commands); n = given.Add(1) - 1 {
				made[n], of[n] = repeatable(olga, "body"), ids[rng.IntN(presets)]
				repeats.Add(r.insist(of[n], made[n], rng))
			}
		})
	}
	all.Wait()
	close(stop)
	troubles := <-faults
	lost, twice := r.count(made, of)
	t.Logf("%d commands, %d repeats: lost %d, twice %d; %s", commands, repeats.Load(), lost, twice, troubles)
	if lost+twice > 0 {
		t.Errorf("lost %d, twice %d", lost, twice)
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

// insist gives a command until it is done, as a client does who gets 503 or 409.
func (r *rig) insist(id domain.PresetID, m Meta, rng *rand.Rand) (repeats int64) {
	name := uuid.NewString()
	for ; ; repeats++ {
		ctx, cancel := context.WithTimeout(r.t.Context(), time.Duration(50+rng.IntN(3000))*time.Millisecond)
		_, err := r.presets().Edit(ctx, EditPreset{Preset: id,
			Change: func(slug string, d preset.Draft) (string, preset.Draft, error) {
				d.Name = name
				return slug, d, nil
			}}, m)
		cancel()
		switch {
		case err == nil:
			return repeats
		case !errors.Is(err, eventlog.ErrUnavailable) && !errors.Is(err, ErrMoved) &&
			!errors.Is(err, context.DeadlineExceeded):
			r.t.Errorf("a command ended with %v", err)
			return repeats
		}
	}
}

// count looks for each command's events in the log.
func (r *rig) count(made []Meta, of []domain.PresetID) (lost, twice int) {
	r.t.Helper()
	events := map[uuid.UUID]int{}
	seen := map[domain.PresetID]bool{}
	for _, id := range of {
		if seen[id] {
			continue
		}
		seen[id] = true
		for _, rec := range r.records(eventlog.PresetStream(acme, id)) {
			events[rec.Meta.Step]++
		}
	}
	for _, m := range made {
		switch n := events[m.Step("edit").stepID()]; {
		case n == 0:
			lost++
		case n > 1:
			twice++
		}
	}
	return lost, twice
}
