package esnode

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"

	"prelude/test/conformance/wire"
)

// What docs/speed.md says that a node takes at most, while all is read and while so many streams are
// written. The short form allows for the race detector.
const (
	promisedReading = 80 << 20
	promisedWriting = 160 << 20
)

// sizeOfStream is how many events a stream has: of the largest log, a million streams.
const sizeOfStream = 5

// A log may grow, in events and in streams, without the node growing, or its start taking longer. It does
// not run beside other tests: it looks at the memory of the process.
func TestSize(t *testing.T) {
	few, many, leeway := 10_000, 50_000, 5
	if torture() {
		many, leeway = 5_000_000, 1
	}
	small, large := newStoppedRig(t), newStoppedRig(t)
	small.grow(t, few)
	began := time.Now()
	filling := large.grow(t, many)
	filled := time.Since(began)
	fast, slow := small.startTime(t), large.startTime(t)
	debug.FreeOSMemory() // of what the filling left, nothing is the reader's
	large.start(t)
	before, peak := memory(t), 0
	seen := 0
	began = time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	call, err := large.Streams.Read(ctx, &api.ReadReq{Options: wire.Subscribed(wire.Options())})
	for err == nil {
		var m *api.ReadResp
		if m, err = call.Recv(); err != nil || m.GetCaughtUp() != nil {
			break
		}
		if m.GetEvent() == nil {
			continue
		}
		if seen++; seen%(many/20) == 0 {
			peak = max(peak, memory(t))
		}
	}
	took := time.Since(began)
	cancel()
	if err != nil || seen != many {
		t.Fatalf("%d events of %d came, %v", seen, many, err)
	}
	after := memory(t)
	bytes, err := size(filepath.Join(large.dir, logFile))
	large.stop()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d events of %d streams, %d B each: file %d MB, filled in %s; start with %d events %s, with %d %s; "+
		"catch-up in %s (%.0f events/s); resident while it was filled %d MB, before %d MB, at most %d MB, after %d MB",
		many, many/sizeOfStream, len(payload), bytes>>20, filled.Round(time.Millisecond), few, fast, many, slow,
		took.Round(time.Millisecond), float64(many)/took.Seconds(),
		filling>>20, before>>20, peak>>20, after>>20)
	if limit := 2*fast + 50*time.Millisecond; slow > limit {
		t.Errorf("the start takes %s with %d events, more than %s", slow, many, limit)
	}
	if most := max(peak, after); most > leeway*promisedReading {
		t.Errorf("it takes %d MB of memory to read all", most>>20)
	}
	if filling > leeway*promisedWriting {
		t.Errorf("it takes %d MB of memory to write all", filling>>20)
	}
}

// grow fills the log, says how much memory the process has then, and stops.
func (r *rig) grow(t *testing.T, count int) int {
	t.Helper()
	r.start(t)
	defer r.stop()
	fill(t, r.node, count/sizeOfStream, count)
	return memory(t)
}

// startTime is the shortest of some starts: what the machine does besides makes one longer.
func (r *rig) startTime(t *testing.T) time.Duration {
	t.Helper()
	best := time.Hour
	for range 5 {
		began := time.Now()
		r.start(t)
		best = min(best, time.Since(began))
		r.stop()
	}
	return best
}

// memory is what the process has resident, SQLite's part too, in bytes.
func memory(t *testing.T) int {
	t.Helper()
	runtime.GC()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		unable(t, "nothing says here how much memory a process has: %v", err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	fields := strings.Fields(rest)
	n, err := strconv.Atoi(fields[0])
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}
