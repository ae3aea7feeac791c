package eventstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"prelude/internal/eventlog"
	"prelude/internal/eventstore"
	"prelude/internal/eventstore/storetest"
)

const (
	tortureWriters = 8
	tortureReaders = 2
	// tortureEach is about how many events a stream gets before its writers go on to the next.
	tortureEach = 200
	// hungAfter is how much later than its context a call has to end to count as hung.
	hungAfter = time.Second
)

// tortureBound is how long after the store is back nobody may wait for an answer. The promise is 10 s, which the long
// form holds; the short one shares the machine with all other tests.
var tortureBound = storetest.Scale(50*time.Second, 10*time.Second)

// party is one that goes on through all troubles.
type party struct {
	kind string    // writer, reader or subscription
	last time.Time // when it was last answered
}

// workload is writers, readers and subscriptions that go on while something is done to the store, and what they were
// told.
type workload struct {
	t      *testing.T
	store  *eventstore.Store // the one that is tried
	direct *eventstore.Store // straight to the node
	began  time.Time
	stop   chan struct{}
	writes sync.WaitGroup // who writes
	work   sync.WaitGroup // who does something else
	cancel context.CancelFunc
	ctx    context.Context // of subscriptions

	mu           sync.Mutex
	parties      []*party
	away         bool      // the store is being troubled
	back         time.Time // when it last was not any more
	longest      map[string]time.Duration
	acknowledged map[uuid.UUID]eventlog.Raw
	order        []uuid.UUID
	unknown      map[uuid.UUID]bool // given up by who appended them
	refused      map[uuid.UUID]bool
	heads        map[string]eventlog.Revision // that were acknowledged, by stream
	streams      []string
	appends      int
	reads        int
	hung         int
	latest       time.Duration // after its context, of any call
	seen         []*seenAll
}

// seenAll is what a subscription was given.
type seenAll struct {
	prefix string
	lasts  int // events of the type last.v1 that end it
	ids    []uuid.UUID
	at     eventlog.Position
}

// newWorkload begins to write, read and follow.
func newWorkload(t *testing.T, s, direct *eventstore.Store, seed uint64) *workload {
	t.Helper()
	w := &workload{t: t, store: s, direct: direct, began: time.Now(), back: time.Now(), stop: make(chan struct{}),
		longest: map[string]time.Duration{}, acknowledged: map[uuid.UUID]eventlog.Raw{}, unknown: map[uuid.UUID]bool{},
		refused: map[uuid.UUID]bool{}, heads: map[string]eventlog.Revision{}}
	w.ctx, w.cancel = context.WithCancel(t.Context())
	for n := range tortureWriters {
		base := fmt.Sprint("s-own-", n)
		if n >= tortureWriters/2 {
			base = fmt.Sprint("s-shared-", n%2)
		}
		w.begin("writer", func(p *party) { w.write(p, base, rand.New(rand.NewPCG(seed, uint64(n)))) })
	}
	for n := range tortureReaders {
		w.begin("reader", func(p *party) { w.read(p, rand.New(rand.NewPCG(seed, uint64(100+n)))) })
	}
	w.seen = []*seenAll{{prefix: "s-", lasts: 2}, {prefix: "s-own-", lasts: 1}, {prefix: "s-shared-", lasts: 1}}
	for n, all := range w.seen {
		stays := n < 2
		w.begin("subscription", func(p *party) { w.follow(p, all, stays, rand.New(rand.NewPCG(seed, uint64(200+n)))) })
	}
	return w
}

func (w *workload) begin(kind string, work func(*party)) {
	p := &party{kind: kind, last: time.Now()}
	w.parties = append(w.parties, p)
	if kind == "writer" {
		w.writes.Go(func() { work(p) })
		return
	}
	w.work.Go(func() { work(p) })
}

