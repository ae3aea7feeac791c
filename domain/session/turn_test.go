package session_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"prelude/domain"
	"prelude/domain/domaintest"
	"prelude/domain/receipt"
	"prelude/domain/session"
)

func completed(n, text string) session.ReplyCompleted {
	return session.ReplyCompleted{Reply: domain.ReplyID("rpl_" + n), Text: kept(sessionKey, text),
		Length: len(text), Finish: "stop", Model: "demo", At: at(2)}
}

func ended(n string) []session.Event { return append(turn(n), completed(n, "hello")) }

func TestPost(t *testing.T) {
	t.Parallel()
	whole := strings.Repeat("é", session.MaxContent/2)
	long := turn("1")
	long[0] = session.MessagePosted{Message: "msg_1", Reply: "rpl_1", Author: ann,
		Content: kept(annsKey, whole), Length: len(whole), At: at(1)}
	filled := turn("1")
	version := &session.PresetVersion{ID: "prs_1", Name: "tone", Version: 2, Hash: "sha256:1"}
	filled[1] = session.ReplyStarted{Reply: "rpl_1", Message: "msg_1", Preset: version, Model: "demo",
		Producer: session.Producer{Instance: "one", Boot: 7}, Until: at(9), At: at(1)}
	filled[2] = session.ContextAssembled{Reply: "rpl_1", Manifest: manifest,
		Variables: kept(annsKey, `{"x":1}`)}
	domaintest.Run(t,
		is{Name: "a message is posted, a reply started and its receipt kept", Given: given(),
			When: post("1", "hi", nil), Then: turn("1")},
		is{Name: "the preset's version and the values are recorded", Given: given(),
			When: post("1", "hi", func(p *session.Post) {
				p.Preset, p.Variables = version, `{"x":1}`
			}), Then: filled},
		is{Name: "after the end of a reply the next is started", Given: given(ended("1")...),
			When: post("2", "hi", nil), Then: turn("2")},
		is{Name: "while a reply is under way another post is refused, with its id",
			Given: given(turn("1")...), When: post("2", "hi", nil), Refused: session.ErrUnderWay,
			Says: []string{"rpl_1"}},
		is{Name: "the same post again decides nothing", Given: given(turn("1")...),
			When: post("1", "hi", nil)},
		is{Name: "a message is needed", Given: given(), When: post("1", " \n", nil),
			Faults: []string{"content: required"}},
		is{Name: "256 KiB are taken", Given: given(), When: post("1", whole, nil), Then: long},
		is{Name: "a byte more is not", Given: given(), When: post("1", whole+"x", nil),
			Faults: []string{"content: too_long"}, Says: []string{"262144 bytes"}},
		is{Name: "NUL is refused", Given: given(), When: post("1", "a\x00", nil),
			Faults: []string{"content: nul"}},
		is{Name: "invalid UTF-8 is refused", Given: given(), When: post("1", "a\xff", nil),
			Faults: []string{"content: encoding"}},
		is{Name: "a deleted session takes no message", Given: given(deleted), When: post("1", "hi", nil),
			Refused: domain.ErrDeleted},
		is{Name: "one that is not there is not found", When: post("1", "hi", nil),
			Refused: domain.ErrNotFound},
	)
}

func TestEnd(t *testing.T) {
	t.Parallel()
	end := func(e session.End) decision {
		e.Reply = "rpl_1"
		return func(s session.Session) ([]session.Event, error) { return s.End(e, at(2)) }
	}
	used := receipt.Usage{InputTokens: 3, OutputTokens: 2}
	done := session.End{Text: "hello", Finish: "stop"}
	domaintest.Run(t,
		is{Name: "a reply is completed, with its text under the session's key", Given: given(turn("1")...),
			When: end(done), Then: []session.Event{completed("1", "hello")}},
		is{Name: "one that failed keeps what came", Given: given(turn("1")...),
			When: end(session.End{Text: "hel", Code: "upstream_cut", Detail: "It ended.", Retryable: true,
				Usage: used}),
			Then: []session.Event{session.ReplyFailed{Reply: "rpl_1", Code: "upstream_cut",
				Detail: "It ended.", Retryable: true, Text: kept(sessionKey, "hel"), Length: 3, Usage: used,
				Model: "demo", At: at(2)}}},
		is{Name: "one that was canceled says who wanted that", Given: given(turn("1")...),
			When: end(session.End{Cancelled: true, By: bob, Usage: used}),
			Then: []session.Event{session.ReplyCancelled{Reply: "rpl_1", Usage: used, Model: "demo",
				By: bob, At: at(2)}}},
		is{Name: "a lost one has no text", Given: given(turn("1")...), When: end(session.Lost("rpl_1")),
			Then: []session.Event{session.ReplyFailed{Reply: "rpl_1", Code: "lost", Retryable: true,
				Detail: session.Lost("rpl_1").Detail, Model: "demo", At: at(2)}}},
		is{Name: "it ends also when the session was deleted meanwhile",
			Given: given(append(turn("1"), deleted)...), When: end(done),
			Then: []session.Event{completed("1", "hello")}},
		is{Name: "the first end wins", Given: given(ended("1")...),
			When: end(session.End{Cancelled: true, By: bob})},
		is{Name: "another reply's end decides nothing", Given: given(append(ended("1"), turn("2")...)...),
			When: end(done)},
		is{Name: "where nothing was started nothing ends", When: end(done)},
	)
}

func TestMayPost(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		given []session.Event
		want  *domain.Error
	}{
		"a session may be posted to":  {given(), nil},
		"not while a reply is made":   {given(turn("1")...), session.ErrUnderWay},
		"after its end it may":        {given(ended("1")...), nil},
		"not when it is deleted":      {given(deleted), domain.ErrDeleted},
		"and not when it isn't there": {nil, domain.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := domaintest.Fold[session.Session](c.given...).MayPost()
			if c.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			domaintest.Refused(t, err, c.want)
		})
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text  string
		limit int
		want  string
	}{
		{"abc", 3, "abc"}, {"abc", 2, "ab"}, {"abc", 0, ""}, {"aé", 2, "a"}, {"é", 1, ""}, {"", 5, ""},
		{"a😀b", 4, "a"}, {"a😀b", 5, "a😀"},
	} {
		if got := session.Cut(c.text, c.limit); got != c.want {
			t.Errorf("Cut(%q, %d) is %q", c.text, c.limit, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		limit := rapid.IntRange(0, len(text)+3).Draw(t, "limit")
		got := session.Cut(text, limit)
		if len(got) > limit || !strings.HasPrefix(text, got) || !utf8.ValidString(got) {
			t.Fatalf("%q cut to %d is %q", text, limit, got)
		}
		if len(got) < min(limit, len(text))-3 {
			t.Fatalf("%q cut to %d has only %d bytes", text, limit, len(got))
		}
	})
}
