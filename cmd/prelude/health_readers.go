package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"prelude/internal/api"
	"prelude/internal/eventlog"
	"prelude/projections"
	"prelude/readmodels"
)

// standing is what is remembered of a reader from one look to the next.
type standing struct {
	at    eventlog.Position
	still time.Time // since when it is there although there is something for it; zero: there is nothing
	state string
	since time.Time // since when it is in that state
}

// Why a reader is stalled, and the states of readers that are told as wrong.
const (
	appliesNothing = "it has applied nothing for a while"
	stateStopped   = "stopped"
	stateStalled   = "stalled"
	stateFollowing = "following"
)

// askReaders finds out how far each reader of this program is, whoever feeds it. Where their checkpoints cannot be read
// nobody can tell how they are, and what was known of them holds no more.
func (h *healthChecks) askReaders(ctx context.Context) verdict {
	rows, err := h.server.api.Read.AllProjections(ctx)
	var readers []api.ReaderHealth
	found := verdict{reason: readersUnknown}
	if err == nil {
		readers = h.judgeReaders(ctx, rows)
		found = verdictOf(readers)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.readers = readers
	return found
}

// judgeReaders asks the log side by side how much there is for each reader: each question may take as long as all.
func (h *healthChecks) judgeReaders(ctx context.Context, rows []readmodels.Projection) []api.ReaderHealth {
	checkpoints := make([]readmodels.Projection, len(h.server.readers))
	behind, known := make([]int, len(checkpoints)), make([]bool, len(checkpoints))
	var all sync.WaitGroup
	for i, r := range h.server.readers {
		checkpoints[i] = checkpointOf(rows, r)
		all.Go(func() { behind[i], known[i] = h.behind(ctx, checkpoints[i]) })
	}
	all.Wait()
	readers := make([]api.ReaderHealth, len(checkpoints))
	now := time.Now()
	for i, p := range checkpoints {
		readers[i], h.standing[p.Reader] = h.standing[p.Reader].judge(p, behind[i], known[i], now, h.stalledAfter)
	}
	return readers
}

// checkpointOf is how far a reader is. One that has not begun is at the log's beginning.
func checkpointOf(rows []readmodels.Projection, r projections.Reader) readmodels.Projection {
	i := slices.IndexFunc(rows, func(p readmodels.Projection) bool {
		return p.Reader == r.Name && p.Version == r.Version
	})
	if i < 0 {
		return readmodels.Projection{Reader: r.Name, Version: r.Version}
	}
	return rows[i]
}

// behind counts the events that a reader has not applied, as far as the log tells of them in time; false: it does not.
func (h *healthChecks) behind(ctx context.Context, p readmodels.Projection) (events int, known bool) {
	if h.server.progress.Watched() && h.server.progress.Reached(p.Reader, h.server.progress.Live()) {
		return 0, true // it has applied all that there is for it, wherever its checkpoint is
	}
	events, _, _, err := h.server.looked().lag(ctx, p, mostBehind)
	return events, err == nil || events > 0
}

// judge says how a reader is, and what is to be remembered of it. While nobody knows whether there is something for it,
// what was known before holds.
func (s standing) judge(p readmodels.Projection, behind int, known bool, now time.Time, patience time.Duration,
) (api.ReaderHealth, standing) {
	if s.at != p.Position || known && behind == 0 {
		s.at, s.still = p.Position, time.Time{}
	}
	if behind > 0 && s.still.IsZero() {
		s.still = now
	}
	out := api.ReaderHealth{Name: p.Reader, State: p.State(), Behind: behind}
	if p.Error != "" {
		out.Why = &p.Error
	}
	if out.State != stateStopped && !s.still.IsZero() && now.Sub(s.still) > patience {
		why := appliesNothing
		out.State, out.Why = stateStalled, &why
	}
	if s.state != out.State {
		s.state, s.since = out.State, now
	}
	since := api.NewTime(s.since)
	switch out.State {
	case stateFollowing:
		return out, s
	case stateStalled:
		since = api.NewTime(s.still)
	}
	out.Since = &since
	return out, s
}

// verdictOf names all readers that do nothing although they should. That the log has lost what was built from is said
// once, for all of them, and nothing may be answered from that.
func verdictOf(readers []api.ReaderHealth) verdict {
	var found verdict
	var reasons []string
	for _, r := range readers {
		switch {
		case r.State != stateStopped && r.State != stateStalled:
		case *r.Why != projections.ErrAhead.Error():
			reasons = append(reasons, fmt.Sprintf("the reader %s stands still: %s", r.Name, *r.Why))
		case !found.fatal:
			found.fatal = true
			reasons = append(reasons, *r.Why)
		}
	}
	found.reason = strings.Join(reasons, "; ")
	return found
}
