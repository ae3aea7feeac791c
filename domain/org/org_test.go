package org_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"prelude/domain"
	"prelude/domain/domaintest"
	"prelude/domain/org"
)

var (
	noon    = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	founded = org.Founded{Org: "org_1", Slug: "acme", Name: "Acme", At: noon}
)

func found(slug, name string) domaintest.Decision[org.Org, org.Event] {
	return func(o org.Org) ([]org.Event, error) { return o.Found("org_1", slug, name, noon) }
}

func TestFound(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 200)
	type is = domaintest.Case[org.Org, org.Event]
	domaintest.Run(t,
		is{Name: "an org is founded", When: found("acme", "Acme"), Then: []org.Event{founded}},
		is{Name: "one that is there is not founded again", Given: []org.Event{founded},
			When: found("other", "Other")},
		is{Name: "a slug has no capitals", When: found("Acme", "Acme"), Faults: []string{"slug: pattern"}},
		is{Name: "a slug has at most 63 characters", When: found(strings.Repeat("a", 64), "Acme"),
			Faults: []string{"slug: pattern"}},
		is{Name: "a name is needed", When: found("acme", " "), Faults: []string{"name: required"}},
		is{Name: "a name of 200 characters is taken", When: found("acme", long),
			Then: []org.Event{org.Founded{Org: "org_1", Slug: "acme", Name: long, At: noon}}},
		is{Name: "a name of 201 is not", When: found("acme", long+"x"), Faults: []string{"name: too_long"}},
		is{Name: "NUL is refused", When: found("acme", "A\x00"), Faults: []string{"name: nul"}},
		is{Name: "invalid UTF-8 is refused", When: found("acme", "A\xff"), Faults: []string{"name: encoding"}},
		is{Name: "all faults are told", When: found("", ""),
			Faults: []string{"slug: pattern", "name: required"}},
	)
}

// invariants of an org: it is founded once, with a name and a slug that are valid, and stays what it was; what its
// policies have destroyed never becomes less.
func invariants(t *rapid.T, s domaintest.Step[org.Org, org.Event]) {
	for i, e := range s.History {
		if _, first := e.(org.Founded); first != (i == 0) {
			t.Fatalf("event %d is %+v", i, e)
		}
	}
	if p := s.After.Policy; p.GoneBefore.Before(s.Before.Policy.GoneBefore) || p.RetentionDays < 0 {
		t.Fatalf("after %+v the policy is %+v", s.Before.Policy, p)
	}
	if (s.After.ID != "") != (len(s.History) > 0) {
		t.Fatalf("it is %+v after %d events", s.After, len(s.History))
	}
	if s.After.ID != "" && (!domain.ValidSlug(s.After.Slug) || strings.TrimSpace(s.After.Name) == "") {
		t.Fatalf("it is %+v", s.After)
	}
}

func TestNoDecisionsBreakAnOrg(t *testing.T) {
	t.Parallel()
	domaintest.Walk(t, func(t *rapid.T, step int) domaintest.Decision[org.Org, org.Event] {
		if rapid.Bool().Draw(t, "policy") {
			return retain(rapid.SampledFrom([]int{-1, 0, 1, 30, 40_000}).Draw(t, "days"), noon.AddDate(0, 0, step))
		}
		return found(rapid.SampledFrom([]string{"acme", "Acme", "", "b"}).Draw(t, "slug"),
			rapid.SampledFrom([]string{"Acme", "", "\xff"}).Draw(t, "name"))
	}, invariants)
}
