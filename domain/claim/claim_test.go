package claim_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"prelude/domain/claim"
	"prelude/domain/domaintest"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

type decision = domaintest.Decision[claim.Claim, claim.Event]

func take(thing string, abandoned bool, at time.Time) decision {
	return func(c claim.Claim) ([]claim.Event, error) { return c.Take(thing, abandoned, at) }
}

func release(thing string, freeAt, at time.Time) decision {
	return func(c claim.Claim) ([]claim.Event, error) { return c.Release(thing, freeAt, at) }
}

func claimed(thing string, at time.Time) claim.Event { return claim.Claimed{Thing: thing, At: at} }

func released(thing string, freeAt, at time.Time) claim.Event {
	return claim.Released{Thing: thing, FreeAt: freeAt, At: at}
}

func after(d time.Duration) time.Time { return noon.Add(d) }

type is = domaintest.Case[claim.Claim, claim.Event]

func TestTake(t *testing.T) {
	t.Parallel()
	held := []claim.Event{claimed("a", noon)}
	left := append(held, released("a", after(time.Hour), after(time.Minute)))
	domaintest.Run(t,
		is{Name: "a name that nobody has is taken", When: take("a", false, noon), Then: held},
		is{Name: "who has it keeps it", Given: held, When: take("a", false, after(time.Hour))},
		is{Name: "another is refused", Given: held, When: take("b", false, after(time.Hour)),
			Refused: claim.ErrTaken},
		is{Name: "an abandoned name is kept for its maker a while", Given: held,
			When: take("b", true, after(claim.Patience-1)), Refused: claim.ErrTaken},
		is{Name: "after that while another takes it", Given: held,
			When: take("b", true, after(claim.Patience)),
			Then: []claim.Event{claimed("b", after(claim.Patience))}},
		is{Name: "a released name is kept until it is free", Given: left,
			When: take("b", false, after(time.Hour-1)), Refused: claim.ErrTaken},
		is{Name: "when it is free another takes it", Given: left,
			When: take("b", false, after(time.Hour)), Then: []claim.Event{claimed("b", after(time.Hour))}},
		is{Name: "who released it may take it back before", Given: left,
			When: take("a", false, after(2*time.Minute)),
			Then: []claim.Event{claimed("a", after(2*time.Minute))}},
		is{Name: "once another has it who released it is refused",
			Given: append(left, claimed("b", after(time.Hour))),
			When:  take("a", false, after(2*time.Hour)), Refused: claim.ErrTaken},
	)
}

func TestRelease(t *testing.T) {
	t.Parallel()
	held := []claim.Event{claimed("a", noon)}
	domaintest.Run(t,
		is{Name: "who has a name lets go of it", Given: held, When: release("a", noon, noon),
			Then: []claim.Event{released("a", noon, noon)}},
		is{Name: "another cannot", Given: held, When: release("b", noon, noon)},
		is{Name: "what was released stays so", Given: append(held, released("a", noon, noon)),
			When: release("a", after(time.Hour), noon)},
		is{Name: "a name that nobody has stays so", When: release("a", noon, noon)},
	)
}

func TestAReleasedNameStillLeadsToItsThing(t *testing.T) {
	t.Parallel()
	c := domaintest.Fold[claim.Claim](claimed("a", noon), released("a", noon, noon))
	if c.Thing != "a" || !c.Released {
		t.Errorf("the claim is %+v", c)
	}
	if c = c.Evolve(claimed("b", noon)); c.Thing != "b" || c.Released || !c.FreeAt.IsZero() {
		t.Errorf("the claim is %+v after another took the name", c)
	}
}

// invariants of a name: one thing has it at a time. It goes to another only after it was released and is
// free, or when its holder is not there and the patience with it is over; only its holder releases it.
func invariants(t *rapid.T, s domaintest.Step[claim.Claim, claim.Event]) {
	for _, e := range s.Events {
		was := s.Before
		switch e := e.(type) {
		case claim.Claimed:
			free := was.Thing == "" || was.Thing == e.Thing ||
				was.Released && !e.At.Before(was.FreeAt) || e.At.Sub(was.Since) >= claim.Patience
			if !free || s.After.Thing != e.Thing || s.After.Released {
				t.Fatalf("%+v was taken with %+v and is %+v", was, e, s.After)
			}
		case claim.Released:
			if was.Thing != e.Thing || was.Released || !s.After.Released {
				t.Fatalf("%+v was released with %+v", was, e)
			}
		}
	}
	if s.Before.Thing != "" && s.After.Thing == "" {
		t.Fatal("the name leads nowhere any more")
	}
}

func TestNoDecisionsBreakAClaim(t *testing.T) {
	t.Parallel()
	thing := rapid.SampledFrom([]string{"a", "b", "c"})
	domaintest.Walk(t, func(t *rapid.T, step int) decision {
		at := after(time.Duration(step) * 20 * time.Second)
		if rapid.Bool().Draw(t, "release") {
			wait := time.Duration(rapid.IntRange(0, 120).Draw(t, "wait")) * time.Second
			return release(thing.Draw(t, "thing"), at.Add(wait), at)
		}
		return take(thing.Draw(t, "thing"), rapid.Bool().Draw(t, "abandoned"), at)
	}, invariants)
}
