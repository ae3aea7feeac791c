package commands

import (
	"context"
	"math/rand/v2"
	"time"
)

// Retry says how something is tried again: after pauses that double from First to Most, each shortened at random by
// up to a half, so that those who failed together do not meet again.
type Retry struct {
	First, Most time.Duration
	// For is how long it is tried where the context has no deadline; 0: as long as the context lasts.
	For time.Duration
}

// retrying is a Retry under way.
type retrying struct {
	pause, most time.Duration
	until       time.Time // zero: no bound but the context's
}

func (r Retry) begin(ctx context.Context) *retrying {
	t := &retrying{pause: r.First, most: r.Most}
	if _, bounded := ctx.Deadline(); !bounded && r.For > 0 {
		t.until = time.Now().Add(r.For)
	}
	return t
}

// wait pauses before the next attempt; false: there is no time for one.
func (t *retrying) wait(ctx context.Context) bool {
	pause := t.pause/2 + rand.N(t.pause/2+1) //nolint:gosec // a pause, not a secret
	t.pause = min(2*t.pause, t.most)
	if !t.until.IsZero() && time.Now().Add(pause).After(t.until) {
		return false
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
