package main

import (
	"fmt"
	"io"
	"time"
)

// gauge tells how far something long has come, and how long it will still take. What is done quickly it says
// nothing of.
type gauge struct {
	out   io.Writer
	what  string
	began time.Time
	told  time.Time
	now   func() time.Time
}

const gaugePause = 2 * time.Second

func newGauge(out io.Writer, what string) *gauge {
	g := &gauge{out: out, what: what, now: time.Now}
	g.began = g.now()
	g.told = g.began
	return g
}

// tell takes how much is done of how much.
func (g *gauge) tell(done, total int64) {
	now := g.now()
	if now.Sub(g.told) < gaugePause || done <= 0 || total <= 0 {
		return
	}
	g.told = now
	done = min(done, total)
	left := time.Duration(float64(now.Sub(g.began)) * float64(total-done) / float64(done))
	fmt.Fprintf(g.out, "%s: %d %%, %s left\n", g.what, 100*done/total, left.Round(time.Second))
}
