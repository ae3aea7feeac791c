package session_test

import (
	"strings"
	"testing"
	"time"

	"prelude/domain"
	"prelude/domain/domaintest"
	"prelude/domain/receipt"
	"prelude/domain/session"
)

const ann, bob = domain.UserID("usr_ann"), domain.UserID("usr_bob")

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }

type (
	decision = domaintest.Decision[session.Session, session.Event]
	is       = domaintest.Case[session.Session, session.Event]
)

// The keys that texts are kept under: the session's own, and that of what ann wrote in it.
const sessionKey, annsKey = domain.KeyID("s.1.1"), domain.KeyID("a.1.1.ann")

func kept(key domain.KeyID, text string) domain.Secret { return domain.Secret{Key: key, Text: text} }

var tone = session.PresetRef{ID: "prs_1", Name: "tone", Version: 2}

func start(change func(*session.New)) decision {
	n := session.New{ID: "ses_1", Org: "org_1", Owner: ann, Model: "demo"}
	if change != nil {
		change(&n)
	}
	return func(s session.Session) ([]session.Event, error) { return s.Start(n, noon) }
}

var started = session.Started{Session: "ses_1", Org: "org_1", Owner: ann, Model: "demo", At: noon}

func given(more ...session.Event) []session.Event { return append([]session.Event{started}, more...) }

var deleted = session.Deleted{By: ann, At: at(5)}

// turn is a message with the reply that it starts.
func turn(n string) []session.Event {
	return []session.Event{
		session.MessagePosted{Message: domain.MessageID("msg_" + n), Reply: domain.ReplyID("rpl_" + n),
			Author: ann, Content: kept(annsKey, "hi"), Length: 2, At: at(1)},
		session.ReplyStarted{Reply: domain.ReplyID("rpl_" + n), Message: domain.MessageID("msg_" + n),
			Model: "demo", Producer: session.Producer{Instance: "one", Boot: 7}, Until: at(9), At: at(1)},
		session.ContextAssembled{Reply: domain.ReplyID("rpl_" + n), Manifest: manifest},
	}
}

var manifest = receipt.Manifest{Format: receipt.Format, Model: "demo"}

func post(n, content string, change func(*session.Post)) decision {
	p := session.Post{Message: domain.MessageID("msg_" + n), Reply: domain.ReplyID("rpl_" + n),
		Author: ann, Content: content, Manifest: manifest,
		Producer: session.Producer{Instance: "one", Boot: 7}, Until: at(9)}
	if change != nil {
		change(&p)
	}
	return func(s session.Session) ([]session.Event, error) { return s.Post(p, at(1)) }
}

func TestStart(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 200)
	with := func(change func(*session.Started)) []session.Event {
		s := started
		change(&s)
		return []session.Event{s}
	}
	titled := func(title string) decision { return start(func(n *session.New) { n.Title = title }) }
	domaintest.Run(t,
		is{Name: "a session is started with a model", When: start(nil), Then: given()},
		is{Name: "or with a preset and its variables, under the author's key",
			When: start(func(n *session.New) { n.Model, n.Preset, n.Variables = "", &tone, `{"x":1}` }),
			Then: with(func(s *session.Started) {
				s.Model, s.Preset, s.Variables = "", &tone, kept(annsKey, `{"x":1}`)
			})},
		is{Name: "a title is under the session's key", When: titled("Plans"),
			Then: with(func(s *session.Started) { s.Title = kept(sessionKey, "Plans") })},
		is{Name: "one that is there is not started again", Given: given(), When: titled("Other")},
		is{Name: "a preset or a model is needed", When: start(func(n *session.New) { n.Model = "" }),
			Faults: []string{"preset: required"}},
		is{Name: "a title of 200 characters is taken", When: titled(long),
			Then: with(func(s *session.Started) { s.Title = kept(sessionKey, long) })},
		is{Name: "a title of 201 is not", When: titled(long + "x"), Faults: []string{"title: too_long"}},
		is{Name: "a title has no NUL", When: titled("\x00"), Faults: []string{"title: nul"}},
		is{Name: "a title is UTF-8", When: titled("\xff"), Faults: []string{"title: encoding"}},
	)
}

