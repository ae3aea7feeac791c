// Package domaintest runs the tests of aggregates: cases that read given events, decision, events, and
// random walks that hold every state against its invariants. Only tests may import it.
package domaintest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"prelude/domain"
)

// Aggregate is a value that events change.
type Aggregate[S, E any] interface{ Evolve(e E) S }

// Decision is one decision with its arguments.
type Decision[S, E any] func(S) ([]E, error)

// Case is one decision: given what happened, when it is made, then these events, or a refusal.
type Case[S Aggregate[S, E], E any] struct {
	Name    string // what is seen, as a sentence
	Given   []E
	When    Decision[S, E]
	Then    []E
	Refused *domain.Error // told by kind and code
	Faults  []string      // of the refusal "invalid", each "field: code"
	Says    []string      // what the refusal's details hold
}

// Run runs cases. Each shows besides that the decision changed nothing, and that repeated on what it
// left it decides nothing.
func Run[S Aggregate[S, E], E any](t *testing.T, cases ...Case[S, E]) {
	t.Helper()
	for _, c := range cases {
		t.Run(strings.ReplaceAll(c.Name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			c.run(t)
		})
	}
}

func (c Case[S, E]) run(t *testing.T) {
	t.Helper()
	state := Fold[S](c.Given...)
	events, err := c.When(state)
	if diff := cmp.Diff(Fold[S](c.Given...), state); diff != "" {
		t.Errorf("the decision changed the state it was asked on (-was +is):\n%s", diff)
	}
	if diff := cmp.Diff(c.Then, events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	c.refusal(t, err)
	if again, _ := c.When(Fold[S](append(slices.Clip(c.Given), events...)...)); len(again) > 0 {
		t.Errorf("the same decision again decides %+v", again)
	}
}

func (c Case[S, E]) refusal(t *testing.T, err error) {
	t.Helper()
	want := c.Refused
	if len(c.Faults) > 0 {
		want = &domain.Error{Kind: domain.Invalid, Code: "invalid"}
	}
	if want == nil {
		if err != nil {
			t.Errorf("refused: %v %+v", err, err)
		}
		return
	}
	Refused(t, err, want, c.Faults...)
	told := fmt.Sprintf("%+v", details(err))
	for _, s := range c.Says {
		if !strings.Contains(told, s) {
			t.Errorf("the refusal does not say %q: %s", s, told)
		}
	}
}

// Refused fails unless err is the refusal want with exactly these faults, each "field: code".
func Refused(t *testing.T, err error, want *domain.Error, faults ...string) {
	t.Helper()
	var e *domain.Error
	if !errors.As(err, &e) || e.Code != want.Code || e.Kind != want.Kind {
		t.Fatalf("got %v, want the refusal %s", err, want.Code)
	}
	if faults == nil {
		return
	}
	var got []string
	for _, f := range e.Fields {
		got = append(got, f.Name+": "+f.Code)
	}
	if diff := cmp.Diff(faults, got); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

func details(err error) []string {
	var e *domain.Error
	if !errors.As(err, &e) {
		return nil
	}
	all := []string{e.Detail, e.Ref}
	for _, f := range e.Fields {
		all = append(all, f.Detail)
	}
	return all
}

// Fold is what events leave.
func Fold[S Aggregate[S, E], E any](events ...E) S {
	var s S
	return From(s, events...)
}

// From is what events leave of a state.
func From[S Aggregate[S, E], E any](s S, events ...E) S {
	for _, e := range events {
		s = s.Evolve(e)
	}
	return s
}
