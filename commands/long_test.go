package commands

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"prelude/domain"
	"prelude/domain/receipt"
	"prelude/domain/session"
	"prelude/internal/eventlog"
)

// counted is a store that counts the events that are read of it.
type counted struct {
	eventlog.Store
	reads atomic.Int64
}

func (c *counted) Read(ctx context.Context, stream string, from eventlog.Revision, dir eventlog.Direction,
	limit uint64) iter.Seq2[eventlog.Raw, error] {
	return func(yield func(eventlog.Raw, error) bool) {
		for raw, err := range c.Store.Read(ctx, stream, from, dir, limit) {
			c.reads.Add(1)
			if !yield(raw, err) {
				return
			}
		}
	}
}

// shelf keeps snapshots in memory, as their JSON.
type shelf struct {
	mu   sync.Mutex
	kept map[string]Snapshot
}

func (s *shelf) Snapshot(_ context.Context, stream string, schema int) (Snapshot, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, found := s.kept[fmt.Sprint(stream, schema)]
	return k, found, nil
}

func (s *shelf) KeepSnapshot(_ context.Context, stream string, schema int, k Snapshot) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil {
		s.kept = map[string]Snapshot{}
	}
	s.kept[fmt.Sprint(stream, schema)] = k
	return nil
}

// grow appends turns to a session until it has n events, many at once.
func (r *rig) grow(id domain.SessionID, n int) {
	r.t.Helper()
	stream := eventlog.SessionStream(acme, id)
	if err := r.Log.Keys.Ensure(r.t.Context(), domain.AuthorKey(acme, id, olga), domain.SessionKey(acme, id)); err != nil {
		r.t.Fatal(err)
	}
	f, err := load[session.Session, session.Event](r.t.Context(), r.Engine, stream, true)
	if err != nil {
		r.t.Fatal(err)
	}
	for s, at := f.State, f.Revision; s.Events < n; {
		var events []any
		step := eventlog.Meta{Org: string(acme), User: string(olga), Command: uuid.New(), Step: uuid.New(), At: noon}
		for range min((n-s.Events+3)/4, 100) {
			m := by(olga)
			reply := domain.ReplyID(m.derive(domain.ReplyPrefix, 0))
			posted, err := s.Post(session.Post{Message: domain.MessageID(m.derive(domain.MessagePrefix, 0)), Reply: reply,
				Author: olga, Content: fmt.Sprint("question ", s.Events), Manifest: receipt.Manifest{Model: "demo"},
				Until: noon}, noon)
			if err != nil {
				r.t.Fatal(err)
			}
			for _, e := range posted {
				s, events = s.Evolve(e), append(events, e)
			}
			ended, err := s.End(session.End{Reply: reply, Text: fmt.Sprint("answer ", s.Events), Finish: "stop"}, noon)
			if err != nil {
				r.t.Fatal(err)
			}
			s, events = s.Evolve(ended[0]), append(events, ended[0])
		}
		done, _, err := r.Log.Append(r.t.Context(), stream, at, step, events)
		if err != nil {
			r.t.Fatal(err)
		}
		at = done.Revision
	}
}

