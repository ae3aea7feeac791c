package projections

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"prelude/internal/eventlog"
)

// Live follows the log from now on, without a checkpoint: it says what has happened to those who keep
// something in memory.
type Live struct {
	Log      *eventlog.Log
	Progress *Progress
	Logger   *slog.Logger
	Of       []any                   // types of the events that Seen reads; of others it is told without the event
	Seen     []func(eventlog.Record) // told of each event
	Forget   []func()                // told when events may be missed from now on, and when they no longer are
	of       map[string]bool
	lost     bool
}

// livePause is how long Run waits after a fault until it begins again.
const livePause = time.Second

// Run follows until the context ends. started is closed when it sees all that happens from then on. After a fault it
// begins again, where the log ends then; until it does, nothing that is kept in memory is relied on.
func (l *Live) Run(ctx context.Context, started chan<- struct{}) error {
	l.of = eventlog.NamesOf(l.Of...)
	var last string
	for {
		err := l.follow(ctx, func() {
			if started != nil {
				close(started)
			}
			started = nil
		})
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		l.Progress.Down()
		l.forget()
		if told(err) != last && !errors.Is(err, eventlog.ErrUnavailable) { // of which the store's own guard tells
			last = told(err)
			l.Logger.Error("what happens is not seen, and is looked for again", "error", last)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(livePause):
		}
	}
}

func (l *Live) follow(ctx context.Context, begun func()) error {
	from, err := l.Log.Head(ctx)
	if err != nil {
		return err
	}
	l.lost = false
	l.forget() // what was read before may be behind
	l.Progress.Up(from)
	begun()
	// Position 0 is the beginning of an empty log: all of it is still to come.
	for signal, err := range l.Log.Store.Subscribe(ctx, from, eventlog.Filter{}) {
		if err != nil {
			return err
		}
		l.take(signal)
	}
	return context.Cause(ctx)
}

func (l *Live) take(s eventlog.Signal) {
	switch s.Kind {
	case eventlog.Lost:
		l.lost = true
		l.Progress.Down()
		l.forget()
	case eventlog.Event:
		rec := l.read(s.Raw)
		if isForeign(rec) {
			l.Progress.Seen(s.Raw.Position, nil)
			return
		}
		if b, ok := rec.Event.(broken); ok {
			l.Logger.Error("an event cannot be read", "position", rec.Position, "error", reason(poisoned(b)))
		} else {
			for _, seen := range l.Seen {
				seen(rec)
			}
		}
		l.Progress.Seen(rec.Position, &rec)
	case eventlog.CaughtUp:
		l.Progress.Seen(s.Position, nil)
		if l.lost {
			l.lost = false
			l.forget()
			l.Progress.Back()
		}
	case eventlog.Checkpoint:
		l.Progress.Seen(s.Position, nil)
	}
}

// read decodes an event only where somebody wants to see it.
func (l *Live) read(raw eventlog.Raw) eventlog.Record {
	if l.of[raw.Type] {
		return decode(raw)
	}
	rec, err := eventlog.Head(raw)
	if err != nil {
		rec.Event = foreign{}
	}
	return rec
}

func (l *Live) forget() {
	for _, forget := range l.Forget {
		forget()
	}
}
