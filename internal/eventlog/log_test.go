package eventlog_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"prelude/domain"
	"prelude/domain/preset"
	"prelude/domain/session"
	"prelude/internal/eventlog"
	"prelude/internal/eventlog/eventlogtest"
)

const sessionKey = domain.KeyID("s.1.1")

var (
	renamed = preset.Renamed{From: "a", To: "b", By: "usr_1", At: noon}
	noted   = preset.Labeled{Label: "beta", Version: 1, Note: domain.Seal("o.1", "why"), At: noon}
	titled  = session.Renamed{Title: domain.Seal(sessionKey, "Plans"), At: noon}
)

func TestAppend(t *testing.T) {
	t.Parallel()
	t.Run("events get revisions from the expected one on, and ids that follow from the step", func(t *testing.T) {
		t.Parallel()
		l := appended(t, stream, renamed)
		done, _, err := l.Append(t.Context(), stream, 0, meta(), []any{renamed, noted})
		if err != nil || done.Revision != 2 || done.Position != 3 {
			t.Fatalf("appended %+v, %v", done, err)
		}
		for i, r := range stored(t, l) {
			want := meta().EventID(stream, eventlog.Revision(i), r.Type)
			if r.ID != want || r.Revision != eventlog.Revision(i) {
				t.Errorf("event %d is %s at %d, want %s", i, r.ID, r.Revision, want)
			}
		}
	})
	t.Run("a stream that has moved takes nothing", func(t *testing.T) {
		t.Parallel()
		l := appended(t, stream, renamed)
		_, _, err := l.Append(t.Context(), stream, eventlog.None, meta(), []any{renamed})
		if !errors.Is(err, eventlog.ErrMoved) || len(stored(t, l)) != 1 {
			t.Errorf("got %v with %d events", err, len(stored(t, l)))
		}
	})
	t.Run("without keys a text is refused", func(t *testing.T) {
		t.Parallel()
		l := &eventlog.Log{Store: &memory{}}
		if _, _, err := l.Append(t.Context(), stream, eventlog.None, meta(), []any{noted}); err == nil {
			t.Error("it was appended")
		}
		if _, _, err := l.Append(t.Context(), stream, eventlog.None, meta(), []any{renamed}); err != nil {
			t.Errorf("an event without texts is refused: %v", err)
		}
	})
	t.Run("under a destroyed key a text is refused", func(t *testing.T) {
		t.Parallel()
		l := &eventlog.Log{Store: &memory{}, Keys: eventlogtest.Without("o.1")}
		_, _, err := l.Append(t.Context(), stream, eventlog.None, meta(), []any{renamed, noted})
		if !errors.Is(err, &domain.Error{Code: "erased"}) || len(stored(t, l)) > 0 {
			t.Errorf("got %v with %d events", err, len(stored(t, l)))
		}
	})
	t.Run("a text without a key is refused", func(t *testing.T) {
		t.Parallel()
		l := newLog()
		loose := preset.Labeled{Note: domain.Secret{Text: "why"}}
		if _, _, err := l.Append(t.Context(), stream, eventlog.None, meta(), []any{loose}); err == nil {
			t.Errorf("it is stored as %s", stored(t, l)[0].Data)
		}
	})
	t.Run("while the vault does not answer a text is refused", func(t *testing.T) {
		t.Parallel()
		l := &eventlog.Log{Store: &memory{}, Keys: shut{}}
		_, _, err := l.Append(t.Context(), stream, eventlog.None, meta(), []any{noted})
		if !errors.Is(err, errShut) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a type that is not registered is a mistake of the program", func(t *testing.T) {
		t.Parallel()
		defer func() {
			if recover() == nil {
				t.Error("it was appended")
			}
		}()
		_, _, _ = newLog().Append(t.Context(), stream, eventlog.None, meta(), []any{struct{}{}})
	})
}