// A command, cold and warm, and a turn on a session of 20,000 events read what they read on one of 10: at most the
// events between two snapshots, and the messages that the window holds. What the first of them read there is more than
// on one of 10, and does not grow: on one of 5,000 it is the same.
func TestSession_of_20000_events_costs_what_one_of_10_does(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Snapshots = &shelf{}
	store := &counted{Store: r.Log.Store}
	log := &eventlog.Log{Store: store, Keys: r.keys}
	type cost struct{ cold, warm, turn, next int64 }
	costOf := func(events int) (c cost) {
		id := r.session(olga)
		r.grow(id, events)
		r.coldLoad(id) // which leaves a snapshot
		r.grow(id, events+40)
		e := r.over(log)
		e.Snapshots = r.Snapshots
		e.Watched = func() bool { return true }
		measure := func(do func() error) int64 {
			before := store.reads.Load()
			if err := do(); err != nil {
				t.Fatal(err)
			}
			return store.reads.Load() - before
		}
		rename := func() error {
			_, err := e.sessions().Rename(t.Context(), id, uuid.NewString(), by(olga))
			return err
		}
		c.cold, c.warm = measure(rename), measure(rename)
		post := func() error {
			e.posted(id, by(olga))
			return nil
		}
		c.turn, c.next = measure(post), measure(post)
		return c
	}
	const middling, most = 5000, session.MaxEvents - 100
	short, middle, long := costOf(10), costOf(middling), costOf(most)
	t.Logf("events read on 10, on %d and on %d events: command cold %d, %d and %d, warm %d, %d and %d; "+
		"a turn %d, %d and %d, the next %d, %d and %d", middling, most, short.cold, middle.cold, long.cold, short.warm,
		middle.warm, long.warm, short.turn, middle.turn, long.turn, short.next, middle.next, long.next)
	if long.cold > 2*snapshotEvery || long.warm > short.warm {
		t.Errorf("a command reads %d events cold and %d warm", long.cold, long.warm)
	}
	// Both were grown by as much since their last snapshot.
	if long.cold > middle.cold+2 || long.turn > middle.turn+2 {
		t.Errorf("on %d events a cold command reads %d and a turn %d, on %d they read %d and %d", most, long.cold, long.turn,
			middling, middle.cold, middle.turn)
	}
	// Of a turn's four events one or two are texts; beyond the most messages of a request nothing is read.
	if bound := int64(2*receipt.MaxMessages + 10); long.turn > bound {
		t.Errorf("a turn reads %d events, more than %d", long.turn, bound)
	}
	// The events of the turn before it, and the state's.
	if long.next > 10 || long.next > short.next {
		t.Errorf("the next turn reads %d events, on a short session %d", long.next, short.next)
	}
}

// coldLoad folds a session with nothing in memory.
func (r *rig) coldLoad(id domain.SessionID) folded[session.Session] {
	r.t.Helper()
	e := r.over(r.Log)
	e.Snapshots = r.Snapshots
	f, err := load[session.Session, session.Event](r.t.Context(), e.Engine, eventlog.SessionStream(acme, id), true)
	if err != nil {
		r.t.Fatal(err)
	}
	return f
}

func TestSnapshot(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	kept := &shelf{}
	id := r.session(olga)
	if _, err := r.sessions().Rename(t.Context(), id, "a secret title", by(olga)); err != nil {
		t.Fatal(err)
	}
	r.grow(id, 3*snapshotEvery+7)
	m := repeatable(olga, "body")
	if _, err := r.sessions().Rename(t.Context(), id, "another", m); err != nil {
		t.Fatal(err)
	}
	whole := r.coldLoad(id)
	r.Snapshots = kept
	r.coldLoad(id)
	stream := eventlog.SessionStream(acme, id)
	s, found, _ := kept.Snapshot(t.Context(), stream.String(), snapshotSchema)
	if !found || s.Revision != whole.Revision || strings.Contains(string(s.Fold), "secret") {
		t.Fatalf("kept at %d of %d: %s", s.Revision, whole.Revision, s.Fold[:min(200, len(s.Fold))])
	}
	r.grow(id, 3*snapshotEvery+30)
	r.Snapshots = nil
	want := r.coldLoad(id)
	r.Snapshots = kept
	got := r.coldLoad(id)
	if diff := cmp.Diff(want.State, got.State, cmpopts.EquateEmpty()); diff != "" || got.Revision != want.Revision {
		t.Errorf("with a snapshot it is another state:\n%s", diff)
	}
	t.Run("remembers commands", func(t *testing.T) {
		e := r.over(r.Log)
		e.Snapshots = kept
		left, err := e.sessions().Rename(t.Context(), id, "another", m)
		if err != nil || !left.Replayed {
			t.Errorf("the repeat left %+v: %v", left, err)
		}
		other := m
		other.Body = []byte("other")
		_, err = e.sessions().Rename(t.Context(), id, "another", other)
		refused(t, err, "idempotency_key_reused")
	})
	t.Run("that cannot be read is not missed", func(t *testing.T) {
		s.Fold = []byte("{")
		if err := kept.KeepSnapshot(t.Context(), stream.String(), snapshotSchema, s); err != nil {
			t.Fatal(err)
		}
		if got := r.coldLoad(id); got.Revision != want.Revision || got.State.Messages != want.State.Messages {
			t.Errorf("it is %+v", got.State)
		}
	})
	t.Run("of another schema is not taken", func(t *testing.T) {
		if _, found, _ := kept.Snapshot(t.Context(), stream.String(), snapshotSchema+1); found {
			t.Error("it was")
		}
	})
}

