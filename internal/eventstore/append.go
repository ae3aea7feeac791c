package eventstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"prelude/internal/eventlog"
)

// attemptTime is how long one attempt to append may take before it is repeated, and a second more for
// each slowestWay bytes that are under way: an answer may have been lost without the connection
// breaking.
const (
	attemptTime = 3 * time.Second
	slowestWay  = 1 << 20
)

func attemptTimeOf(bytes int) time.Duration {
	return attemptTime + time.Duration(bytes)*time.Second/slowestWay
}

// maxEvent is the largest event that stores take, less what is around it in a message.
const maxEvent = 16<<20 - 16<<10

// Append implements eventlog.Store. While it is not known whether the events were stored, the same
// append is repeated, until the context ends (10 s if it has no deadline); the exact revision and
// the ids make that harmless.
func (s *Store) Append(
	ctx context.Context, stream string, expected eventlog.Revision, events []eventlog.Proposed,
) (eventlog.Appended, error) {
	if err := appendable(stream, expected, events); err != nil {
		return eventlog.Appended{}, err
	}
	ctx, cancel := s.patience(ctx)
	defer cancel()
	var why error
	for pause := s.address.firstPause; ; pause = min(2*pause, longestPause) {
		left, err := s.attempt(ctx, stream, expected, events)
		why = telling(why, err)
		switch kindOf(err) {
		case fine:
			return s.placed(ctx, left)
		case moved:
			return eventlog.Appended{}, s.shown(ctx, stream, err)
		case gone:
			return eventlog.Appended{}, err
		case refused:
			return eventlog.Appended{}, fmt.Errorf("append to %s: %w", stream, err)
		}
		if s.closed.Err() != nil || !sleep(ctx, jitter(pause)) {
			s.health.gaveUp()
			return eventlog.Appended{}, fmt.Errorf("append to %s: %w", stream, unavailable(ctx, why))
		}
	}
}

// placed gives an append a position where the store names none, as it does for the repeat of events that were cut off
// since: the log's end, which lies behind them.
func (s *Store) placed(ctx context.Context, left eventlog.Appended) (eventlog.Appended, error) {
	if left.Position > 0 {
		return left, nil
	}
	var err error
	left.Position, err = s.end(ctx)
	return left, err
}

// shownWithin bounds the wait for an event that a refusal has told of. A store shows it within milliseconds; of a
// stream that was deleted it shows nothing.
const shownWithin = 2 * time.Second

// shown waits, after a refusal, until a read of the stream would show the revision that the refusal names: a store
// refuses (24.6) before the event that was first can be read, and whoever decides again is to decide on that.
func (s *Store) shown(ctx context.Context, stream string, refusal error) error {
	var to movedError
	if !errors.As(refusal, &to) {
		return refusal
	}
	ctx, cancel := context.WithTimeout(ctx, shownWithin)
	defer cancel()
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		for raw, err := range s.Read(ctx, stream, eventlog.Last, eventlog.Backwards, 1) {
			if err != nil || raw.Revision >= to.actual {
				return refusal // who cannot read now is told so at the next read
			}
		}
		if !sleep(ctx, jitter(pause)) {
			return refusal
		}
	}
}

// attempt appends once.
func (s *Store) attempt(
	ctx context.Context, stream string, expected eventlog.Revision, events []eventlog.Proposed,
) (eventlog.Appended, error) {
	l, err := s.acquire(ctx)
	if err != nil {
		return eventlog.Appended{}, err
	}
	left, err := s.attemptOn(ctx, l, stream, expected, events)
	err = s.because(err, true)
	switch kind := kindOf(err); {
	case kind == fine || kind == moved || kind == gone || kind == refused:
		s.health.good(appending)
	case kind == transport:
		// Who looks for the next connection tells of it, if there is none: this one may have been left for a better node.
	case errors.Is(err, errLate) || ctx.Err() != nil && !errors.Is(err, errSilent):
		// Others are answered, or nobody has waited for long enough to know.
	default:
		s.health.bad(appending, err)
	}
	return left, err
}

func (s *Store) attemptOn(
	ctx context.Context, l *link, stream string, expected eventlog.Revision, events []eventlog.Proposed,
) (eventlog.Appended, error) {
	a, err := l.open(s)
	if err != nil {
		s.judge(ctx, l, err)
		return eventlog.Appended{}, err
	}
	left, err := a.do(ctx, stream, expected, events)
	switch {
	case errors.Is(err, errSilent):
		a.cancel(errSilent) // it may be this call alone that is broken
		l.doubt()
	case errors.Is(err, errLate):
		// Others are answered: the store is slow with this one, or has dropped it, as some do with a
		// repeat whose original is not safe yet.
	case err != nil:
		s.judge(ctx, l, err)
	case left.Revision != expected+eventlog.Revision(len(events)):
		return left, fmt.Errorf("the store says revision %d: %w", left.Revision, errOdd)
	}
	return left, err
}

// trialStream is a stream to which nothing is ever appended: appends to it try whether one may.
const trialStream = "log-system_trial"

// trialRevision is one that no stream reaches.
const trialRevision = 1 << 50

// tryAppend asks the node of a link whether it takes appends now, by one that it has to refuse for its revision.
func (s *Store) tryAppend(ctx context.Context, l *link) error {
	_, err := s.attemptOn(ctx, l, trialStream, trialRevision,
		[]eventlog.Proposed{{ID: uuid.New(), Type: "log.tried.v1", Data: []byte("{}"), Meta: []byte("{}")}})
	err = s.because(err, true)
	if kind := kindOf(err); kind == moved || kind == gone {
		s.health.good(appending)
		return nil
	}
	if err != nil && (ctx.Err() == nil || errors.Is(err, errSilent)) {
		s.health.bad(appending, err)
	}
	return err
}

// appendable refuses what no store would take, or what could not be repeated: an event without an id
// would be another one each time.
func appendable(stream string, expected eventlog.Revision, events []eventlog.Proposed) error {
	switch {
	case stream == "":
		return errors.New("append: the stream has no name")
	case expected < eventlog.None:
		return fmt.Errorf("append to %s: no revision %d", stream, expected)
	case len(events) == 0:
		return fmt.Errorf("append to %s: no events", stream)
	}
	for i := range events {
		switch e := &events[i]; {
		case e.ID == uuid.Nil:
			return fmt.Errorf("append to %s: event %d has no id", stream, i)
		case e.Type == "":
			return fmt.Errorf("append to %s: event %d has no type", stream, i)
		case sizeOf(e) > maxEvent:
			return fmt.Errorf("append to %s: event %d is larger than %d bytes", stream, i, maxEvent)
		}
	}
	return nil
}

func sizeOf(e *eventlog.Proposed) int { return len(e.Data) + len(e.Meta) + 2*len(e.Type) }
