package domaintest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// Step is one decision of a walk and what came of it.
type Step[S, E any] struct {
	Before  S
	Events  []E
	After   S
	History []E // all events so far, these included
	At      int // the number of the step, from 1
}

// Walk lets random decisions, valid and invalid ones, follow each other. It shows that a refusal comes
// without events, that a decision repeated decides nothing, that nothing changes a state in place,
// and that folding a history in two pieces gives what folding it at once does. Check holds each step
// against the invariants.
func Walk[S Aggregate[S, E], E any](
	t *testing.T, decide func(t *rapid.T, step int) Decision[S, E],
	check func(t *rapid.T, step Step[S, E]),
) {
	t.Helper()
	rapid.Check(t, func(t *rapid.T) {
		var state S
		var history []E
		for n := range rapid.IntRange(1, 25).Draw(t, "steps") {
			step := walk(t, state, history, n+1, decide(t, n+1))
			check(t, step)
			state, history = step.After, step.History
		}
		cut := rapid.IntRange(0, len(history)).Draw(t, "cut")
		if diff := cmp.Diff(state, From(Fold[S](history[:cut]...), history[cut:]...)); diff != "" {
			t.Fatalf("folded in two pieces (-at once +in pieces):\n%s", diff)
		}
	})
}

func walk[S Aggregate[S, E], E any](t *rapid.T, before S, history []E, n int, d Decision[S, E],
) Step[S, E] {
	events, err := d(before)
	if err != nil && len(events) > 0 {
		t.Fatalf("refused with %v, and decided %+v", err, events)
	}
	after := From(before, events...)
	if again, _ := d(after); len(again) > 0 {
		t.Fatalf("the same decision again decides %+v", again)
	}
	if diff := cmp.Diff(Fold[S](history...), before); diff != "" {
		t.Fatalf("a state was changed in place (-was +is):\n%s", diff)
	}
	all := append(append([]E(nil), history...), events...)
	return Step[S, E]{Before: before, Events: events, After: after, History: all, At: n}
}
