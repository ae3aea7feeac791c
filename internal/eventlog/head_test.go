package eventlog_test

import (
	"context"
	"iter"
	"testing"

	"github.com/google/uuid"

	"prelude/internal/eventlog"
)

// counted counts the events that are read of all.
type counted struct {
	memory
	read int
}

func (c *counted) ReadAll(ctx context.Context, from eventlog.Position, dir eventlog.Direction, limit uint64,
) iter.Seq2[eventlog.Raw, error] {
	return func(yield func(eventlog.Raw, error) bool) {
		for raw, err := range c.memory.ReadAll(ctx, from, dir, limit) {
			c.read++
			if !yield(raw, err) {
				return
			}
		}
	}
}

// A store that links every event adds many of its own behind the last of ours: each is read past once.
func TestHead_reads_past_the_stores_own_events_once(t *testing.T) {
	t.Parallel()
	c := &counted{}
	l := &eventlog.Log{Store: c}
	add := func(stream string, n int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for range n {
			c.all = append(c.all, eventlog.Raw{Stream: stream, ID: uuid.New(), Position: eventlog.Position(len(c.all) + 1)})
		}
	}
	expect := func(head eventlog.Position, most int) {
		t.Helper()
		c.read = 0
		if got, err := l.Head(t.Context()); got != head || err != nil || c.read > most {
			t.Errorf("the head is %d, want %d, after %d events, at most %d: %v", got, head, c.read, most, err)
		}
	}
	expect(0, 0)
	add("$ce-order", 500)
	expect(0, 501)
	expect(0, 3)
	add("order-1", 1)
	expect(501, 1)
	add("$ce-order", 500)
	expect(501, 502)
	expect(501, 3)
	add("$ce-order", 1)
	expect(501, 4)
	c.all = c.all[:400] // it was put back
	expect(0, 401)
}