func TestOpen(t *testing.T) {
	t.Parallel()
	text := func(t *testing.T, r eventlog.Record) domain.Secret {
		t.Helper()
		switch e := r.Event.(type) {
		case preset.Labeled:
			return e.Note
		case session.Renamed:
			return e.Title
		}
		t.Fatalf("got %T", r.Event)
		return domain.Secret{}
	}
	t.Run("a text whose key was destroyed is gone, and that is no error", func(t *testing.T) {
		t.Parallel()
		l := appended(t, stream, noted, titled)
		l.Keys = eventlogtest.Without("o.1")
		recs := read(t, l, stream)
		if err := l.Open(t.Context(), recs); err != nil {
			t.Fatal(err)
		}
		if s := text(t, recs[0]); !s.Gone || s.Text != "" {
			t.Errorf("the destroyed one is %+v", s)
		}
		if s := text(t, recs[1]); s.Gone || s.Text != "Plans" {
			t.Errorf("the other one is %+v", s)
		}
	})
	t.Run("only what is asked for is opened", func(t *testing.T) {
		t.Parallel()
		l := appended(t, stream, noted, titled)
		recs := read(t, l, stream)
		if err := l.Open(t.Context(), recs, "o."); err != nil {
			t.Fatal(err)
		}
		if note, title := text(t, recs[0]), text(t, recs[1]); note.Text != "why" || title.Text != "" || title.Gone {
			t.Errorf("the note is %+v, the title %+v", note, title)
		}
	})
	t.Run("without keys all stay sealed, and none is gone", func(t *testing.T) {
		t.Parallel()
		l := appended(t, stream, noted)
		l.Keys = nil
		recs := read(t, l, stream)
		one, err := l.OpenSecret(t.Context(), stream, "note", text(t, recs[0]))
		if err != nil || one.Gone || one.Text != "" {
			t.Errorf("alone it is %+v, %v", one, err)
		}
		if err := l.Open(t.Context(), recs); err != nil {
			t.Fatal(err)
		}
		if s := text(t, recs[0]); s.Gone || s.Text != "" || s.Sealed == nil {
			t.Errorf("it is %+v", s)
		}
	})
	t.Run("a vault that does not answer is an error", func(t *testing.T) {
		t.Parallel()
		l := appended(t, stream, noted)
		l.Keys = shut{}
		recs := read(t, l, stream)
		if err := l.Open(t.Context(), recs); !errors.Is(err, errShut) {
			t.Errorf("got %v", err)
		}
		if _, err := l.OpenSecret(t.Context(), stream, "note", text(t, recs[0])); !errors.Is(err, errShut) {
			t.Errorf("alone: %v", err)
		}
	})
	t.Run("a text that was moved to another stream does not open", func(t *testing.T) {
		t.Parallel()
		l := appended(t, stream, noted)
		raw := stored(t, l)[0]
		raw.Stream = eventlog.PresetStream(acme, "prs_00000000000000000000000002").String()
		rec, err := eventlog.Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Open(t.Context(), []eventlog.Record{rec}); err == nil {
			t.Error("it opened")
		}
	})
}

func TestOpenSecret(t *testing.T) {
	t.Parallel()
	l := appended(t, stream, noted)
	labeled, ok := read(t, l, stream)[0].Event.(preset.Labeled)
	if !ok {
		t.Fatal("it is another event")
	}
	note := labeled.Note
	if got, err := l.OpenSecret(t.Context(), stream, "note", note); err != nil || got.Text != "why" {
		t.Errorf("in its place it is %+v, %v", got, err)
	}
	if got, err := l.OpenSecret(t.Context(), stream, "title", note); err == nil {
		t.Errorf("in another field it is %+v", got)
	}
	if got, err := l.OpenSecret(t.Context(), eventlog.PresetStream("org_2", "prs_1"), "note", note); err == nil {
		t.Errorf("in another org it is %+v", got)
	}
	other := note
	other.Key = "o.2"
	if got, err := l.OpenSecret(t.Context(), stream, "note", other); err == nil {
		t.Errorf("under another key it is %+v", got)
	}
	none, err := l.OpenSecret(t.Context(), stream, "note", domain.Secret{})
	if err != nil || !none.IsZero() {
		t.Errorf("none is %+v, %v", none, err)
	}
	l.Keys = eventlogtest.Without("o.1")
	if got, err := l.OpenSecret(t.Context(), stream, "note", note); err != nil || !got.Gone || got.Text != "" {
		t.Errorf("without its key it is %+v, %v", got, err)
	}
}

