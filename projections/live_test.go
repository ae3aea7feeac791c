package projections

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"prelude/domain"
	"prelude/domain/claim"
	"prelude/internal/eventlog"
)

func TestLive_is_down_while_events_may_be_missed(t *testing.T) {
	t.Parallel()
	p := NewProgress()
	p.Watch([]Reader{ViewsReader()})
	p.Up(10)
	p.applied(Views, 10)
	forgot := 0
	l := &Live{Progress: p, Logger: slog.New(slog.DiscardHandler), Forget: []func(){func() { forgot++ }}}
	l.take(eventlog.Signal{Kind: eventlog.Checkpoint, Position: 15})
	if !p.Watched() || !p.reached(Views, 15) {
		t.Fatal("it is down from the start")
	}
	l.take(eventlog.Signal{Kind: eventlog.Lost})
	if p.Watched() || p.reached(Views, 15) || forgot != 1 {
		t.Fatalf("lost, and it is up; %d times was forgotten", forgot)
	}
	l.take(eventlog.Signal{Kind: eventlog.Event, Raw: eventlog.Raw{Stream: "x", Position: 17}})
	if p.Watched() {
		t.Fatal("it is up before it has caught up")
	}
	l.take(eventlog.Signal{Kind: eventlog.CaughtUp, Position: 17})
	if !p.Watched() || !p.reached(Views, 17) || forgot != 2 {
		t.Fatal("it is not up, keeps what was read meanwhile, or holds views up for what is not for it")
	}
	l.take(eventlog.Signal{Kind: eventlog.Lost})
	p1 := eventlog.PresetStream(acme, id[domain.PresetID](domain.PresetPrefix, 1)).String()
	l.take(eventlog.Signal{Kind: eventlog.Event, Raw: eventlog.Raw{Stream: p1, Position: 18}})
	l.take(eventlog.Signal{Kind: eventlog.CaughtUp, Position: 18})
	l.take(eventlog.Signal{Kind: eventlog.Checkpoint, Position: 20})
	if p.reached(Views, 20) || forgot != 4 {
		t.Fatal("it believes that views has passed what is for it and came in the outage")
	}
	p.applied(Views, 18)
	if !p.reached(Views, 20) {
		t.Error("views has passed what came in the outage, and is not believed")
	}
	l.take(eventlog.Signal{Kind: eventlog.CaughtUp}) // may come more than once
	if !p.reached(Views, 20) || forgot != 4 {
		t.Error("catching up once more changed something")
	}
}

func TestLive_tells_of_each_event_from_its_start_on(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	a := newAuthor(t, log, 13)
	by := a.found(acme)
	p := NewProgress()
	told := make(chan eventlog.Record, 100)
	l := &Live{Log: log, Progress: p, Logger: slog.New(slog.DiscardHandler),
		Seen: []func(eventlog.Record){func(r eventlog.Record) { told <- r }}}
	ctx, cancel := context.WithCancel(t.Context())
	started, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- l.Run(ctx, started) }()
	<-started
	if !p.Watched() {
		t.Error("it has started and is not up")
	}
	th := a.newPreset(acme, by)
	a.edit(th)
	for revision := range eventlog.Revision(2) {
		if r := <-told; r.Stream != th.stream || r.Revision != revision {
			t.Errorf("told of %s %d", r.Stream, r.Revision)
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A tail of events that are not for a reader holds nobody up: neither one that was there before, nor one that
// grows.
func TestLive_lets_a_quiet_tail_pass(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	a := newAuthor(t, log, 14)
	by := a.found(acme)
	a.newPreset(acme, by)
	a.take("one")
	pool, _ := database(t)
	e := newEngine(log, pool, ViewsReader(), RightsReader())
	l := &Live{Log: log, Progress: e.Progress, Logger: e.Logger}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx, make(chan struct{})) }()
	running(t, e, ViewsReader(), RightsReader())
	for _, name := range []string{"two", "three"} {
		until(t, e, Views, a.last)
		until(t, e, Rights, a.last)
		a.take(name)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// While the store is away nothing is believed; once it is back, a quiet tail from before holds nobody up.
func TestLive_comes_back_after_an_outage(t *testing.T) {
	t.Parallel()
	log, node := newNode(t)
	a := newAuthor(t, log, 16)
	a.newPreset(acme, a.found(acme))
	a.take("one")
	pool, _ := database(t)
	e := newEngine(log, pool, ViewsReader())
	down := make(chan struct{}, 10)
	l := &Live{Log: log, Progress: e.Progress, Logger: e.Logger, Forget: []func(){func() { down <- struct{}{} }}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx, make(chan struct{})) }()
	running(t, e, ViewsReader())
	until(t, e, Views, a.last)
	node.stop()
	<-down // as it began
	<-down
	if e.Progress.Watched() {
		t.Error("it is up without a store")
	}
	node.start()
	a.take("two")
	until(t, e, Views, a.last)
	a.newSession(acme, a.presets[0].state.Owner)
	until(t, e, Views, a.last)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// take claims a name: an event that no reader wants.
func (a *author) take(name string) {
	a.t.Helper()
	thing := id[domain.PresetID](domain.PresetPrefix, 1)
	a.append(eventlog.ClaimStream(acme, "preset", "org", name), eventlog.None, "",
		claim.Claimed{Thing: string(thing), At: a.now()})
}

// An event that cannot be read is no quiet tail: the reader comes to it, and its stream is parked.
func TestLive_takes_what_cannot_be_read_for_something(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	a := newAuthor(t, log, 19)
	p := a.newPreset(acme, a.found(acme))
	pool, dsn := database(t)
	e := newEngine(log, pool, ViewsReader())
	l := &Live{Log: log, Progress: e.Progress, Logger: e.Logger}
	ctx, cancel := context.WithCancel(t.Context())
	done, started := make(chan error, 1), make(chan struct{})
	go func() { done <- l.Run(ctx, started) }()
	<-started
	a.raw(p.stream, p.revision, "preset.edited.v1", `{"at":7}`)
	soon(t, "it is seen", func() bool {
		e.Progress.mu.Lock()
		defer e.Progress.mu.Unlock()
		return e.Progress.live >= a.last
	})
	if e.Progress.quiet(Views) != 0 || e.Progress.Reached(Views, a.last) {
		t.Error("it was taken for nothing")
	}
	running(t, e, ViewsReader())
	until(t, e, Views, a.last)
	if n := ask[int](t, dsn, "SELECT count(*) FROM prelude.parked"); n != 1 {
		t.Errorf("%d streams are parked", n)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
