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
	"prelude/readmodels"
)

// healthChecks keep one picture of the parts, which is refreshed beside the requests that ask for it: each part by a
// probe of its own, so that one that hangs hides no other.
type healthChecks struct {
	server *server
	probes []*probe

	mu      sync.Mutex
	readers []api.ReaderHealth
	stalled map[string]stall
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

// probe is what is known of a part.
type probe struct {
	part  string
	fatal bool   // without it this instance cannot answer
	away  string // the reason where the part does not answer in time
	ask   func(context.Context) string

	mu     sync.Mutex
	began  time.Time // of the question under way; zero: there is none
	reason string    // what is wrong; empty: nothing
	since  time.Time
	round  chan struct{} // closed when the next answer is there
	wanted chan struct{} // told that somebody wants to know
}

func newHealthChecks(s *server) *healthChecks {
	h := &healthChecks{server: s, stalled: map[string]stall{}}
	add := func(part, away string, fatal bool, ask func(context.Context) string) {
		h.probes = append(h.probes, &probe{part: part, fatal: fatal, away: away, ask: ask,
			round: make(chan struct{}), wanted: make(chan struct{}, 1)})
	}
	add(storePart, "the event store does not answer", true, h.askStore)
	add("database", "the database does not answer", true, func(ctx context.Context) string {
		if postgres.Ready(ctx, s.pool) != nil {
			return "the database does not answer"
		}
		return ""
	})
	add("readers", "how the readers are is not known", false, h.askReaders)
	if s.index != nil {
		add("search", "OpenSearch does not answer: Postgres searches", false, func(ctx context.Context) string {
			switch {
			case s.index.Ready(ctx) != nil:
				return "OpenSearch does not answer: Postgres searches"
			case !s.progress.Whole(projections.IndexReader):
				return "the index is being built: Postgres searches"
			}
			return ""
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
	reason := p.ask(asking)
	cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.began = time.Time{}
	if reason != "" && p.reason == "" {
		p.since = time.Now()
	}
	p.reason = reason
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

// wrong is what is wrong with the part; false: nothing.
func (p *probe) wrong() (api.WrongPart, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := api.WrongPart{Part: p.part, Reason: p.reason, Since: api.NewTime(p.since), Fatal: p.fatal}
	if !p.began.IsZero() && time.Since(p.began) > probeWithin+pictureWithin && p.reason == "" {
		w.Reason, w.Since = p.away, api.NewTime(p.began)
	}
	return w, w.Reason != ""
}

// Picture is how this instance is. It waits a moment for the parts to answer, and does not depend on that they do.
func (h *healthChecks) Picture(ctx context.Context) api.Health {
	late := time.NewTimer(pictureWithin)
	defer late.Stop()
wait:
	for _, p := range h.probes {
		select {
		case <-p.next():
		case <-late.C:
			break wait
		case <-ctx.Done():
			break wait
		}
	}
	out := api.Health{Wrong: []api.WrongPart{}, Readers: []api.ReaderHealth{},
		EventStore: api.StoreHealth{State: string(h.server.store.State().Role)}}
	if !h.server.ready.Load() {
		out.Wrong = append(out.Wrong, api.WrongPart{Part: "server", Reason: "starting or stopping",
			Since: api.NewTime(time.UnixMilli(h.server.turned.Load())), Fatal: true})
	}
	for _, p := range h.probes {
		w, is := p.wrong()
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
	for i := range out.Wrong {
		out.Wrong[i].Fatal = out.Wrong[i].Fatal || out.Wrong[i].Reason == projections.ErrAhead.Error()
	}
	if slices.ContainsFunc(out.Wrong, func(w api.WrongPart) bool { return w.Part == storePart }) {
		out.EventStore.State = string(eventstore.None)
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
func (h *healthChecks) askStore(ctx context.Context) string {
	if err := h.server.store.Ready(ctx); err != nil {
		return storeReason(err)
	}
	return ""
}

// storeReason is a fault of the store in words for people.
func storeReason(err error) string {
	if r := eventstore.ReasonOf(err); r != nil {
		return "the event store does not answer: " + r.Text
	}
	return "the event store does not answer"
}

// stall is where a reader stands still.
type stall struct {
	at    uint64
	since time.Time
}

// askReaders looks how far each reader of this program is, whoever feeds it.
func (h *healthChecks) askReaders(ctx context.Context) string {
	all, err := h.server.api.Read.AllProjections(ctx)
	if err != nil {
		return "" // that the database is away is told of that
	}
	var readers []api.ReaderHealth
	worst := ""
	for _, r := range h.server.readers {
		i := slices.IndexFunc(all, func(p readmodels.Projection) bool {
			return p.Reader == r.Name && p.Version == r.Version
		})
		if i < 0 {
			continue // it has not begun
		}
		one := h.look(ctx, all[i])
		readers = append(readers, one)
		switch {
		case one.Why == projections.ErrAhead.Error():
			worst = one.Why
		case (one.State == "stopped" || one.State == "stalled") && worst == "":
			worst = "the reader " + one.Name + " stands still: " + one.Why
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.readers = readers
	return worst
}

// look says how a reader is. One that has applied all there is for it follows, wherever its checkpoint stands.
func (h *healthChecks) look(ctx context.Context, p readmodels.Projection) api.ReaderHealth {
	out := api.ReaderHealth{Name: p.Reader, State: p.State(), Why: p.Error}
	head := h.server.progress.Live()
	still := h.stalled[p.Reader]
	if h.server.progress.Reached(p.Reader, head) && p.Error == "" {
		delete(h.stalled, p.Reader)
		return out
	}
	if still.since.IsZero() || still.at != uint64(p.Position) {
		still = stall{uint64(p.Position), time.Now()}
		h.stalled[p.Reader] = still
	}
	if events, _, ours, err := h.server.looked().lag(ctx, p, mostBehind); err == nil && ours {
		out.Behind = events
	}
	if out.Behind > 0 && out.State != "stopped" && time.Since(still.since) > stalledAfter {
		out.State, out.Why = "stalled", "it has applied nothing for a while"
	}
	if out.State != "following" {
		since := api.NewTime(still.since)
		out.Since = &since
	}
	return out
}
