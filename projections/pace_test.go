package projections

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"prelude/internal/eventlog"
)

// What comes alone is taken at once, and what comes soon after it together, when the pace allows.
func TestGather(t *testing.T) {
	t.Parallel()
	came := func(at eventlog.Position) item { return item{event: true, passed: at} }
	for name, c := range map[string]struct {
		after  []time.Duration // when events come, each after the one before
		taken  []time.Duration // when batches are taken, since the beginning
		events []int           // how many are in each
	}{
		"one":                   {[]time.Duration{time.Second}, []time.Duration{time.Second}, []int{1}},
		"at once":               {[]time.Duration{0, 0, 0}, []time.Duration{0}, []int{3}},
		"far between":           {[]time.Duration{0, pace, pace}, []time.Duration{0, pace, 2 * pace}, []int{1, 1, 1}},
		"soon after one":        {[]time.Duration{0, pace / 5, pace / 5}, []time.Duration{0, pace}, []int{1, 2}},
		"the pace is not a sum": {[]time.Duration{0, pace / 2, pace}, []time.Duration{0, pace, 2 * pace}, []int{1, 1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				items := make(chan item, len(c.after))
				next, began := time.NewTimer(0), time.Now()
				go func() {
					for i, after := range c.after {
						time.Sleep(after)
						items <- came(eventlog.Position(i + 1))
					}
				}()
				synctest.Wait()
				for i, want := range c.taken {
					batch, _, err := gather(t.Context(), items, next, nil)
					if got := time.Since(began); err != nil || got != want || len(batch) != c.events[i] {
						t.Errorf("batch %d has %d events after %v, %v; want %d after %v", i, len(batch), got, err,
							c.events[i], want)
					}
				}
			})
		})
	}
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			batch, at, err := gather(t.Context(), nil, time.NewTimer(time.Hour), time.After(idleEvery))
			if len(batch) > 0 || at != 0 || err != nil || time.Since(began) != idleEvery {
				t.Errorf("%d events up to %d after %v, %v", len(batch), at, time.Since(began), err)
			}
		})
	})
	t.Run("ends with its context", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			why := errors.New("the lease is another's")
			ctx, cancel := context.WithCancelCause(t.Context())
			items := make(chan item, 1)
			items <- came(1)
			time.AfterFunc(time.Second, func() { cancel(why) })
			if batch, _, err := gather(ctx, items, time.NewTimer(time.Hour), nil); !errors.Is(err, why) || batch != nil {
				t.Errorf("%d events, %v", len(batch), err)
			}
		})
	})
}
