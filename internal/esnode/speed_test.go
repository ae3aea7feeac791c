package esnode

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"prelude/internal/eventlog"
	"prelude/internal/eventstore"
	"prelude/internal/eventstore/storetest"
	"prelude/test/speed"
)

// guarded is a node with the guard before it, as the application has it.
func guarded(t *testing.T) (*Node, *eventstore.Store) {
	t.Helper()
	dir := storetest.Folder(t)
	socket := filepath.Join(dir, "node.sock")
	node, err := Start(context.Background(), Config{Dir: dir, Socket: socket})
	if err != nil {
		t.Fatal(err)
	}
	store, err := eventstore.Open(eventstore.Config{Socket: socket})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, err := range []error{store.Close(), node.Close()} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	return node, store
}

// appender appends one event to the end of a stream.
type appender func(stream string, expected int64) error

func throughGuard(s *eventstore.Store) appender {
	return func(stream string, expected int64) error {
		_, err := s.Append(context.Background(), stream, eventlog.Revision(expected),
			[]eventlog.Proposed{{ID: uuid.New(), Type: "session.posted.v1", Data: payload}})
		return err
	}
}

// direct calls the same group commit without a client, a guard or a connection.
func direct(n *Node) appender {
	return func(stream string, expected int64) error {
		_, err := n.writer.submit(context.Background(), &appending{
			stream: stream, expected: expected, bytes: len(payload),
			events: []event{{id: uuid.New(), kind: "session.posted.v1", json: true, data: payload}},
		})
		return err
	}
}

// rate is how many events a second some writers append, each to a stream of its own.
func rate(t *testing.T, name string, add appender, writers, total int) float64 {
	t.Helper()
	var left atomic.Int64
	left.Store(int64(total))
	var all sync.WaitGroup
	began := time.Now()
	for w := range writers {
		all.Go(func() {
			stream := fmt.Sprintf("session-%s%d", name, w)
			for at := int64(-1); left.Add(-1) >= 0; at++ {
				if err := add(stream, at); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	return float64(total) / time.Since(began).Seconds()
}

// Rounds alternate, so that what else the machine does falls on both.
const rounds = 4

func TestSpeed_of_appends_of_64_writers(t *testing.T) {
	node, store := guarded(t)
	per := speed.Size(300, 20_000)
	var ours, theirs float64
	for i := range rounds {
		theirs += rate(t, fmt.Sprint("direct", i, "-"), direct(node), writersAtOnce, per) / rounds
		ours += rate(t, fmt.Sprint("guard", i, "-"), throughGuard(store), writersAtOnce, per) / rounds
	}
	speed.Report(t, "durable appends, 64 writers, through client and guard",
		fmt.Sprintf("%.0f events/s; the group commit alone %.0f", ours, theirs),
		speed.Goal{Name: "events/s", Value: ours, Least: 15_000, Quiet: true},
		speed.Goal{Name: "× the group commit", Value: ours / theirs, Least: 0.35})
}

// bare commits a row of the same size to a file of its own, by SQLite alone.
func bare(t *testing.T) appender {
	t.Helper()
	file, err := logIn(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := openWriting(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.close(); err != nil {
			t.Error(err)
		}
	})
	if err := c.addStream.do(int64(1), []byte("session-bare")); err != nil {
		t.Fatal(err)
	}
	ev := &event{id: uuid.New(), kind: "session.posted.v1", json: true, data: payload}
	row, pos := new(encoder).encode("session-bare", 0, 1, 0, ev), int64(1)
	return func(_ string, expected int64) error {
		pos += int64(len(row))
		return errors.Join(c.begin.do(), c.addEvent.do(pos, int64(1), expected+1, row), c.commit.do())
	}
}

func TestSpeed_of_one_append(t *testing.T) {
	_, store := guarded(t)
	alone := bare(t)
	n := speed.Size(100, 2000)
	var ours, theirs []time.Duration
	one := func(add appender, stream string, at int) time.Duration {
		began := time.Now()
		if err := add(stream, int64(at-1)); err != nil {
			t.Fatal(err)
		}
		return time.Since(began)
	}
	for i := range n {
		theirs = append(theirs, one(alone, "session-bare", i))
		ours = append(ours, one(throughGuard(store), "session-guard", i))
	}
	p, base := speed.Quantile(ours, 0.5), speed.Quantile(theirs, 0.5)
	speed.Report(t, "one writer, one event, append p50 through client and guard",
		fmt.Sprintf("%.2f ms; the SQLite commit alone %.2f ms", speed.Milliseconds(p), speed.Milliseconds(base)),
		speed.Goal{Name: "× the commit", Value: float64(p) / float64(base), Most: 2.5, Quiet: true})
}

func TestSpeed_of_catching_up(t *testing.T) {
	node, store := guarded(t)
	events := speed.Size(20_000, 1_000_000)
	fill(t, node, events/fillAtOnce, events)
	began, n := time.Now(), 0
	for s, err := range store.Subscribe(t.Context(), 0, eventlog.Filter{Prefixes: []string{"session-"}}) {
		if err != nil {
			t.Fatal(err)
		}
		if s.Kind == eventlog.Event {
			n++
		}
		if s.Kind == eventlog.CaughtUp {
			break
		}
	}
	ours := float64(n) / time.Since(began).Seconds()
	began = time.Now()
	for at, more := int64(1), true; more; {
		p, err := node.book.all(t.Context(), at, 1<<62, false, pageEvents)
		if err != nil {
			t.Fatal(err)
		}
		if more = len(p.records) > 0; more {
			at = p.records[len(p.records)-1].pos + 1
		}
	}
	theirs := float64(n) / time.Since(began).Seconds()
	if n != events {
		t.Errorf("%d events came, and there are %d", n, events)
	}
	speed.Report(t, fmt.Sprintf("a catch-up subscription over %d events, through client and guard", events),
		fmt.Sprintf("%.0f events/s; reading the pages alone %.0f", ours, theirs),
		speed.Goal{Name: "events/s", Value: ours, Least: 120_000, Quiet: true},
		speed.Goal{Name: "× reading the pages", Value: ours / theirs, Least: 0.25})
}

// fillAtOnce is how many events fill has under way, and how many it appends at most at once.
const fillAtOnce = 500

// fill appends events past the protocol, in parts as large as can be, to as many streams in turn.
func fill(t *testing.T, n *Node, streams, events int) {
	t.Helper()
	per := max(1, min(fillAtOnce, events/streams))
	room := make(chan struct{}, fillAtOnce/per)
	var all sync.WaitGroup
	for i := range (events + per - 1) / per {
		a := &appending{
			stream:   fmt.Sprintf("session-%d", i%streams),
			expected: int64(i/streams*per) - 1, bytes: per * len(payload),
		}
		for range min(per, events-i*per) {
			a.events = append(a.events, event{id: uuid.New(), kind: "session.posted.v1", json: true, data: payload})
		}
		room <- struct{}{}
		all.Add(1)
		r := &request{ctx: t.Context(), op: a}
		r.done = func() {
			if r.err != nil {
				t.Error(r.err)
			}
			<-room
			all.Done()
		}
		if err := n.writer.hand(r); err != nil {
			t.Fatal(err)
		}
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
}
