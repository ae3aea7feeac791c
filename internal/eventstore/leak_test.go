package eventstore_test

import (
	"bytes"
	"context"
	"regexp"
	"runtime/pprof"
	"strconv"
	"time"

	"prelude/internal/eventlog"
)

// asGuard does something of which all goroutines that it starts, and those that they start, are counted
// as the guard's.
func (r *rig) asGuard(do func()) {
	pprof.Do(context.Background(), pprof.Labels("guard", r.dir), func(context.Context) { do() })
}

// goroutines is how many there are of the guard's.
func (r *rig) goroutines() (n int) {
	r.t.Helper()
	var all bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&all, 1); err != nil {
		r.t.Fatal(err)
	}
	// Those that are at the same place stand in one block: their number, where they are, their labels.
	ours := regexp.MustCompile(`(?m)^(\d+) @.*\n# labels: .*` + regexp.QuoteMeta(strconv.Quote(r.dir)))
	for _, m := range ours.FindAllSubmatch(all.Bytes(), -1) {
		count, err := strconv.Atoi(string(m[1]))
		if err != nil {
			r.t.Fatal(err)
		}
		n += count
	}
	return n
}

// warm uses the guard once in each way, and counts what it then has at rest.
func (r *rig) warm(ctx context.Context) {
	r.t.Helper()
	r.asGuard(func() {
		if _, err := r.store.Append(ctx, "warm", eventlog.None, events(1)); err != nil {
			r.t.Error(err)
		}
		for s, err := range r.store.Subscribe(ctx, 0, eventlog.Filter{Prefixes: []string{"warm"}}) {
			if err != nil {
				r.t.Error(err)
			}
			if s.Kind == eventlog.CaughtUp {
				break
			}
		}
	})
	// What the subscription had ends by itself.
	r.steady = r.goroutines()
	for range 20 {
		<-time.After(10 * time.Millisecond)
		r.steady = min(r.steady, r.goroutines())
	}
	if r.steady == 0 {
		r.t.Error("no goroutine of the guard's is found")
	}
}

// ofLink is how many connections a link keeps: one for calls that are soon over, and one for those that stay.
const ofLink = 2

// leaked is how many connections there are besides the one in use, and how many goroutines besides those
// of the guard at rest. Those that were given up need a moment to end.
func (r *rig) leaked() (connections, goroutines int) {
	r.t.Helper()
	late := time.After(5 * time.Second)
	for {
		connections, goroutines = max(r.proxy.Connections()-ofLink, 0), max(r.goroutines()-r.steady, 0)
		if connections+goroutines == 0 {
			return 0, 0
		}
		select {
		case <-late:
			return connections, goroutines
		case <-time.After(50 * time.Millisecond):
		}
	}
}
