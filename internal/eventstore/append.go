package eventstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/google/uuid"

	"prelude/internal/eventlog"
)

// attemptTime is how long one attempt to append may take before it is repeated: an answer may have
// been lost without the connection breaking.
const attemptTime = 3 * time.Second

// errOdd is an answer that cannot be one to what was asked. The client takes an empty message for
// success.
var errOdd = errors.New("the answer is not to be trusted")

// Append implements eventlog.Store. While it is not known whether the events were stored, the same
// append is repeated, until the context ends (10 s if it has no deadline); the exact revision and
// the ids make that harmless.
func (s *Store) Append(
	ctx context.Context, stream string, expected eventlog.Revision, events []eventlog.Proposed,
) (eventlog.Appended, error) {
	data, err := proposed(events)
	if err != nil {
		return eventlog.Appended{}, err
	}
	if expected < eventlog.None {
		return eventlog.Appended{}, fmt.Errorf("append to %s: no revision %d", stream, expected)
	}
	ctx, cancel := s.patience(ctx)
	defer cancel()
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		left, err := s.attempt(ctx, stream, expected, data)
		switch kindOf(err) {
		case fine:
			return left, nil
		case moved:
			return eventlog.Appended{}, eventlog.ErrMoved
		case gone:
			return eventlog.Appended{}, eventlog.ErrGone
		case refused:
			return eventlog.Appended{}, fmt.Errorf("append to %s: %w", stream, err)
		}
		if s.closed.Err() != nil || !sleep(ctx, jitter(pause)) {
			return eventlog.Appended{}, fmt.Errorf("append to %s: %w", stream, unavailable(ctx, err))
		}
	}
}

func (s *Store) attempt(
	ctx context.Context, stream string, expected eventlog.Revision, data []esdb.EventData,
) (eventlog.Appended, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	return call(ctx, s, func(ctx context.Context, c *client) (left eventlog.Appended, err error) {
		opts := esdb.AppendToStreamOptions{ExpectedRevision: esdb.NoStream{}}
		if expected >= 0 {
			opts.ExpectedRevision = esdb.Revision(uint64(expected))
		}
		r, err := c.raw.AppendToStream(ctx, stream, opts, data...)
		if err != nil {
			return left, err
		}
		left.Revision = eventlog.Revision(r.NextExpectedVersion)
		left.Position = eventlog.Position(r.CommitPosition)
		if want := expected + eventlog.Revision(len(data)); left.Revision != want {
			return left, fmt.Errorf("the store says revision %d, not %d: %w", left.Revision, want, errOdd)
		}
		return left, nil
	})
}

// proposed converts events, once for all attempts. The client gives an event without an id a new
// one each time; then a repeat would be another event.
func proposed(events []eventlog.Proposed) ([]esdb.EventData, error) {
	if len(events) == 0 {
		return nil, errors.New("append: no events")
	}
	data := make([]esdb.EventData, len(events))
	for i, e := range events {
		if e.ID == uuid.Nil {
			return nil, fmt.Errorf("append: event %d has no id", i)
		}
		data[i] = esdb.EventData{
			EventID: e.ID, EventType: e.Type, ContentType: esdb.ContentTypeJson,
			Data: e.Data, Metadata: e.Meta,
		}
	}
	return data, nil
}
