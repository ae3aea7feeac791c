package org_test

import (
	"testing"
	"time"

	"prelude/domain"
	"prelude/domain/domaintest"
	"prelude/domain/org"
)

func retain(days int, at time.Time) domaintest.Decision[org.Org, org.Event] {
	return func(o org.Org) ([]org.Event, error) { return o.SetRetention(days, "", at) }
}

func TestSetRetention(t *testing.T) {
	t.Parallel()
	set := func(days int) org.Event { return org.PolicySet{RetentionDays: days, At: noon} }
	type is = domaintest.Case[org.Org, org.Event]
	domaintest.Run(t,
		is{Name: "texts are kept for some days", Given: []org.Event{founded}, When: retain(30, noon),
			Then: []org.Event{set(30)}},
		is{Name: "the same again decides nothing", Given: []org.Event{founded, set(30)}, When: retain(30, noon)},
		is{Name: "at first they are kept for ever", Given: []org.Event{founded}, When: retain(0, noon)},
		is{Name: "they can be kept for ever again", Given: []org.Event{founded, set(30)}, When: retain(0, noon),
			Then: []org.Event{set(0)}},
		is{Name: "a hundred years are taken", Given: []org.Event{founded}, When: retain(org.MaxRetention, noon),
			Then: []org.Event{set(org.MaxRetention)}},
		is{Name: "more are not", Given: []org.Event{founded}, When: retain(org.MaxRetention+1, noon),
			Faults: []string{"retention_days: range"}},
		is{Name: "less than none are not", Given: []org.Event{founded}, When: retain(-1, noon),
			Faults: []string{"retention_days: range"}},
		is{Name: "an org is needed", When: retain(30, noon), Refused: domain.ErrNotFound},
	)
}

// TestExpires: more days bring nothing back of what fewer have destroyed, though no text be younger.
func TestExpires(t *testing.T) {
	t.Parallel()
	day := func(n int) time.Time { return noon.AddDate(0, 0, n) }
	set := func(days, at int) org.Event { return org.PolicySet{RetentionDays: days, At: day(at)} }
	for name, c := range map[string]struct {
		given []org.Event
		now   int
		want  time.Time // zero: nothing expires
	}{
		"without a policy":            {nil, 500, time.Time{}},
		"with one":                    {[]org.Event{set(30, 0)}, 100, day(70)},
		"with more days":              {[]org.Event{set(30, 0), set(90, 100)}, 110, day(70)},
		"when more days have passed":  {[]org.Event{set(30, 0), set(90, 100)}, 200, day(110)},
		"with fewer days":             {[]org.Event{set(90, 0), set(30, 100)}, 100, day(70)},
		"with none any more":          {[]org.Event{set(30, 0), set(0, 100)}, 500, day(70)},
		"with one after there was no": {[]org.Event{set(30, 0), set(0, 100), set(1000, 300)}, 301, day(70)},
	} {
		o := domaintest.Fold[org.Org](append([]org.Event{founded}, c.given...)...)
		if before, ok := o.Policy.Expires(day(c.now)); !before.Equal(c.want) || ok == c.want.IsZero() {
			t.Errorf("%s: what is before %v expires: %v", name, before, ok)
		}
	}
}
