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
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		left, err := s.attempt(ctx, stream, expected, events)
		switch kindOf(err) {
		case fine:
			return left, nil
		case moved, gone:
			return eventlog.Appended{}, err
		case refused:
			return eventlog.Appended{}, fmt.Errorf("append to %s: %w", stream, err)
		}
		if s.closed.Err() != nil || !sleep(ctx, jitter(pause)) {
			return eventlog.Appended{}, fmt.Errorf("append to %s: %w", stream, unavailable(ctx, err))
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
	a, err := l.open(s)
	if err != nil {
		s.judge(ctx, l, err)
		return eventlog.Appended{}, err
	}
	left, err := a.do(ctx, stream, expected, events)
	switch {
	case errors.Is(err, errSilent):
		a.cancel(errSilent) // it may be this call alone that is broken
		s.doubt(l)
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
