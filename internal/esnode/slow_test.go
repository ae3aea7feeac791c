package esnode

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"prelude/test/conformance/wire"
)

// slowHolds is what a subscriber that does not read may cost the node: the event that is on its way to it,
// and the page that is next, which such an event fills.
func slowHolds(event int) int { return 2 * (event + pageBytes) }

// Subscribers that do not read cost a page each, however much is appended, and hold up neither writers nor
// other subscribers. When they read again, they get all. It does not run beside other tests: it looks at
// the memory of the process.
func TestSubscribe_slow_ones_hold_nothing_up(t *testing.T) {
	r := newRigWith(t, Config{MaxAppendSize: largestAppend})
	slow, rounds, each, bytes := 4, 2, 8, largestAppend/4
	if torture() {
		slow, rounds, each, bytes = 16, 5, 10, largestAppend
	}
	quick := r.follow(t, wire.Options())
	var all []*slowSubscriber
	join := func() { // half of them now, half when there is much to catch up with
		for i := range slow / 2 {
			all = append(all, r.dawdle(i%2 == 0))
		}
	}
	before, rev := heap(), int64(-1)
	var held []int
	for round := range rounds {
		if round < 2 {
			join()
		}
		for range each {
			name := fmt.Sprint(rev + 1)
			a := r.Send("s", rev, sized(name, bytes))
			if a.Err != nil || a.Wrong != nil {
				t.Fatalf("append %s: %v", name, a.Err)
			}
			rev++
			if got := nextEvent(t, quick); got != rev {
				t.Fatalf("revision %d came after %d", got, rev-1)
			}
		}
		held = append(held, heap()-before)
	}
	// Besides, the newest of the log that is kept for all, what the writer has, and who reads.
	most := slow*slowHolds(bytes) + 2*freshBytes + 2*slowHolds(bytes)
	t.Logf("%d slow subscribers, %d events of %d MiB: held after each %d of them %d MB, at most %d", slow, rev+1,
		bytes>>20, each, megabytes(held), most>>20)
	if n := slices.Max(held); n > most {
		t.Errorf("%d MB are held for %d slow subscribers", n>>20, slow)
	}
	for _, s := range all {
		for want := range rev + 1 {
			if got := nextEvent(t, s.call); got != want {
				t.Fatalf("a slow subscriber got %d, not %d", got, want)
			}
		}
		s.leave()
	}
}

func megabytes(bytes []int) (all []int) {
	for _, n := range bytes {
		all = append(all, n>>20)
	}
	return all
}

// slowSubscriber has a subscription of its own connection, of which it reads nothing.
type slowSubscriber struct {
	call  api.Streams_ReadClient
	leave func()
}

// dawdle subscribes to the whole log, or to a stream, and reads no further than the confirmation.
func (r *rig) dawdle(whole bool) *slowSubscriber {
	r.T.Helper()
	const window = 1 << 16 // fixed, or the client would take more and more on its own account
	c := wire.Dial(r.T, "unix:"+r.socket(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(window))
	leave := func() { _ = c.Conn.Close() } // a second time it says that it is closed
	r.T.Cleanup(leave)
	o := wire.OfStream("s")
	if whole {
		o = wire.Options()
	}
	return &slowSubscriber{(&rig{Client: c}).follow(r.T, o), leave}
}

// follow subscribes for as long as the test lasts, and waits for the confirmation.
func (r *rig) follow(t *testing.T, o *api.ReadReq_Options) api.Streams_ReadClient {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	call, err := r.Streams.Read(ctx, &api.ReadReq{Options: wire.Subscribed(o)})
	if err == nil {
		_, err = call.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	return call
}

// nextEvent is the revision of the next event that comes.
func nextEvent(t *testing.T, call api.Streams_ReadClient) int64 {
	t.Helper()
	for {
		m, err := call.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if e := m.GetEvent(); e != nil {
			return int64(e.GetEvent().GetStreamRevision())
		}
	}
}

// heap is what the process holds in Go's memory, in bytes.
func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
