package eventlog_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"prelude/domain"
	"prelude/internal/eventlog"
	"prelude/internal/eventlog/eventlogtest"
)

// memory is a store in memory: the port's contract and nothing else.
type memory struct {
	mu  sync.Mutex
	all []eventlog.Raw
}

func (m *memory) Append(_ context.Context, stream string, expected eventlog.Revision,
	events []eventlog.Proposed) (eventlog.Appended, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	last := eventlog.None
	for _, r := range m.all {
		if r.Stream == stream {
			last = r.Revision
		}
	}
	if last != expected {
		return eventlog.Appended{}, eventlog.ErrMoved
	}
	for _, e := range events {
		last++
		m.all = append(m.all, eventlog.Raw{ID: e.ID, Stream: stream, Revision: last, Type: e.Type,
			Position: eventlog.Position(len(m.all) + 1), Data: e.Data, Meta: e.Meta})
	}
	return eventlog.Appended{Revision: last, Position: eventlog.Position(len(m.all))}, nil
}

func (m *memory) Read(_ context.Context, stream string, from eventlog.Revision, dir eventlog.Direction,
	limit uint64) iter.Seq2[eventlog.Raw, error] {
	return m.give(dir, limit, func(r eventlog.Raw) bool {
		in := r.Revision >= from
		if dir == eventlog.Backwards {
			in = r.Revision <= from
		}
		return in && r.Stream == stream
	})
}

func (m *memory) ReadAll(_ context.Context, from eventlog.Position, dir eventlog.Direction, limit uint64,
) iter.Seq2[eventlog.Raw, error] {
	return m.give(dir, limit, func(r eventlog.Raw) bool {
		return (dir == eventlog.Forwards) == (r.Position >= from)
	})
}

func (m *memory) give(dir eventlog.Direction, limit uint64, wanted func(eventlog.Raw) bool,
) iter.Seq2[eventlog.Raw, error] {
	return func(yield func(eventlog.Raw, error) bool) {
		m.mu.Lock()
		all := slices.Clone(m.all)
		m.mu.Unlock()
		if dir == eventlog.Backwards {
			slices.Reverse(all)
		}
		given := uint64(0)
		for _, r := range all {
			if !wanted(r) {
				continue
			}
			if !yield(r, nil) {
				return
			}
			if given++; given == limit {
				return
			}
		}
	}
}

func (m *memory) Subscribe(context.Context, eventlog.Position, eventlog.Filter,
) iter.Seq2[eventlog.Signal, error] {
	return func(func(eventlog.Signal, error) bool) {}
}

// shut is a vault that does not answer.
type shut struct{ *eventlogtest.Keys }

var errShut = errors.New("the vault does not answer")

func (shut) Find(context.Context, ...domain.KeyID) (map[domain.KeyID]*eventlog.Key, error) {
	return nil, errShut
}

var (
	noon   = time.Date(2026, 3, 1, 12, 0, 0, 123_000_000, time.UTC)
	stream = eventlog.PresetStream("org_00000000000000000000000001", "prs_00000000000000000000000001")
)

func meta() eventlog.Meta {
	return eventlog.Meta{Org: "org_1", User: "usr_1", Key: "key_1", Body: "Ym9keQ", Rule: "rule",
		Command: uuid.MustParse("00000000-0000-4000-8000-000000000001"),
		Step:    uuid.MustParse("00000000-0000-4000-8000-000000000002"), Correlation: "req-1", At: noon}
}

func newLog() *eventlog.Log { return &eventlog.Log{Store: &memory{}, Keys: &eventlogtest.Keys{}} }

// appended is a log with events at the beginning of a stream.
func appended(t *testing.T, s eventlog.Stream, events ...any) *eventlog.Log {
	t.Helper()
	l := newLog()
	if _, _, err := l.Append(t.Context(), s, eventlog.None, meta(), events); err != nil {
		t.Fatal(err)
	}
	return l
}

func read(t fataler, l *eventlog.Log, s eventlog.Stream) []eventlog.Record {
	t.Helper()
	var all []eventlog.Record
	for rec, err := range l.Read(context.Background(), s, 0, eventlog.Forwards) {
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		all = append(all, rec)
	}
	return all
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// stored are the raw events of a log's store.
func stored(t *testing.T, l *eventlog.Log) []eventlog.Raw {
	t.Helper()
	m, ok := l.Store.(*memory)
	if !ok {
		t.Fatal("it is another store")
	}
	return m.all
}