// beat notes that a party was answered. Time in which the store was away does not count.
func (w *workload) beat(p *party) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.away {
		w.waited(p)
	}
	if p.last = time.Now(); p.kind == "reader" {
		w.reads++
	}
}

// waited notes how long a party has waited for its answer. The lock must be held.
func (w *workload) waited(p *party) {
	since := p.last
	if w.back.After(since) {
		since = w.back
	}
	w.longest[p.kind] = max(w.longest[p.kind], time.Since(since))
}

// leaves begins a trouble.
func (w *workload) leaves() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.away {
		for _, p := range w.parties {
			w.waited(p)
		}
	}
	w.away = true
}

// returns ends it: from now on everybody must be answered in time.
func (w *workload) returns() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.away, w.back = false, time.Now()
}

// steady waits until all have been answered since the store is back. False: somebody is not, for longer than any bound.
func (w *workload) steady() bool {
	late := time.After(max(2*tortureBound, time.Minute))
	for {
		stuck := w.stuck()
		if len(stuck) == 0 {
			return true
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-late:
			w.t.Errorf("nothing was answered since the store is back: %v", stuck)
			return false
		}
	}
}

// stuck are the parties that were not answered since the store is back, or that it is still said to be away.
func (w *workload) stuck() (all []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, p := range w.parties {
		if !p.last.After(w.back) {
			all = append(all, fmt.Sprint(p.kind, " ", i))
		}
	}
	if state := w.store.State(); len(all) == 0 && state.Reason != nil {
		all = append(all, "the state: "+state.Reason.Error())
	}
	return all
}

// trouble lets one trouble come and go.
func (w *workload) trouble(away func(), lasts time.Duration, back func()) bool {
	w.leaves()
	away()
	<-time.After(lasts)
	back()
	w.returns()
	return w.steady()
}

func (w *workload) stopped() bool {
	select {
	case <-w.stop:
		return true
	default:
		return false
	}
}

// call makes a call with a time of its own, mostly a long one, and notes whether it ended with that.
func (w *workload) call(rng *rand.Rand, do func(context.Context) error) error {
	patience := 30 * time.Second
	if rng.IntN(4) == 0 {
		patience = time.Duration(20+rng.IntN(2000)) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.t.Context()), patience)
	defer cancel()
	began := time.Now()
	err := do(ctx)
	late := time.Since(began) - patience
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.latest = max(w.latest, late); late > hungAfter {
		w.hung++
	}
	return err
}

// write appends to one stream after another, at exact revisions, until it is told to stop.
func (w *workload) write(p *party, base string, rng *rand.Rand) {
	for n, at := 0, eventlog.None; !w.stopped(); {
		stream, some := fmt.Sprint(base, "-", n), events(1+rng.IntN(3))
		done, err := w.insist(stream, at, some, rng)
		switch {
		case err == nil:
			w.acknowledge(stream, at, done, some)
			w.beat(p)
			at = done.Revision
		case errors.Is(err, eventlog.ErrMoved):
			w.note(w.refused, some)
			at = w.tail(stream, rng)
		case errors.Is(err, eventlog.ErrUnavailable):
			w.note(w.unknown, some)
			at = w.tail(stream, rng)
		default:
			w.t.Errorf("append to %s: %v", stream, err)
			return
		}
		if at >= tortureEach {
			n, at = n+1, eventlog.None
		}
		select {
		case <-time.After(time.Duration(rng.IntN(20)) * time.Millisecond):
		case <-w.stop:
		}
	}
}

// insist appends until the outcome is known, or, now and then, gives the append up.
func (w *workload) insist(stream string, at eventlog.Revision, some []eventlog.Proposed, rng *rand.Rand,
) (done eventlog.Appended, err error) {
	for {
		err = w.call(rng, func(ctx context.Context) (err error) {
			done, err = w.store.Append(ctx, stream, at, some)
			return err
		})
		if !errors.Is(err, eventlog.ErrUnavailable) || rng.IntN(8) == 0 {
			return done, err
		}
	}
}

