package commands

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/google/uuid"
)

func TestQueue(t *testing.T) {
	t.Parallel()
	t.Run("the same step goes one after the other", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			var q queue
			step, inside, most, done := uuid.New(), 0, 0, 0
			for range 8 {
				go func() {
					leave, err := q.enter(t.Context(), step)
					if err != nil {
						t.Error(err)
						return
					}
					inside++ // the race detector would see two at once
					most = max(most, inside)
					inside--
					done++
					leave()
				}()
			}
			synctest.Wait()
			if most != 1 || done != 8 || len(q.busy) != 0 {
				t.Errorf("%d at once, %d done, %d left", most, done, len(q.busy))
			}
		})
	})
	t.Run("another step does not wait", func(t *testing.T) {
		t.Parallel()
		var q queue
		for range 2 {
			if _, err := q.enter(t.Context(), uuid.New()); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("who leaves does not wait", func(t *testing.T) {
		t.Parallel()
		var q queue
		step := uuid.New()
		if _, err := q.enter(t.Context(), step); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := q.enter(ctx, step); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}
