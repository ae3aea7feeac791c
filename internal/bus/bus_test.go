package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"prelude/internal/eventlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listener is a consumer that remembers what it was called with, and does with each as it is told.
type listener struct {
	mu    sync.Mutex
	calls []eventlog.Position
	do    func(ctx context.Context, call int, e eventlog.CloudEvent) error
}

func (l *listener) take(ctx context.Context, e eventlog.CloudEvent) error {
	l.mu.Lock()
	l.calls = append(l.calls, e.Position)
	n := len(l.calls)
	l.mu.Unlock()
	if l.do == nil {
		return nil
	}
	return l.do(ctx, n, e)
}

func (l *listener) heard() []eventlog.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.calls)
}

func (l *listener) expect(t *testing.T, want ...eventlog.Position) {
	t.Helper()
	if got := l.heard(); !slices.Equal(got, want) {
		t.Errorf("called with %v, want %v", got, want)
	}
}

// open runs a bus with consumers; stop ends it.
func open(t *testing.T, consumers ...*listener) (b *Bus, stop func()) {
	t.Helper()
	named := map[string]Consumer{}
	for i, l := range consumers {
		named[fmt.Sprint("consumer ", i)] = l.take
	}
	b, err := New(slog.New(slog.DiscardHandler), named)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	<-b.Running()
	return b, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func events(n int) []eventlog.CloudEvent {
	all := make([]eventlog.CloudEvent, n)
	for i := range all {
		all[i] = eventlog.CloudEvent{SpecVersion: "1.0", ID: fmt.Sprint("evt_", i+1), Source: "/orgs/org_1",
			Type: "prelude.session.reply_completed", Subject: "ses_1", Position: eventlog.Position(i + 1),
			Time: time.Date(2026, 3, 1, 12, 0, i, 0, time.UTC), Data: map[string]any{"length_bytes": 7.0}}
	}
	return all
}

func TestPublish_gives_each_consumer_each_event_in_order(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var got []eventlog.CloudEvent
		one, two := &listener{}, &listener{}
		one.do = func(_ context.Context, _ int, e eventlog.CloudEvent) error {
			got = append(got, e)
			return nil
		}
		b, stop := open(t, one, two)
		defer stop()
		if err := b.Publish(t.Context(), events(20)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(events(20), got); diff != "" {
			t.Error(diff)
		}
		if len(two.heard()) != 20 || !slices.IsSorted(two.heard()) {
			t.Errorf("the other one was called with %v", two.heard())
		}
	})
}

func TestConsumer_that_fails_is_called_again_ever_slower_and_the_next_event_waits(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func() error{
		"with an error": func() error { return errors.New("no") },
		"with a panic":  func() error { panic("no") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				bad, good := &listener{}, &listener{}
				bad.do = func(_ context.Context, call int, _ eventlog.CloudEvent) error {
					if call >= 2 && call <= 4 {
						return fail()
					}
					return nil
				}
				b, stop := open(t, bad, good)
				defer stop()
				began := time.Now()
				if err := b.Publish(t.Context(), events(3)); err != nil {
					t.Fatal(err)
				}
				bad.expect(t, 1, 2, 2, 2, 2, 3)
				good.expect(t, 1, 2, 3)
				if took, want := time.Since(began), 7*retryFirst; took != want {
					t.Errorf("it was called again and again within %v, want %v", took, want)
				}
			})
		})
	}
}

func TestPublish_returns_when_each_consumer_has_taken_the_event(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		slow := &listener{do: func(context.Context, int, eventlog.CloudEvent) error { <-release; return nil }}
		quick := &listener{}
		b, stop := open(t, slow, quick)
		defer stop()
		done := make(chan error, 1)
		go func() { done <- b.Publish(t.Context(), events(1)) }()
		synctest.Wait()
		quick.expect(t, 1)
		select {
		case err := <-done:
			t.Fatalf("it returned before the slow one had taken it: %v", err)
		default:
		}
		close(release)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestPublish_claims_no_success_when_it_is_cancelled_in_the_middle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l := &listener{do: func(_ context.Context, call int, _ eventlog.CloudEvent) error {
			if call == 2 {
				cancel()
			}
			return nil
		}}
		b, stop := open(t, l)
		defer stop()
		if err := b.Publish(ctx, events(5)); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		l.expect(t, 1, 2)
	})
}

func TestPublish_claims_no_success_when_nobody_takes_the_event(t *testing.T) {
	t.Parallel()
	t.Run("because the consumers were ended in the middle", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			l := &listener{do: func(ctx context.Context, _ int, _ eventlog.CloudEvent) error {
				<-ctx.Done()
				return ctx.Err()
			}}
			b, stop := open(t, l, &listener{})
			done := make(chan error, 1)
			go func() { done <- b.Publish(context.WithoutCancel(t.Context()), events(1)) }()
			synctest.Wait()
			stop()
			if err := <-done; !errors.Is(err, errNotTaken) {
				t.Errorf("got %v", err)
			}
		})
	})
	t.Run("because the consumers have ended", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			l := &listener{}
			b, stop := open(t, l)
			stop()
			if err := b.Publish(t.Context(), events(1)); !errors.Is(err, errNotTaken) {
				t.Errorf("got %v", err)
			}
			l.expect(t)
		})
	})
	t.Run("because the consumers are not there yet", func(t *testing.T) {
		t.Parallel()
		l := &listener{}
		b, err := New(slog.New(slog.DiscardHandler), map[string]Consumer{"one": l.take})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Publish(t.Context(), events(1)); !errors.Is(err, errNotTaken) {
			t.Errorf("got %v", err)
		}
	})
}

func TestPublish_may_hand_the_same_event_over_again(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &listener{}
		b, stop := open(t, l)
		defer stop()
		for range 2 {
			if err := b.Publish(t.Context(), events(2)); err != nil {
				t.Fatal(err)
			}
		}
		l.expect(t, 1, 2, 1, 2)
	})
}
