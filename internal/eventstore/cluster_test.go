package eventstore_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"

	"prelude/internal/eventlog"
	"prelude/internal/eventstore"
	"prelude/internal/eventstore/storetest"
)

// clustered is a cluster of three before a node, and a guard that knows all of them.
func clustered(t *testing.T, options ...string) (*rig, *storetest.Cluster, *eventstore.Store) {
	t.Helper()
	r := newRig(t)
	c := storetest.NewCluster(t, r.socket(), 3)
	s := to(t, c.Address(options...))
	if err := s.Ready(r.ctx()); err != nil {
		t.Fatal(err)
	}
	return r, c, s
}

// writing appends one event after another until it is told to stop, and gives the longest time without one.
func writing(t *testing.T, r *rig, s *eventstore.Store, stream string, stop <-chan struct{}) (n int, longest time.Duration) {
	t.Helper()
	at, last := eventlog.None, time.Now()
	for {
		select {
		case <-stop:
			return n, max(longest, time.Since(last))
		default:
		}
		left, err := s.Append(r.ctx(), stream, at, events(1))
		if err != nil {
			t.Error(err)
			return n, longest
		}
		at, n = left.Revision, n+1
		longest, last = max(longest, time.Since(last)), time.Now()
	}
}

// calledFor waits until a member is asked for so many more calls of a kind.
func calledFor(t *testing.T, s *storetest.Script, c storetest.Call, more int) {
	t.Helper()
	late := time.After(15 * time.Second)
	for want := s.Asked(c) + more; s.Asked(c) < want; {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-late:
			t.Fatalf("no %s in 15 s", c)
		}
	}
}

// Whatever says that the leader in use is none any more, the new one is found within seconds; nothing is lost or there
// twice, and no call that was under way fails.
func TestCluster_follows_the_leader(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func(*storetest.Cluster){
		"it resigns": func(c *storetest.Cluster) { c.Elect(1) },
		"it is cut off, and still calls itself the leader": func(c *storetest.Cluster) { c.CutOff(0); c.Elect(1) },
		"it is cut off, and knows it": func(c *storetest.Cluster) {
			c.CutOff(0)
			c.State(0, gossip.MemberInfo_Unknown)
			c.Elect(1)
		},
		"it is cut off, and its appends are not answered": func(c *storetest.Cluster) {
			c.CutOff(0)
			c.Members[0].Goes(storetest.Part{Silent: map[storetest.Call]bool{storetest.Batch: true}})
			c.Elect(1)
		},
		"it dies": func(c *storetest.Cluster) {
			c.CutOff(0)
			c.Members[0].Stop()
			c.Elect(1)
		},
		"it hangs": func(c *storetest.Cluster) {
			c.CutOff(0)
			c.Members[0].Play(storetest.Part{Silent: map[storetest.Call]bool{storetest.Batch: true, storetest.Read: true,
				storetest.Subscribe: true, storetest.Features: true, storetest.Gossip: true}})
			c.Elect(1)
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r, c, s := clustered(t)
			seen := make(chan int, 1)
			ctx := r.ctx()
			stop := make(chan struct{})
			go func() {
				n := 0
				for signal, err := range s.Subscribe(ctx, 0, eventlog.Filter{Prefixes: []string{"s-"}}) {
					if err != nil {
						break
					}
					if signal.Kind == eventlog.Event {
						if n++; signal.Raw.Type == "last.v1" {
							break
						}
					}
				}
				seen <- n
			}()
			type written struct {
				n       int
				longest time.Duration
			}
			done := make(chan written, 1)
			go func() {
				n, longest := writing(t, r, s, "s-1", stop)
				done <- written{n, longest}
			}()
			calledFor(t, c.Members[0], storetest.Batch, 20)
			change(c)
			calledFor(t, c.Members[1], storetest.Batch, 20)
			close(stop)
			w := <-done
			if w.longest > 10*time.Second {
				t.Errorf("nothing was written for %s", w.longest)
			}
			if stored := len(r.log("s-")); stored != w.n {
				t.Errorf("%d events were acknowledged, %d are there", w.n, stored)
			}
			r.must("s-2", eventlog.None, 1)
			if _, err := r.direct.Append(ctx, "s-2", 0, []eventlog.Proposed{event("last.v1", "{}")}); err != nil {
				t.Fatal(err)
			}
			if n := <-seen; n != w.n+2 {
				t.Errorf("%d events were seen of %d", n, w.n+2)
			}
			if role := s.State().Role; role != eventstore.Leader {
				t.Errorf("it is with a %s", role)
			}
			t.Logf("longest without an acknowledged append: %s", w.longest)
		})
	}
}

