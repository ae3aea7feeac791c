package commands

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"prelude/internal/eventlog"
	"prelude/internal/eventlog/eventlogtest"
)

// scripted is an event store in memory that misbehaves as a test says: it goes away, shows late what it has taken, or
// changes a stream under a read. It needs no socket, so that a test's clock can be a false one.
type scripted struct {
	mu      sync.Mutex
	streams map[string][]eventlog.Raw
	last    eventlog.Position
	back    chan struct{} // closed when it answers again; nil: it answers
	deaf    bool          // while it is away it takes appends, and its answers are lost
	lag     func() time.Duration
	took    time.Duration // an append
	// reading may change what a read of a stream gives: before the nth event, from 0. ErrChanged and the like end it.
	reading func(stream string, n int, raw eventlog.Raw) (eventlog.Raw, error)
}

// patience is how long a call without a deadline waits for a store that is away.
const patience = 10 * time.Second

func newScripted() *scripted { return &scripted{streams: map[string][]eventlog.Raw{}} }

// leave begins an outage.
func (s *scripted) leave(deaf bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.back, s.deaf = make(chan struct{}), deaf
}

// comeBack ends it.
func (s *scripted) comeBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.back)
	s.back = nil
}

// answers waits until the store answers.
func (s *scripted) answers(ctx context.Context) error {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	for {
		s.mu.Lock()
		back := s.back
		s.mu.Unlock()
		if back == nil {
			return nil
		}
		select {
		case <-back:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", eventlog.ErrUnavailable, ctx.Err())
		}
	}
}

func (s *scripted) Append(ctx context.Context, stream string, expected eventlog.Revision,
	events []eventlog.Proposed) (eventlog.Appended, error) {
	s.mu.Lock()
	heard := s.back == nil || s.deaf
	s.mu.Unlock()
	if heard {
		<-time.After(s.took)
		done, err := s.append(stream, expected, events)
		if err := s.answers(ctx); err != nil {
			return eventlog.Appended{}, err
		}
		return done, err
	}
	if err := s.answers(ctx); err != nil {
		return eventlog.Appended{}, err
	}
	return s.append(stream, expected, events)
}

func (s *scripted) append(stream string, expected eventlog.Revision, events []eventlog.Proposed,
) (eventlog.Appended, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.streams[stream]
	if at := int(expected) + 1; at < len(all) && all[at].ID == events[0].ID { // a repeat
		e := all[at+len(events)-1]
		return eventlog.Appended{Revision: e.Revision, Position: e.Position}, nil
	}
	if eventlog.Revision(len(all)-1) != expected {
		return eventlog.Appended{}, eventlog.ErrMoved
	}
	shown := time.Now()
	if s.lag != nil {
		shown = shown.Add(s.lag())
	}
	for _, e := range events {
		s.last += 100
		all = append(all, eventlog.Raw{ID: e.ID, Stream: stream, Revision: eventlog.Revision(len(all)), Position: s.last,
			Type: e.Type, Data: e.Data, Meta: e.Meta, Created: shown})
	}
	s.streams[stream] = all
	e := all[len(all)-1]
	return eventlog.Appended{Revision: e.Revision, Position: e.Position}, nil
}

// visible are the events of a stream that can be read by now.
func (s *scripted) visible(stream string) []eventlog.Raw {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, now := s.streams[stream], time.Now()
	if s.lag == nil {
		return all[:len(all):len(all)]
	}
	for i := max(0, len(all)-100); i < len(all); i++ { // what is older is shown for long
		if all[i].Created.After(now) {
			return all[:i:i]
		}
	}
	return all[:len(all):len(all)]
}

func (s *scripted) Read(ctx context.Context, stream string, from eventlog.Revision, dir eventlog.Direction,
	limit uint64) iter.Seq2[eventlog.Raw, error] {
	return func(yield func(eventlog.Raw, error) bool) {
		if err := s.answers(ctx); err != nil {
			yield(eventlog.Raw{}, err)
			return
		}
		all := s.visible(stream)
		if dir == eventlog.Backwards {
			all = slices.Clone(all[:min(from, eventlog.Revision(len(all)-1))+1])
			slices.Reverse(all)
		} else {
			all = all[min(max(from, 0), eventlog.Revision(len(all))):]
		}
		for n, raw := range all {
			if limit > 0 && uint64(n) == limit {
				return
			}
			err := error(nil)
			if s.reading != nil {
				raw, err = s.reading(stream, n, raw)
			}
			if !yield(raw, err) || err != nil {
				return
			}
		}
	}
}

func (s *scripted) ReadAll(context.Context, eventlog.Position, eventlog.Direction, uint64,
) iter.Seq2[eventlog.Raw, error] {
	return func(yield func(eventlog.Raw, error) bool) { yield(eventlog.Raw{}, errNotScripted) }
}

func (s *scripted) Subscribe(context.Context, eventlog.Position, eventlog.Filter) iter.Seq2[eventlog.Signal, error] {
	return func(yield func(eventlog.Signal, error) bool) { yield(eventlog.Signal{}, errNotScripted) }
}

var errNotScripted = fmt.Errorf("the scripted store has no reads of all streams")

// newScriptedRig is a rig over such a store. Whoever needs another process over it asks for other or again.
func newScriptedRig(t *testing.T) (*rig, *scripted) {
	t.Helper()
	store, keys := newScripted(), &eventlogtest.Keys{}
	r := &rig{t: t, keys: keys}
	return r.over(&eventlog.Log{Store: store, Keys: keys}), store
}

// kinds are the kinds of records that a handler of logs is given, by level.
type lines struct {
	slog.Handler
	mu  sync.Mutex
	all []slog.Record
}

func (l *lines) Enabled(context.Context, slog.Level) bool { return true }

func (l *lines) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, r)
	return nil
}

// at are the messages of a level.
func (l *lines) at(level slog.Level) (all []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.all {
		if r.Level == level {
			all = append(all, r.Message)
		}
	}
	return all
}

// once is a command of its own.
func once() Meta {
	m := by(olga)
	m.Command = uuid.New()
	return m
}
