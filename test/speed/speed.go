// Package speed says how fast something is, beside a baseline that was measured in the same run, and holds both
// against the goals. Its lines are what make bench makes a table of.
package speed

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// Full says that the sizes of the goals are measured (make bench), and not small ones. Then nothing fails: what is
// missed stands in the table. Else what misses a goal five times over fails, so that a busy machine fails nobody.
func Full() bool { return os.Getenv("PRELUDE_BENCH") != "" }

const slack = 5

// Size is small, or full where the goals are measured.
func Size(small, full int) int {
	if Full() {
		return full
	}
	return small
}

// Goal is a bound on a measured value.
type Goal struct {
	Name  string // of the value: "× the baseline", "events/s", "p50 ms"
	Value float64
	Least float64 // at least that much; 0: no such bound
	Most  float64 // at most that much; 0: no such bound
	Quiet bool    // it says something only where nothing else runs, as in make bench
}

// Report prints a line for the table and holds the goals, each to its bound. The figure is what was measured, in words.
func Report(t testing.TB, what, figure string, goals ...Goal) {
	t.Helper()
	cells := make([]string, len(goals))
	for i, g := range goals {
		bound, met := fmt.Sprintf("≥ %s", number(g.Least)), g.Value >= g.Least
		bad := g.Value < g.Least/slack
		if g.Most > 0 {
			bound, met, bad = fmt.Sprintf("≤ %s", number(g.Most)), g.Value <= g.Most, g.Value > g.Most*slack
		}
		word := "met"
		if !met {
			word = "missed"
		}
		cells[i] = fmt.Sprintf("%s %s (%s, %s)", number(g.Value), g.Name, bound, word)
		if bad && !g.Quiet && !Full() {
			t.Errorf("%s: %s %s, and the goal is %s", what, number(g.Value), g.Name, bound)
		}
	}
	t.Logf("SPEED | %s | %s | %s |", what, figure, strings.Join(cells, "; "))
}

// number writes a value with three digits that count.
func number(v float64) string {
	switch {
	case v >= 1000:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// Quantile gives the value below which a part of all lies.
func Quantile(all []time.Duration, part float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)-1, int(part*float64(len(sorted))))]
}

// Milliseconds is a duration as a number.
func Milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