func TestApply(t *testing.T) {
	t.Parallel()
	apply := func(p *session.PresetRef, values, model string) decision {
		return func(s session.Session) ([]session.Event, error) { return s.Apply(p, values, model, ann, at(2)) }
	}
	applied := func(p *session.PresetRef, values, model string) session.Event {
		e := session.PresetApplied{Preset: p, Model: model, By: ann, At: at(2)}
		if values != "" {
			e.Variables = kept(annsKey, values)
		}
		return e
	}
	newer := tone
	newer.Version = 3
	domaintest.Run(t,
		is{Name: "a preset is applied", Given: given(), When: apply(&tone, "", ""),
			Then: []session.Event{applied(&tone, "", "")}},
		is{Name: "with values", Given: given(), When: apply(&tone, `{"x":1}`, ""),
			Then: []session.Event{applied(&tone, `{"x":1}`, "")}},
		is{Name: "the same again decides nothing", Given: given(applied(&tone, `{"x":1}`, "demo")),
			When: apply(&tone, `{"x":1}`, "demo")},
		is{Name: "other values are applied", Given: given(applied(&tone, `{"x":1}`, "")),
			When: apply(&tone, `{"x":2}`, ""), Then: []session.Event{applied(&tone, `{"x":2}`, "")}},
		is{Name: "no values are other values", Given: given(applied(&tone, `{"x":1}`, "")),
			When: apply(&tone, "", ""), Then: []session.Event{applied(&tone, "", "")}},
		is{Name: "another version is applied", Given: given(applied(&tone, "", "")),
			When: apply(&newer, "", ""), Then: []session.Event{applied(&newer, "", "")}},
		is{Name: "a model alone takes the preset away", Given: given(applied(&tone, "", "")),
			When: apply(nil, "", "demo"), Then: []session.Event{applied(nil, "", "demo")}},
		is{Name: "what answers already stays", Given: given(), When: apply(nil, "", "demo")},
		is{Name: "a preset or a model is needed", Given: given(), When: apply(nil, "", ""),
			Faults: []string{"preset: required"}},
		is{Name: "a deleted session takes none", Given: given(deleted), When: apply(&tone, "", ""),
			Refused: domain.ErrDeleted},
		is{Name: "one that is not there is not found", When: apply(&tone, "", ""),
			Refused: domain.ErrNotFound},
	)
}

func TestRename(t *testing.T) {
	t.Parallel()
	rename := func(title string) decision {
		return func(s session.Session) ([]session.Event, error) {
			return s.Rename(title, s.Title.Text, bob, at(3))
		}
	}
	renamed := func(title domain.Secret) session.Event {
		return session.Renamed{Title: title, By: bob, At: at(3)}
	}
	domaintest.Run(t,
		is{Name: "a session gets a title", Given: given(), When: rename("Plans"),
			Then: []session.Event{renamed(kept(sessionKey, "Plans"))}},
		is{Name: "the same title again decides nothing",
			Given: given(renamed(kept(sessionKey, "Plans"))), When: rename("Plans")},
		is{Name: "a title is taken away", Given: given(renamed(kept(sessionKey, "Plans"))),
			When: rename(""), Then: []session.Event{renamed(domain.Secret{})}},
		is{Name: "a title of 201 characters is too long", Given: given(),
			When: rename(strings.Repeat("é", 201)), Faults: []string{"title: too_long"}},
		is{Name: "a deleted session keeps its title", Given: given(deleted), When: rename("Plans"),
			Refused: domain.ErrDeleted},
		is{Name: "one that is not there is not found", When: rename("Plans"), Refused: domain.ErrNotFound},
	)
}

func TestDeleteAndRestore(t *testing.T) {
	t.Parallel()
	remove := func(s session.Session) ([]session.Event, error) { return s.Delete(ann, at(5)) }
	restore := func(s session.Session) ([]session.Event, error) { return s.Restore(ann, at(6)) }
	restored := session.Restored{By: ann, At: at(6)}
	domaintest.Run(t,
		is{Name: "a session is deleted", Given: given(), When: remove, Then: []session.Event{deleted}},
		is{Name: "also while a reply is under way", Given: given(turn("1")...), When: remove,
			Then: []session.Event{deleted}},
		is{Name: "a deleted one stays deleted", Given: given(deleted), When: remove},
		is{Name: "none is deleted that is not there", When: remove, Refused: domain.ErrNotFound},
		is{Name: "a deleted session is restored", Given: given(deleted), When: restore,
			Then: []session.Event{restored}},
		is{Name: "one in use stays so", Given: given(), When: restore},
		is{Name: "none is restored that is not there", When: restore, Refused: domain.ErrNotFound},
	)
	s := domaintest.Fold[session.Session](given(deleted)...)
	if s.Status() != "deleted" || s.Evolve(restored).Status() != "active" {
		t.Errorf("the status is %s, restored %s", s.Status(), s.Evolve(restored).Status())
	}
}

func TestETag(t *testing.T) {
	t.Parallel()
	s := domaintest.Fold[session.Session](given()...)
	titled := session.Renamed{Title: domain.Secret{Key: sessionKey, Sealed: []byte{1}}}
	if s.Evolve(titled).ETag() == s.ETag() {
		t.Error("another title leaves it as it is")
	}
	for _, e := range append(turn("1"), deleted, session.PresetApplied{Preset: &tone}) {
		if s.Evolve(e).ETag() != s.ETag() {
			t.Errorf("%T changes it", e)
		}
	}
}