// A follower that is taken because there is no leader is left for the leader once there is one, without an outage.
func TestCluster_leaves_a_follower_for_the_leader(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := storetest.NewCluster(t, r.socket(), 3)
	for i := range c.Members {
		c.State(i, gossip.MemberInfo_Follower)
	}
	s := to(t, c.Address())
	if err := s.Readable(r.ctx()); err != nil {
		t.Fatal(err)
	}
	if role := s.State().Role; role != eventstore.Follower {
		t.Errorf("it is with a %s", role)
	}
	c.Elect(2)
	late := time.After(10 * time.Second)
	for s.State().Role != eventstore.Leader {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-late:
			t.Fatal("it stays with the follower")
		}
	}
	if _, err := s.Append(r.ctx(), "s-1", eventlog.None, events(1)); err != nil || c.Members[2].Asked(storetest.Batch) == 0 {
		t.Errorf("the leader was not asked: %v", err)
	}
}

// The node that the address prefers is used, and stays in use while it has that role.
func TestCluster_prefers(t *testing.T) {
	t.Parallel()
	for prefers, want := range map[string]eventstore.Role{"leader": eventstore.Leader, "follower": eventstore.Follower,
		"readOnlyReplica": eventstore.Replica} {
		t.Run(prefers, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			c := storetest.NewCluster(t, r.socket(), 3)
			c.State(2, gossip.MemberInfo_ReadOnlyReplica)
			s := to(t, c.Address("nodePreference="+prefers))
			if err := s.Ready(r.ctx()); err != nil {
				t.Fatal(err)
			}
			if role := s.State().Role; role != want {
				t.Errorf("it is with a %s", role)
			}
			n, _ := writing(t, r, s, "s-1", after(100*time.Millisecond))
			if stored := len(r.log("s-")); stored != n || n == 0 {
				t.Errorf("%d appends, %d events", n, stored)
			}
		})
	}
}

func after(d time.Duration) <-chan struct{} {
	done := make(chan struct{})
	time.AfterFunc(d, func() { close(done) })
	return done
}

// Members in every state: the one to use is found by those that can be asked.
func TestCluster_of_every_state(t *testing.T) {
	t.Parallel()
	for state, usable := range map[gossip.MemberInfo_VNodeState]bool{
		gossip.MemberInfo_Initializing: false, gossip.MemberInfo_DiscoverLeader: false, gossip.MemberInfo_Unknown: false,
		gossip.MemberInfo_PreReplica: false, gossip.MemberInfo_CatchingUp: false, gossip.MemberInfo_Clone: false,
		gossip.MemberInfo_Follower: true, gossip.MemberInfo_PreLeader: false, gossip.MemberInfo_Leader: true,
		gossip.MemberInfo_Manager: false, gossip.MemberInfo_ShuttingDown: false, gossip.MemberInfo_Shutdown: false,
		gossip.MemberInfo_ReadOnlyLeaderless: true, gossip.MemberInfo_PreReadOnlyReplica: true,
		gossip.MemberInfo_ReadOnlyReplica: true, gossip.MemberInfo_ResigningLeader: false, 99: false,
	} {
		t.Run(state.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			c := storetest.NewCluster(t, r.socket(), 3)
			for i := range c.Members {
				c.State(i, state)
			}
			err := to(t, c.Address()).Readable(within(t, 2*time.Second))
			if usable != (err == nil) || err != nil && !strings.Contains(err.Error(), "no node of the cluster") {
				t.Errorf("it answers %v", err)
			}
		})
	}
}