func TestKeysOf(t *testing.T) {
	t.Parallel()
	sealed := domain.Secret{Key: "o.9", Sealed: []byte{1}}
	got := eventlog.KeysOf([]any{renamed, noted, titled, noted, preset.Labeled{Note: sealed}})
	if diff := cmp.Diff([]domain.KeyID{"o.1", sessionKey}, got); diff != "" {
		t.Error(diff)
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	novel := func(t *testing.T) *eventlog.Log {
		t.Helper()
		l := appended(t, stream, renamed)
		m := stored(t, l)[0]
		_, err := l.Store.Append(t.Context(), stream.String(), 0, []eventlog.Proposed{
			{ID: uuid.New(), Type: "preset.novel.v1", Data: []byte("{}"), Meta: m.Meta}})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	t.Run("an event of an unknown name is an error", func(t *testing.T) {
		t.Parallel()
		var got []error
		for _, err := range novel(t).Read(t.Context(), stream, 0, eventlog.Forwards) {
			got = append(got, err)
		}
		if len(got) != 2 || got[0] != nil || !errors.Is(got[1], eventlog.ErrUnknownEvent) {
			t.Errorf("got %v", got)
		}
	})
	t.Run("decoded it is a record without an event", func(t *testing.T) {
		t.Parallel()
		rec, err := eventlog.Decode(stored(t, novel(t))[1])
		if err != nil || rec.Event != nil || rec.Name != "preset.novel.v1" || rec.Meta.User != "usr_1" {
			t.Errorf("got %+v, %v", rec, err)
		}
	})
	t.Run("backwards from the last", func(t *testing.T) {
		t.Parallel()
		l := appended(t, stream, renamed, noted)
		for rec, err := range l.Read(t.Context(), stream, eventlog.Last, eventlog.Backwards) {
			if err != nil || rec.Revision != 1 {
				t.Errorf("the first is %+v, %v", rec, err)
			}
			break
		}
	})
	t.Run("one is read by its revision", func(t *testing.T) {
		t.Parallel()
		l := appended(t, stream, renamed, noted)
		if rec, err := l.One(t.Context(), stream, 1); err != nil || rec.Name != "preset.labeled.v1" {
			t.Errorf("got %+v, %v", rec, err)
		}
		if rec, err := l.One(t.Context(), stream, 2); err == nil {
			t.Errorf("beyond the end is %+v", rec)
		}
	})
	t.Run("the head is the last position", func(t *testing.T) {
		t.Parallel()
		l := newLog()
		if head, err := l.Head(t.Context()); head != 0 || err != nil {
			t.Errorf("of an empty log it is %d, %v", head, err)
		}
		l = appended(t, stream, renamed, noted)
		if head, err := l.Head(context.Background()); head != 2 || err != nil {
			t.Errorf("got %d, %v", head, err)
		}
	})
}

func TestWhatCannotBeDecoded(t *testing.T) {
	t.Parallel()
	good := eventlog.Raw{Stream: stream.String(), Type: "preset.renamed.v1", Data: []byte("{}"), Meta: encodedMeta}
	if _, err := eventlog.Decode(good); err != nil {
		t.Fatal(err)
	}
	const step = `"step":"00000000-0000-4000-8000-000000000002"`
	for name, change := range map[string]func(*eventlog.Raw){
		"a stream that is none":        func(r *eventlog.Raw) { r.Stream = "preset" },
		"data that is not JSON":        func(r *eventlog.Raw) { r.Data = []byte("{") },
		"data of another form":         func(r *eventlog.Raw) { r.Data = []byte(`{"from":1}`) },
		"metadata that is not JSON":    func(r *eventlog.Raw) { r.Meta = nil },
		"metadata without a time":      func(r *eventlog.Raw) { r.Meta = []byte("{}") },
		"metadata without a command":   func(r *eventlog.Raw) { r.Meta = []byte(`{"at":"0",` + step + `}`) },
		"metadata that is not strings": func(r *eventlog.Raw) { r.Meta = []byte(`{"at":0}`) },
	} {
		raw := good
		if change(&raw); raw.Type != "" {
			if rec, err := eventlog.Decode(raw); err == nil {
				t.Errorf("%s is read as %+v", name, rec)
			}
		}
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	m := meta()
	m.Job, m.User, m.Key, m.Body, m.Rule, m.Correlation = "lost", "", "", "", "", ""
	l := newLog()
	if _, _, err := l.Append(t.Context(), stream, eventlog.None, m, []any{renamed}); err != nil {
		t.Fatal(err)
	}
	const want = `{"$causationId":"00000000-0000-4000-8000-000000000001","at":"1772366400123","job":"lost",` +
		`"org":"org_1","step":"00000000-0000-4000-8000-000000000002"}`
	if got := string(stored(t, l)[0].Meta); got != want {
		t.Errorf("it is stored as %s", got)
	}
	rec := read(t, l, stream)[0]
	if diff := cmp.Diff(m, rec.Meta); diff != "" {
		t.Error(diff)
	}
	by := domain.Principal{Org: "org_1", Job: "lost"}
	if got := rec.Meta.By(); got != by {
		t.Errorf("it was done by %+v", got)
	}
}

func TestEventID(t *testing.T) {
	t.Parallel()
	const name = "preset.renamed.v1"
	m := meta()
	stream := eventlog.PresetStream("org_1", "prs_1")
	id := m.EventID(stream, 3, name)
	if id.String() != "1c695916-239e-5af9-a064-8d50b51b69bf" {
		t.Errorf("it is %s", id)
	}
	if m.EventID(stream, 3, name) != id {
		t.Error("a repeat has another id")
	}
	step, attempt := m, m
	step.Step, attempt.Attempt = m.Command, m.Command
	for what, other := range map[string]uuid.UUID{
		"step":     step.EventID(stream, 3, name),
		"attempt":  attempt.EventID(stream, 3, name),
		"stream":   m.EventID(eventlog.IdentityStream, 3, name),
		"revision": m.EventID(stream, 4, name),
		"name":     m.EventID(stream, 3, "preset.renamed.v2"),
	} {
		if other == id {
			t.Errorf("another %s has the same id", what)
		}
	}
}
