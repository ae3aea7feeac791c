package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"prelude/internal/api"
	"prelude/internal/eventstore"
	"prelude/internal/postgres"
	"prelude/projections"
)

// healthChecks keep one picture of the parts, which is refreshed beside the requests that ask for it: each part by a
// probe of its own, so that one that hangs hides no other.
type healthChecks struct {
	server *server
	probes []*probe

	stalledAfter time.Duration // as the constant, but in tests

	mu       sync.Mutex
	readers  []api.ReaderHealth
	standing map[string]standing // by readers
}

const (
	// probeEvery is how often a part is asked, whether anybody wants to know or not.
	probeEvery = time.Second
	// probeWithin is how long a part may take to answer until it counts as away.
	probeWithin = 800 * time.Millisecond
	// pictureWithin is how long a request waits for a newer picture than there is.
	pictureWithin = 60 * time.Millisecond
	// stalledAfter is how long a reader stands still, while there is something for it, until it is said.
	stalledAfter = 10 * time.Second
	// mostBehind is how many events are counted of what a reader has not applied.
	mostBehind = 1000
)

// startingOrStopping is why a server is not ready whose parts are well.
const startingOrStopping = "starting or stopping"

// Why a part is away that does not answer, or not in time.
const (
	databaseAway   = "the database does not answer"
	readersUnknown = "how the readers are is not known"
	indexAway      = "OpenSearch does not answer: Postgres searches"
)

// probe is what is known of a part.
type probe struct {
	part  string
	fatal bool   // without it this instance cannot answer
	away  string // the reason where the part does not answer in time
	ask   func(context.Context) verdict

	mu     sync.Mutex
	began  time.Time     // of the question under way; zero: there is none
	wrong  verdict       // of the last question
	since  time.Time     // since when something is wrong
	round  chan struct{} // closed when the next answer is there
	wanted chan struct{} // told that somebody wants to know
}

// verdict is what a question found.
type verdict struct {
	reason string // what is wrong; empty: nothing
	fatal  bool   // because of it this instance cannot answer, whatever else holds of the part
}

func newHealthChecks(s *server) *healthChecks {
	h := &healthChecks{server: s, stalledAfter: stalledAfter, standing: map[string]standing{}}
	add := func(part, away string, fatal bool, ask func(context.Context) verdict) {
		h.probes = append(h.probes, &probe{part: part, fatal: fatal, away: away, ask: ask,
			round: make(chan struct{}), wanted: make(chan struct{}, 1)})
	}
	add(storePart, "the event store does not answer", true, h.askStore)
	add("database", databaseAway, true, func(ctx context.Context) verdict {
		if postgres.Ready(ctx, s.pool) != nil {
			return verdict{reason: databaseAway}
		}
		return verdict{}
	})
	add("readers", readersUnknown, false, h.askReaders)
	if s.index != nil {
		add("search", indexAway, false, func(ctx context.Context) verdict {
			switch {
			case s.index.Ready(ctx) != nil:
				return verdict{reason: indexAway}
			case !s.progress.Whole(projections.IndexReader):
				return verdict{reason: "the index is being built: Postgres searches"}
			}
			return verdict{}
		})
	}
	return h
}

// Run asks all parts, again and again, until the context ends.
func (h *healthChecks) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for _, p := range h.probes {
		all.Go(func() { p.run(ctx) })
	}
	all.Wait()
	return context.Cause(ctx)
}

func (p *probe) run(ctx context.Context) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		p.once(ctx)
		select {
		case <-tick.C:
		case <-p.wanted:
		case <-ctx.Done():
			return
		}
	}
}

// once asks the part. One that hangs beyond its time is asked again only when it has answered: it is told as away
// meanwhile.
func (p *probe) once(ctx context.Context) {
	p.mu.Lock()
	p.began = time.Now()
	p.mu.Unlock()
	asking, cancel := context.WithTimeout(ctx, probeWithin)
	found := p.ask(asking)
	cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.began = time.Time{}
	if found.reason != "" && p.wrong.reason == "" {
		p.since = time.Now()
	}
	p.wrong = found
	close(p.round)
	p.round = make(chan struct{})
}

