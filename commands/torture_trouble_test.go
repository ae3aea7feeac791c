package commands

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"prelude/internal/eventstore"
	"prelude/internal/eventstore/storetest"
)

// judge holds what all were told of each reply against the ends that the log has of it.
func (f *replyTorture) judge(faults storetest.Faults, took time.Duration) {
	f.t.Helper()
	ends, told, none, two, others := map[string]int{}, 0, 0, 0, 0
	for _, r := range f.replies {
		_, all, err := f.inLog(f.t.Context(), f.makes, r)
		switch {
		case err != nil:
			f.t.Error(err)
		case len(all) == 0:
			none++
		case len(all) > 1:
			two++
		default:
			ends[strings.TrimSpace(all[0].Status+" "+all[0].Code)]++
			for _, e := range r.told {
				if told++; toldOf(e) != toldOf(all[0]) {
					others++
					f.t.Errorf("%s: the log has %q, and somebody was told %q", r.reply, toldOf(all[0]), toldOf(e))
				}
			}
		}
	}
	f.t.Logf("%s in %s: %d replies, %d of them closed as the answer to their start was lost, %d cancelled; the "+
		"log's ends: %v; %d times an end was told; without an end %d, with two %d, told another %d, hung %d; seed %d", faults,
		took.Round(time.Millisecond), len(f.replies), f.unheard, f.cancelled, ends, told, none, two, others, f.hung, f.seed)
	if none+two+others+f.hung > 0 || len(f.replies) == 0 {
		f.t.Error("not every reply has the one end that all were told")
	}
}

// toldOf is the end in words, with when it was.
func toldOf(e Ending) string {
	return fmt.Sprintf("%s at %s", told(e), e.At.UTC().Format(time.RFC3339Nano))
}

// quietly pauses between two troubles.
func quietly(rng *rand.Rand) { <-time.After(time.Duration(50+rng.IntN(600)) * time.Millisecond) }

// Over outages of the store.
func TestReplies_tortured_by_outages_have_one_end_each(t *testing.T) {
	t.Parallel()
	dir := storetest.Folder(t)
	startNodeIn(t, dir)
	p := storetest.NewProxy(t, filepath.Join(dir, "proxy.sock"), filepath.Join(dir, socketFile))
	newReplyTorture(t, eventstore.Config{Socket: p.Path}).over(func(rng *rand.Rand) storetest.Faults {
		made := storetest.Faults{}
		ways := []struct {
			what       string
			away, back func()
		}{
			{"away", p.Down, p.Up},
			{"all silent", func() { p.Hold(storetest.Both) }, p.Release},
			{"answers silent", func() { p.Hold(storetest.Answers) }, p.Release},
			{"forgotten", p.Lose, func() {}},
		}
		for _, d := range storetest.Scale([]int{600, 1200}, []int{300, 1000, 12_000, 100, 4000, 31_000, 700, 2000, 8000, 400,
			6000, 100, 1500, 3000}) {
			quietly(rng)
			way := ways[rng.IntN(len(ways))]
			made[way.what]++
			way.away()
			<-time.After(time.Duration(d) * time.Millisecond)
			way.back()
		}
		quietly(rng)
		return made
	})
}

// Over resignations of the leader.
func TestReplies_tortured_by_resignations_have_one_end_each(t *testing.T) {
	t.Parallel()
	dir := storetest.Folder(t)
	startNodeIn(t, dir)
	c := storetest.NewCluster(t, filepath.Join(dir, socketFile), 3)
	newReplyTorture(t, eventstore.Config{Address: c.Address()}).over(func(rng *rand.Rand) storetest.Faults {
		made, leader := storetest.Faults{}, 0
		for range storetest.Scale(4, 100) {
			quietly(rng)
			leader = (leader + 1 + rng.IntN(2)) % 3
			c.Elect(leader)
			made["resignations"]++
		}
		quietly(rng)
		return made
	})
}

// While rights and password are taken away and given back.
func TestReplies_tortured_by_rights_taken_have_one_end_each(t *testing.T) {
	t.Parallel()
	dir := storetest.Folder(t)
	startNodeIn(t, dir)
	s := storetest.NewScript(t, filepath.Join(dir, socketFile))
	newReplyTorture(t, eventstore.Config{Address: "esdb://" + s.Addr + "?tls=false"}).over(
		func(rng *rand.Rand) storetest.Faults {
			made, calls := storetest.Faults{}, []storetest.Call{storetest.Batch, storetest.Read, storetest.Subscribe}
			for range storetest.Scale(4, 60) {
				quietly(rng)
				code := []codes.Code{codes.PermissionDenied, codes.Unauthenticated}[rng.IntN(2)]
				refuse := map[storetest.Call]error{}
				for _, c := range calls {
					if rng.IntN(2) == 0 {
						refuse[c] = status.Error(code, "Access Denied")
					}
				}
				plays := s.Goes
				if rng.IntN(2) == 0 {
					plays = s.Play
				}
				plays(storetest.Part{Refuse: refuse, EndsBatch: code == codes.Unauthenticated})
				<-time.After(time.Duration(50+rng.IntN(storetest.Scale(400, 2500))) * time.Millisecond)
				plays(storetest.Part{})
				made[code.String()]++
			}
			quietly(rng)
			return made
		})
}
