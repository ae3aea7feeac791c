package eventstore_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"prelude/internal/eventlog"
	"prelude/internal/eventstore"
)

func TestOpen_refuses(t *testing.T) {
	t.Parallel()
	for _, c := range []eventstore.Config{
		{},
		{Address: "esdb://localhost", Socket: "/tmp/x"},
		{Address: "http://localhost"},
		{Address: "esdb://admin:secret@localhost:bad"},
	} {
		_, err := eventstore.Open(c)
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v: %v", c, err)
		}
	}
}

func TestAppend(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := events(2)
	a, err := r.store.Append(r.ctx(), "s", eventlog.None, first)
	if err != nil || a.Revision != 1 || a.Position == 0 {
		t.Fatalf("%v, %v", a, err)
	}
	again, err := r.store.Append(r.ctx(), "s", eventlog.None, first)
	if err != nil || again != a {
		t.Errorf("a repeat answers %v, %v, want %v", again, err, a)
	}
	for _, at := range []eventlog.Revision{eventlog.None, 0, 2} {
		if _, err := r.store.Append(r.ctx(), "s", at, events(1)); !errors.Is(err, eventlog.ErrMoved) {
			t.Errorf("at %d: %v", at, err)
		}
	}
	if b, err := r.store.Append(r.ctx(), "s", 1, events(1)); err != nil || b.Revision != 2 {
		t.Errorf("%v, %v", b, err)
	}
}

func TestAppend_refuses_at_once(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	nameless := events(1)
	nameless[0].ID = [16]byte{}
	large := []eventlog.Proposed{event("x", strings.Repeat("x", 16<<20))}
	for name, c := range map[string]struct {
		stream string
		at     eventlog.Revision
		events []eventlog.Proposed
	}{
		"nothing":        {"s", eventlog.None, nil},
		"no id":          {"s", eventlog.None, nameless},
		"no revision":    {"s", -2, events(1)},
		"no stream":      {"", eventlog.None, events(1)},
		"a large event":  {"s", eventlog.None, large},
		"an empty event": {"s", eventlog.None, []eventlog.Proposed{event("", "{}")}},
	} {
		_, err := r.store.Append(r.ctx(), c.stream, c.at, c.events)
		if err == nil || errors.Is(err, eventlog.ErrUnavailable) || errors.Is(err, eventlog.ErrMoved) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := r.log("s"); len(got) > 0 {
		t.Errorf("appended: %v", got)
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	sent := event("tested.v1", `{"a":1}`)
	if _, err := r.store.Append(r.ctx(), "s", eventlog.None, []eventlog.Proposed{sent}); err != nil {
		t.Fatal(err)
	}
	end := r.must("s", 0, 9)
	for _, c := range []struct {
		name  string
		from  eventlog.Revision
		dir   eventlog.Direction
		limit uint64
		want  []eventlog.Revision
	}{
		{"all", 0, eventlog.Forwards, 0, []eventlog.Revision{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
		{"some", 3, eventlog.Forwards, 2, []eventlog.Revision{3, 4}},
		{"beyond the end", 10, eventlog.Forwards, 0, nil},
		{"the last", eventlog.Last, eventlog.Backwards, 1, []eventlog.Revision{9}},
		{"backwards", 2, eventlog.Backwards, 0, []eventlog.Revision{2, 1, 0}},
		{"backwards from the first", 0, eventlog.Backwards, 0, []eventlog.Revision{0}},
		{"backwards from none", eventlog.None, eventlog.Backwards, 0, nil},
	} {
		read := r.store.Read(r.ctx(), "s", c.from, c.dir, c.limit)
		for range 2 { // a sequence may be read again
			var got []eventlog.Revision
			for e, err := range read {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, e.Revision)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s: %v", c.name, got)
			}
		}
	}
	for e, err := range r.store.Read(r.ctx(), "s", 0, eventlog.Forwards, 1) {
		if err != nil || e.ID != sent.ID || string(e.Data) != `{"a":1}` || e.Type != "tested.v1" ||
			string(e.Meta) != `{"by":"test"}` || e.Stream != "s" || e.Position == 0 ||
			time.Since(e.Created) > time.Hour {
			t.Errorf("%+v, %v", e, err)
		}
	}
	for e, err := range r.store.Read(r.ctx(), "never", 0, eventlog.Forwards, 0) {
		t.Errorf("a missing stream gave %v, %v", e, err)
	}
	for e, err := range r.store.ReadAll(r.ctx(), end.Position, eventlog.Forwards, 0) {
		if err != nil || e.Revision != 9 {
			t.Errorf("the last of all is %v, %v", e, err)
		}
	}
	for e, err := range r.store.ReadAll(r.ctx(), end.Position, eventlog.Backwards, 1) {
		if err != nil || e.Revision != 8 {
			t.Errorf("before the last is %v, %v", e, err)
		}
	}
	for e, err := range r.store.ReadAll(r.ctx(), end.Position+1, eventlog.Forwards, 1) {
		if err == nil {
			t.Errorf("no event begins there: %v", e)
		}
		break
	}
}

func TestSubscribe(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.must("preset-1", eventlog.None, 2)
	end := r.must("user-1", eventlog.None, 1)
	r.must("preset-2", eventlog.None, 1)
	collect := func(after eventlog.Position, prefixes ...string) (streams []string) {
		for s, err := range r.store.Subscribe(r.ctx(), after, eventlog.Filter{Prefixes: prefixes}) {
			if err != nil {
				t.Fatal(err)
			}
			if s.Kind == eventlog.Event {
				streams = append(streams, s.Raw.Stream)
			}
			if s.Kind == eventlog.CaughtUp {
				break
			}
		}
		return streams
	}
	for _, c := range []struct {
		after    eventlog.Position
		prefixes []string
		want     []string
	}{
		{0, nil, []string{"preset-1", "preset-1", "user-1", "preset-2"}},
		{0, []string{"preset-"}, []string{"preset-1", "preset-1", "preset-2"}},
		{0, []string{"user-", "preset-2"}, []string{"user-1", "preset-2"}},
		{end.Position, nil, []string{"preset-2"}},
		{eventlog.End, nil, nil},
	} {
		if got := collect(c.after, c.prefixes...); !slices.Equal(got, c.want) {
			t.Errorf("after %d with %v: %v", c.after, c.prefixes, got)
		}
	}
}