// tail is the revision of a stream's last event, however long it takes to hear of it.
func (w *workload) tail(stream string, rng *rand.Rand) eventlog.Revision {
	for {
		at := eventlog.None
		err := w.call(rng, func(ctx context.Context) error {
			for e, err := range w.store.Read(ctx, stream, eventlog.Last, eventlog.Backwards, 1) {
				if err != nil {
					return err
				}
				at = e.Revision
			}
			return nil
		})
		switch {
		case err == nil:
			return at
		case !errors.Is(err, eventlog.ErrUnavailable):
			w.t.Errorf("read the end of %s: %v", stream, err)
			return at
		}
	}
}

func (w *workload) note(in map[uuid.UUID]bool, some []eventlog.Proposed) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range some {
		in[e.ID] = true
	}
}

func (w *workload) acknowledge(stream string, at eventlog.Revision, done eventlog.Appended, some []eventlog.Proposed) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.appends++
	for i, e := range some {
		w.acknowledged[e.ID] = eventlog.Raw{ID: e.ID, Stream: stream, Revision: at + 1 + eventlog.Revision(i)}
		w.order = append(w.order, e.ID)
	}
	if _, known := w.heads[stream]; !known {
		w.streams = append(w.streams, stream)
		w.heads[stream] = eventlog.None
	}
	w.heads[stream] = max(w.heads[stream], done.Revision)
}

// read reads whole streams until it is told to stop: each event must be there once, in order, and all that was
// acknowledged before.
func (w *workload) read(p *party, rng *rand.Rand) {
	for !w.stopped() {
		stream, least := w.written(rng)
		next := eventlog.Revision(0)
		err := w.call(rng, func(ctx context.Context) error {
			for e, err := range w.store.Read(ctx, stream, 0, eventlog.Forwards, 0) {
				if err != nil {
					return err
				}
				if e.Revision != next {
					w.t.Errorf("%s: revision %d is read where %d is due", stream, e.Revision, next)
				}
				next = e.Revision + 1
			}
			return nil
		})
		switch {
		case err == nil && next <= least:
			w.t.Errorf("%s: %d events are read, and revision %d was acknowledged", stream, next, least)
		case err == nil:
			w.beat(p)
		case !errors.Is(err, eventlog.ErrUnavailable):
			w.t.Errorf("read %s: %v", stream, err)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-w.stop:
		}
	}
}

// written is a stream, mostly a new one, and its last revision that was acknowledged.
func (w *workload) written(rng *rand.Rand) (string, eventlog.Revision) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.streams) == 0 {
		return "s-none", eventlog.None
	}
	from := 0
	if rng.IntN(4) > 0 {
		from = max(0, len(w.streams)-6)
	}
	stream := w.streams[from+rng.IntN(len(w.streams)-from)]
	return stream, w.heads[stream]
}

// follow subscribes, once for all or again and again from where it was, until the last events are there.
func (w *workload) follow(p *party, all *seenAll, stays bool, rng *rand.Rand) {
	for lasts := 0; lasts < all.lasts && w.ctx.Err() == nil; {
		some := 1 + rng.IntN(100)
		for s, err := range w.store.Subscribe(w.ctx, all.at, eventlog.Filter{Prefixes: []string{all.prefix}}) {
			if err != nil {
				if w.ctx.Err() == nil {
					w.t.Errorf("subscribe to %s: %v", all.prefix, err)
				}
				return
			}
			if s.Kind != eventlog.Event {
				continue
			}
			w.beat(p)
			if s.Position <= all.at {
				w.t.Errorf("%s: position %d comes after %d", all.prefix, s.Position, all.at)
			}
			all.ids, all.at = append(all.ids, s.Raw.ID), s.Position
			if s.Raw.Type == "last.v1" {
				lasts++
			}
			if some--; lasts == all.lasts || some <= 0 && !stays {
				break
			}
		}
	}
}