// A member that was seen is asked, although the address does not name it and the one that it names is gone.
func TestCluster_asks_members_that_it_has_seen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := storetest.NewCluster(t, r.socket(), 3)
	s := to(t, "esdb+discover://"+c.Members[1].Addr+"?tls=false")
	if err := s.Ready(r.ctx()); err != nil {
		t.Fatal(err)
	}
	c.Members[1].Stop()
	c.Elect(2)
	c.CutOff(0)
	c.Members[0].Stop()
	if _, err := s.Append(r.ctx(), "s-1", eventlog.None, events(1)); err != nil || c.Members[2].Asked(storetest.Batch) == 0 {
		t.Errorf("the member that is left was not asked: %v", err)
	}
}

// More subscriptions than a node takes on one connection stand in no append's and no read's way.
func TestSubscribe_more_often_than_a_connection_takes_calls(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.must("s-1", eventlog.None, 1)
	const n = 250
	up := make(chan struct{}, n)
	for range n {
		go func() {
			for s, err := range r.store.Subscribe(t.Context(), 0, eventlog.Filter{}) {
				if err != nil {
					return // the test is over
				}
				if s.Kind == eventlog.CaughtUp {
					up <- struct{}{}
				}
			}
		}()
	}
	ctx := r.ctx()
	for range n {
		select {
		case <-up:
		case <-ctx.Done():
			t.Fatal("not all subscriptions are made")
		}
	}
	if _, err := r.store.Append(within(t, 5*time.Second), "s-1", 0, events(1)); err != nil {
		t.Error(err)
	}
	if err := r.store.Ready(within(t, 5*time.Second)); err != nil {
		t.Error(err)
	}
	if connections := r.proxy.Connections(); connections != 4 {
		t.Errorf("there are %d connections, want 1 and 3 with at most 90 subscriptions each", connections)
	}
}

// One that leaves, whenever that is, takes nobody's connection away: the others hear of no loss.
func TestSubscribe_one_leaves_and_the_others_stay(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	at := r.must("s-1", eventlog.None, 1)
	seen, lost := make(chan eventlog.Position, 100), make(chan struct{}, 100)
	go func() {
		for s, err := range r.store.Subscribe(t.Context(), 0, eventlog.Filter{}) {
			switch {
			case err != nil:
				return // the test is over
			case s.Kind == eventlog.Lost:
				lost <- struct{}{}
			case s.Kind == eventlog.Event:
				seen <- s.Position
			}
		}
	}()
	<-seen
	for i := range 20 {
		ctx, cancel := context.WithCancel(r.ctx())
		for s, err := range r.store.Subscribe(ctx, 0, eventlog.Filter{}) {
			if s.Kind == eventlog.CaughtUp {
				if i%2 == 0 {
					break
				}
				cancel()
			}
			if err != nil {
				break
			}
		}
		cancel()
		at = r.must("s-1", at.Revision, 1)
		if got := <-seen; got != at.Position {
			t.Fatalf("the event at %d is given, want that at %d", got, at.Position)
		}
	}
	if len(lost) > 0 {
		t.Errorf("%d losses were told", len(lost))
	}
}

// An outage is told once: as it begins, as an error when somebody has to know, and when it is over.
func TestStore_tells_of_an_outage(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	script := storetest.NewScript(t, r.socket())
	said := &lines{}
	s, err := eventstore.Open(eventstore.Config{Address: plainly(script.Addr),
		Logger: slog.New(slog.NewTextHandler(said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := s.Ready(r.ctx()); err != nil {
		t.Fatal(err)
	}
	script.Play(storetest.Part{NotHandled: "Server Is Not Ready"})
	if err := s.Ready(within(t, 500*time.Millisecond)); err == nil { // from here on the outage is known
		t.Error("it is ready")
	}
	for i := range 5 {
		if _, err := s.Append(within(t, 50*time.Millisecond), fmt.Sprint("s-", i), eventlog.None, events(1)); err == nil {
			t.Error("an append goes through")
		}
	}
	script.Play(storetest.Part{})
	if err := s.Ready(r.ctx()); err != nil {
		t.Error(err)
	}
	text := said.String()
	for line, n := range map[string]int{"level=WARN": 1, "level=ERROR": 1, "level=INFO": 1, "failed_calls=5": 1,
		"the event store is away": 1, "the event store stays away": 1, "the event store is back": 1} {
		if strings.Count(text, line) != n {
			t.Errorf("%q stands there %d times, want %d:\n%s", line, strings.Count(text, line), n, text)
		}
	}
}
