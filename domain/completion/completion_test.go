package completion_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"prelude/domain"
	"prelude/domain/completion"
	"prelude/domain/domaintest"
	"prelude/domain/receipt"
	"prelude/domain/session"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

type (
	decision = domaintest.Decision[completion.Completion, completion.Event]
	is       = domaintest.Case[completion.Completion, completion.Event]
)

const key = domain.KeyID("d.1.2.2026-03-01")

var started = completion.Started{
	Reply: "rpl_1", Org: "org_1", User: "usr_2", Key: key, Asked: "preset:tone",
	Preset:   &session.PresetVersion{ID: "prs_1", Name: "tone", Version: 2},
	Texts:    []completion.Text{{Part: 1, Content: domain.Secret{Key: key, Text: "hi"}}},
	Manifest: receipt.Manifest{Format: receipt.Format, Model: "demo"}, Until: noon.Add(time.Minute), At: noon,
}

func ended(change func(*completion.Ended)) completion.Event {
	e := completion.Ended{Status: "completed", Preset: started.Preset, Model: "demo", At: noon}
	change(&e)
	return e
}

func start(c completion.Completion) ([]completion.Event, error) { return c.Start(started) }

func end(e session.End) decision {
	return func(c completion.Completion) ([]completion.Event, error) { return c.End(e, noon) }
}

func TestStart(t *testing.T) {
	t.Parallel()
	domaintest.Run(t,
		is{Name: "a completion is started", When: start, Then: []completion.Event{started}},
		is{Name: "one that is there is not started again", Given: []completion.Event{started}, When: start},
	)
}

func TestEnd(t *testing.T) {
	t.Parallel()
	under := []completion.Event{started}
	hello := domain.Secret{Key: key, Text: "hello"}
	used := receipt.Usage{InputTokens: 3, OutputTokens: 2}
	whole := ended(func(e *completion.Ended) {
		e.Text, e.Length, e.Finish, e.Usage = hello, 5, "stop", used
	})
	domaintest.Run(t,
		is{Name: "it is completed, with its text under the call's key", Given: under,
			When: end(session.End{Text: "hello", Finish: "stop", Usage: used}),
			Then: []completion.Event{whole}},
		is{Name: "one that failed keeps what came", Given: under,
			When: end(session.End{Text: "hello", Code: "upstream_cut", Detail: "It ended.", Retryable: true}),
			Then: []completion.Event{ended(func(e *completion.Ended) {
				e.Status, e.Text, e.Length = "failed", hello, 5
				e.Code, e.Detail, e.Retryable = "upstream_cut", "It ended.", true
			})}},
		is{Name: "one that was canceled says who wanted that", Given: under,
			When: end(session.End{Cancelled: true, By: "usr_2"}),
			Then: []completion.Event{ended(func(e *completion.Ended) {
				e.Status, e.By = "cancelled", "usr_2"
			})}},
		is{Name: "the first end wins", Given: append(under, whole),
			When: end(session.End{Cancelled: true, By: "usr_2"})},
		is{Name: "where nothing was started nothing is found", When: end(session.End{}),
			Refused: domain.ErrNotFound},
	)
}

// invariants of a completion: it is started once and ends at most once, after that.
func invariants(t *rapid.T, s domaintest.Step[completion.Completion, completion.Event]) {
	for i, e := range s.History {
		if _, first := e.(completion.Started); first != (i == 0) || i > 1 {
			t.Fatalf("the history is %+v", s.History)
		}
	}
	if s.After.Ended != (len(s.History) == 2) || (s.After.Reply != "") != (len(s.History) > 0) {
		t.Fatalf("it is %+v after %d events", s.After, len(s.History))
	}
}

func TestNoDecisionsBreakACompletion(t *testing.T) {
	t.Parallel()
	domaintest.Walk(t, func(t *rapid.T, _ int) decision {
		if rapid.Bool().Draw(t, "start") {
			return start
		}
		return end(session.End{
			Text: rapid.String().Draw(t, "text"), Cancelled: rapid.Bool().Draw(t, "cancelled"),
			Code: rapid.SampledFrom([]string{"", "lost"}).Draw(t, "code"),
		})
	}, invariants)
}
