package storetest_test

import (
	"testing"

	"github.com/google/uuid"

	"prelude/internal/eventstore/storetest"
)

// What the figures of the fault tests are worth: what is missing and what is there again is counted.
func TestCompare(t *testing.T) {
	t.Parallel()
	a, b, c := uuid.New(), uuid.New(), uuid.New()
	for what, x := range map[string]struct {
		acknowledged, stored []uuid.UUID
		lost, twice          int
	}{
		"nothing wrong":            {[]uuid.UUID{a, b}, []uuid.UUID{b, a}, 0, 0},
		"one that nobody was told": {[]uuid.UUID{a}, []uuid.UUID{a, b}, 0, 0},
		"two lost":                 {[]uuid.UUID{a, b, c}, []uuid.UUID{b}, 2, 0},
		"one three times":          {[]uuid.UUID{a, b}, []uuid.UUID{a, b, b, b}, 0, 1},
	} {
		if lost, twice := storetest.Compare(x.acknowledged, x.stored); lost != x.lost || twice != x.twice {
			t.Errorf("%s: lost %d, twice %d", what, lost, twice)
		}
	}
}
