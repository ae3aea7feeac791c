package main

import (
	"fmt"
	"time"

	"prelude/internal/eventlog"
)

// gauge tells how far something long has come, pass by pass, and how long the pass will still take. What is done
// quickly it says nothing of. A nil one tells nothing.
type gauge struct {
	s     streams
	what  string
	pass  string
	began time.Time // the pass
	told  time.Time
	now   func() time.Time
}

// gaugePause is how often people are told.
const gaugePause = 2 * time.Second

func newGauge(s streams, what string) *gauge {
	g := &gauge{s: s, what: what, now: time.Now}
	g.began = g.now()
	g.told = g.began
	return g
}

// tell takes how much of a pass is done of how much; 0 of 0: the pass has begun, and will not say.
func (g *gauge) tell(pass string, done, total int64) {
	if g == nil {
		return
	}
	now := g.now()
	if pass != g.pass {
		g.began, g.pass = now, pass
	}
	if now.Sub(g.told) < g.s.pause {
		return
	}
	what := g.what + ", " + pass
	switch {
	case total == 0:
		fmt.Fprintf(g.s.err, "%s: it does not tell how long this takes\n", what)
	case done <= 0 || total < 0:
		return
	default:
		done = min(done, total)
		left := time.Duration(float64(now.Sub(g.began)) * float64(total-done) / float64(done))
		fmt.Fprintf(g.s.err, "%s: %d %%, %s left\n", what, 100*done/total, left.Round(time.Second))
	}
	g.told = now
}

// reads is tell for a pass that reads a log, up to a position.
func (g *gauge) reads(pass string, at, end eventlog.Position) {
	if end > 0 {
		g.tell(pass, int64(at), int64(end))
	}
}
