package projections

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"prelude/domain/preset"
	"prelude/internal/eventlog"
)

func record(s eventlog.Stream, event any) *eventlog.Record {
	return &eventlog.Record{Stream: s, Event: event, Name: "preset.edited.v1"}
}

var (
	wanted   = record(eventlog.PresetStream("org_1", "prs_1"), preset.Edited{})
	unwanted = record(eventlog.ClaimStream("org_1", "preset", "org", "slug"), nil)
)

// steps are what happens to a Progress of views, from the first on.
type steps []func(*Progress)

func (s steps) progress() *Progress {
	p := NewProgress()
	p.Watch([]Reader{ViewsReader(), RightsReader()})
	for _, step := range s {
		step(p)
	}
	return p
}

func up(at eventlog.Position) func(*Progress)    { return func(p *Progress) { p.Up(at) } }
func down(p *Progress)                           { p.Down() }
func back(p *Progress)                           { p.Back() }
func began(at eventlog.Position) func(*Progress) { return func(p *Progress) { p.began(Views, at) } }
func came(at eventlog.Position) func(*Progress)  { return func(p *Progress) { p.applied(Views, at) } }
func seen(at eventlog.Position, r *eventlog.Record) func(*Progress) {
	return func(p *Progress) { p.Seen(at, r) }
}

func TestProgress_reaches_a_position(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		given steps
		want  eventlog.Position
		there bool
	}{
		{"that was applied", steps{came(10)}, 10, true},
		{"before what was applied", steps{came(10)}, 3, true},
		{"after what was applied: not yet", steps{came(10)}, 11, false},
		{"of a quiet tail, once the live subscription has passed it",
			steps{came(10), up(10), seen(15, nil)}, 15, true},
		{"of a quiet tail that the live subscription has not passed: not yet",
			steps{came(10), up(10), seen(15, nil)}, 16, false},
		{"past an event that is for others", steps{came(10), up(10), seen(12, unwanted)}, 12, true},
		{"past an event that it wants: not before it is applied",
			steps{came(10), up(10), seen(12, wanted), seen(13, nil)}, 13, false},
		{"past an event that it wants and has applied",
			steps{came(10), up(10), seen(12, wanted), seen(13, nil), came(12)}, 13, true},
		{"past what was there before the live subscription: not by its word",
			steps{came(9), up(10), seen(15, nil)}, 15, false},
		{"of a quiet tail while the live subscription is down: not by its word",
			steps{came(10), up(10), seen(15, nil), down}, 15, false},
		{"that was applied, also while the live subscription is down", steps{came(10), up(10), down}, 10, true},
		{"of a quiet tail, once the live subscription is up again",
			steps{up(5), came(10), down, back, seen(15, nil)}, 15, true},
		{"of a quiet tail that the live subscription passed on its way back",
			steps{up(5), came(10), down, seen(15, nil), back}, 15, true},
		{"past an event that it wants and that came meanwhile: not before it is applied",
			steps{up(5), came(10), down, seen(12, wanted), seen(15, nil), back}, 15, false},
		{"which it had reached before it began anew: not any more", steps{came(10), began(0)}, 10, false},
		{"in order: an older one takes nothing back", steps{came(10), came(4)}, 10, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := c.given.progress()
			if got := p.reached(Views, c.want); got != c.there {
				t.Errorf("reached: %v", got)
			}
		})
	}
}

func TestProgress_knows_what_each_reader_wants(t *testing.T) {
	t.Parallel()
	p := steps{up(10), seen(12, wanted), func(p *Progress) { p.applied(Rights, 10) }, came(10)}.progress()
	if p.reached(Views, 12) || !p.reached(Rights, 12) {
		t.Error("an event of a preset is for views and not for rights")
	}
	if p.At(Views) != 10 || p.At("nobody") != 0 {
		t.Errorf("views is at %d, nobody at %d", p.At(Views), p.At("nobody"))
	}
	only := Reader{Prefixes: []string{"preset-"}, Types: []string{"preset.deleted"}}
	if only.wants(*wanted) || !(Reader{Prefixes: []string{"preset-"}}).wants(*wanted) {
		t.Error("a reader that names types of presets' events wants those alone")
	}
}

func TestProgress_says_whether_what_a_reader_keeps_is_whole(t *testing.T) {
	t.Parallel()
	stored := func(at eventlog.Position) func(*Progress) { return func(p *Progress) { p.stored(Views, at) } }
	for _, c := range []struct {
		name  string
		given steps
		whole bool
	}{
		{"which is not known before the log is watched", steps{began(10)}, false},
		{"not while it is built", steps{began(0), up(10), came(9)}, false},
		{"when it is built", steps{began(0), up(10), came(10)}, true},
		{"which it is already when the log begins to be watched", steps{began(10), up(10)}, true},
		{"also a moment behind what happens", steps{began(0), up(10), came(10), seen(12, wanted)}, true},
		{"also while the log is not watched", steps{began(0), up(10), came(10), down}, true},
		{"not when it is made anew", steps{began(0), up(10), came(10), began(0), came(9)}, false},
		{"not before it has come again as far as it was",
			steps{began(0), up(10), seen(15, wanted), came(15), began(0), came(14)}, false},
		{"when it has", steps{began(0), up(10), seen(15, wanted), came(15), began(0), came(15)}, true},
		{"not when another instance makes it anew", steps{up(10), stored(20), stored(0), stored(19)}, false},
		{"when that has come as far", steps{up(10), stored(20), stored(0), stored(20)}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := c.given.progress().Whole(Views); got != c.whole {
				t.Errorf("whole: %v", got)
			}
		})
	}
}

func TestProgress_is_watched_while_the_live_subscription_is_up(t *testing.T) {
	t.Parallel()
	p := NewProgress()
	for i, step := range (steps{up(1), down, back, down}) {
		if p.Watched() != (i%2 == 1) {
			t.Errorf("watched after %d steps: %v", i, p.Watched())
		}
		step(p)
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	for name, wake := range map[string]func(*Progress){
		"is woken by what is applied":                 came(20),
		"is woken by the live subscription":           seen(20, nil),
		"is woken when the live subscription is back": func(p *Progress) { p.Down(); p.Seen(20, nil); p.Back() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := steps{came(10), up(10)}.progress()
				done := make(chan bool, 1)
				go func() { done <- p.Wait(t.Context(), Views, 20) }()
				synctest.Wait()
				select {
				case <-done:
					t.Fatal("it did not wait")
				default:
				}
				wake(p)
				if !<-done {
					t.Error("it gave up")
				}
			})
		})
	}
	t.Run("ends with its context", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			p := steps{came(10)}.progress()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			began := time.Now()
			if p.Wait(ctx, Views, 20) || time.Since(began) != 2*time.Second {
				t.Errorf("after %v", time.Since(began))
			}
		})
	})
	t.Run("does not wait for what is there, even if its context has ended", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if !(steps{came(10)}).progress().Wait(ctx, Views, 10) {
			t.Error("it gave up")
		}
	})
}