// The JSON of a fold that holds everything. Where this test fails, what snapshots mean has changed, and so must
// snapshotSchema; then write the new JSON here.
func TestSnapshotSchema(t *testing.T) {
	t.Parallel()
	at := noon
	b, err := json.Marshal(storedFold[session.Session]{State: session.Session{ID: "ses_1", Org: acme, Owner: olga,
		Title: domain.Secret{Key: "s.1.1", Sealed: []byte("x")}, Preset: &session.PresetRef{ID: "prs_1"},
		Model: "demo", Messages: 2, Events: 4, CreatedAt: at, UpdatedAt: at, DeletedAt: &at, ExpiredAt: &at,
		UnderWay: &session.UnderWay{Reply: "rpl_1", Producer: session.Producer{Instance: "one", Boot: 1}, Until: at}}})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"state":{"ID":"ses_1","Org":"org_0000000000000000000000000a","Owner":"usr_00000000000000000000000001","Title":{"key":"s.1.1","sealed":"eA=="},` +
		`"Preset":{"id":"prs_1","name":"","version":0},"Variables":null,"Model":"demo","Messages":2,"Events":4,` +
		`"UnderWay":{"Reply":"rpl_1","Message":"","Preset":null,"Model":"","Producer":{"instance":"one","boot":1},` +
		`"Until":"2026-03-01T12:00:00Z"},"CreatedAt":"2026-03-01T12:00:00Z","UpdatedAt":"2026-03-01T12:00:00Z",` +
		`"DeletedAt":"2026-03-01T12:00:00Z","ExpiredAt":"2026-03-01T12:00:00Z"},"recent":null}`
	if string(b) != want || snapshotSchema != 2 {
		t.Errorf("schema %d is\n%s", snapshotSchema, b)
	}
}

func TestPost_to_a_full_session_is_refused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id := r.session(olga)
	r.grow(id, session.MaxEvents)
	_, err := r.sessions().Post(t.Context(), PostMessage{Session: id, Content: "Hi"}, by(olga))
	refused(t, err, "session_full")
	left, err := r.sessions().Branch(t.Context(), BranchSession{Session: id}, by(olga))
	if err != nil {
		t.Fatal(err)
	}
	if left.State.Messages != receipt.MaxMessages {
		t.Errorf("the branch has %d messages", left.State.Messages)
	}
	if p, end := r.posted(left.State.ID, by(olga)); end.Code != "" || p.State.Events != 4 {
		t.Errorf("in the branch: %+v", end)
	}
}

func TestBranch(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var asked []receipt.Message
	r.Models = script{says: func(ctx context.Context, req ModelRequest) iter.Seq2[Chunk, error] {
		asked = req.Request.Messages
		return saying("Yes.")(ctx, req)
	}}
	id := r.session(olga)
	if _, err := r.sessions().Rename(t.Context(), id, "Plans", by(olga)); err != nil {
		t.Fatal(err)
	}
	var last Posted
	for range 3 {
		last, _ = r.posted(id, by(olga))
	}
	m := repeatable(olga, "body")
	left, err := r.sessions().Branch(t.Context(), BranchSession{Session: id}, m)
	if err != nil || left.State.Messages != 6 || left.State.ID == id || left.State.Model != "demo" {
		t.Fatalf("left %+v: %v", left.State, err)
	}
	rec := r.records(eventlog.SessionStream(acme, left.State.ID))[0]
	e, ok := rec.Event.(session.Branched)
	if !ok || e.From != id || e.Title.Text != "Plans" || e.LeftOut || e.Through != 13 ||
		e.Carried[4].Origin != string(last.Message) || e.Carried[5].Origin != string(last.Reply) ||
		e.Carried[5].Text.Text != "Yes." || e.Carried[4].Message == last.Message {
		t.Errorf("it is %+v", rec.Event)
	}
	t.Run("a repeat makes no other", func(t *testing.T) {
		again, err := r.other().sessions().Branch(t.Context(), BranchSession{Session: id}, m)
		if err != nil || !again.Replayed || again.State.ID != left.State.ID {
			t.Errorf("left %+v: %v", again, err)
		}
	})
	t.Run("goes on with what was said", func(t *testing.T) {
		r.posted(left.State.ID, by(olga))
		var said []string
		for _, m := range asked {
			said = append(said, m.Role+" "+m.Content)
		}
		want := []string{"user Hi", "assistant Yes.", "user Hi", "assistant Yes.", "user Hi", "assistant Yes.", "user Hi"}
		if diff := cmp.Diff(want, said); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("from a message in the middle", func(t *testing.T) {
		title := "Another way"
		middle, err := r.sessions().Branch(t.Context(), BranchSession{Session: id, Through: e.Carried[2].Origin,
			Title: &title}, by(olga))
		if err != nil || middle.State.Messages != 3 {
			t.Errorf("left %+v: %v", middle.State, err)
		}
		twice, err := r.sessions().Branch(t.Context(), BranchSession{Session: middle.State.ID}, by(olga))
		if err != nil || twice.State.Messages != 3 {
			t.Errorf("a branch of it has %+v: %v", twice.State, err)
		}
	})
	t.Run("is refused", func(t *testing.T) {
		_, err := r.sessions().Branch(t.Context(), BranchSession{Session: id, Through: "msg_1"}, by(olga))
		refused(t, err, "invalid")
		long := strings.Repeat("x", 201)
		_, err = r.sessions().Branch(t.Context(), BranchSession{Session: id, Title: &long}, by(olga))
		refused(t, err, "invalid")
		_, err = r.sessions().Branch(t.Context(), BranchSession{Session: id}, by(mara))
		refused(t, err, "not_found")
		if _, err := r.sessions().Delete(t.Context(), id, by(olga)); err != nil {
			t.Fatal(err)
		}
		_, err = r.sessions().Branch(t.Context(), BranchSession{Session: id}, by(olga))
		refused(t, err, "deleted")
	})
}

// What the window or one event cannot hold stays behind.
func TestBranch_takes_what_fits(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id := r.session(olga)
	for range 4 {
		p, err := r.sessions().Post(t.Context(), PostMessage{Session: id, Content: strings.Repeat("x", 200<<10)}, by(olga))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.hub.Await(t.Context(), p.Reply).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	left, err := r.sessions().Branch(t.Context(), BranchSession{Session: id}, by(olga))
	if err != nil {
		t.Fatal(err)
	}
	e := r.records(eventlog.SessionStream(acme, left.State.ID))[0].Event.(session.Branched)
	bytes := 0
	for _, c := range e.Carried {
		bytes += c.Length
	}
	if !e.LeftOut || len(e.Carried) == 0 || bytes > session.MaxCarried || e.Carried[len(e.Carried)-1].Reply == "" {
		t.Errorf("it took %d texts of %d bytes", len(e.Carried), bytes)
	}
}