// next is closed when an answer to a question is there that is asked now, or was asked just before.
func (p *probe) next() <-chan struct{} {
	select {
	case p.wanted <- struct{}{}:
	default: // it is told already
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.round
}

// state is what is wrong with the part; false: nothing.
func (p *probe) state() (api.WrongPart, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := api.WrongPart{Part: p.part, Reason: p.wrong.reason, Since: api.NewTime(p.since), Fatal: p.fatal || p.wrong.fatal}
	if !p.began.IsZero() && time.Since(p.began) > probeWithin+pictureWithin && p.wrong.reason == "" {
		w.Reason, w.Since = p.away, api.NewTime(p.began)
	}
	return w, w.Reason != ""
}

// Picture is how this instance is. It waits a moment for the parts to answer, and does not depend on that they do.
func (h *healthChecks) Picture(ctx context.Context) api.Health {
	late := time.NewTimer(pictureWithin)
	defer late.Stop()
	var rounds []<-chan struct{}
	for _, p := range h.probes { // all are told before one is waited for: that one may hang
		rounds = append(rounds, p.next())
	}
wait:
	for _, round := range rounds {
		select {
		case <-round:
		case <-late.C:
			break wait
		case <-ctx.Done():
			break wait
		}
	}
	out := api.Health{Wrong: []api.WrongPart{}, Readers: []api.ReaderHealth{},
		EventStore: api.StoreHealth{State: roleTold(h.server.store.State().Role)}}
	if !h.server.ready.Load() {
		out.Wrong = append(out.Wrong, api.WrongPart{Part: "server", Reason: startingOrStopping,
			Since: api.NewTime(time.UnixMilli(h.server.turned.Load())), Fatal: true})
	}
	for _, p := range h.probes {
		w, is := p.state()
		if !is && p.part == storePart {
			w, is = h.storeNow(w)
		}
		if is {
			out.Wrong = append(out.Wrong, w)
		}
	}
	h.mu.Lock()
	out.Readers = append(out.Readers, h.readers...)
	h.mu.Unlock()
	if slices.ContainsFunc(out.Wrong, func(w api.WrongPart) bool { return w.Part == storePart }) {
		out.EventStore.State = roleTold(eventstore.None)
	}
	out.Judge()
	return out
}

// storeNow is what other calls have met meanwhile. What is over in a moment, as a change of the leader is, is not told.
func (h *healthChecks) storeNow(w api.WrongPart) (api.WrongPart, bool) {
	state := h.server.store.State()
	if state.Reason == nil || time.Since(state.Since) < toldAfter {
		return w, false
	}
	w.Reason, w.Since = storeReason(state.Reason), api.NewTime(state.Since)
	return w, true
}

// toldAfter is how long a fault of the store may last without being told.
const toldAfter = 200 * time.Millisecond

// storePart is the event store as it is told of.
const storePart = "event_store"

// askStore tries to read and to append, and says why where that cannot be done.
func (h *healthChecks) askStore(ctx context.Context) verdict {
	if err := h.server.store.Ready(ctx); err != nil {
		return verdict{reason: storeReason(err)}
	}
	return verdict{}
}

// roleTold is the role of a node as answers have it. A replica, which only reads, follows as far as callers are
// concerned.
func roleTold(r eventstore.Role) string {
	if r == eventstore.Replica {
		r = eventstore.Follower
	}
	return string(r)
}

// storeReason is a fault of the store in words for people.
func storeReason(err error) string {
	if r := eventstore.ReasonOf(err); r != nil {
		return "the event store does not answer: " + r.Text
	}
	return "the event store does not answer"
}
