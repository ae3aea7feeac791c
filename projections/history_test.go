package projections

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"

	"prelude/domain"
	"prelude/domain/apikey"
	"prelude/domain/completion"
	"prelude/domain/org"
	"prelude/domain/preset"
	"prelude/domain/receipt"
	"prelude/domain/session"
	"prelude/domain/user"
	"prelude/internal/eventlog"
)

// author writes a history by chance: what it decides, the aggregates allow.
type author struct {
	t        testing.TB
	log      *eventlog.Log
	rng      *rand.Rand
	at       time.Time
	ids      int
	last     eventlog.Position
	presets  []*thing[preset.Preset, preset.Event]
	sessions []*thing[session.Session, session.Event]
}

// thing is an aggregate with where its stream stands.
type thing[S evolver[S, E], E any] struct {
	state    S
	stream   eventlog.Stream
	revision eventlog.Revision
}

var acme = id[domain.OrgID](domain.OrgPrefix, 1)

func id[ID ~string](prefix string, n int) ID {
	return ID(domain.EncodeID(prefix, uuid.NewSHA1(uuid.Nil, fmt.Append(nil, n))))
}

func newAuthor(t testing.TB, log *eventlog.Log, seed uint64) *author {
	return &author{t: t, log: log, rng: rand.New(rand.NewPCG(seed, 0)), ids: 1,
		at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
}

func (a *author) next() int { a.ids++; return a.ids }

func (a *author) now() time.Time {
	a.at = a.at.Add(time.Duration(1+a.rng.IntN(3_600_000)) * time.Millisecond)
	return a.at
}

// append stores events at a revision and gives them as they are stored.
func (a *author) append(s eventlog.Stream, at eventlog.Revision, by domain.UserID, events ...any,
) (eventlog.Appended, []any) {
	a.t.Helper()
	command := uuid.NewSHA1(uuid.Nil, fmt.Append(nil, "command", a.next()))
	done, stored, err := a.log.Append(a.t.Context(), s, at, eventlog.Meta{Org: "org_" + s.Org,
		User: string(by), Command: command, Step: command, Rule: "test", At: a.at}, events)
	if err != nil {
		a.t.Fatal(err)
	}
	a.last = done.Position
	return done, stored
}

// decided appends what was decided, if it was, and folds it.
func decided[S evolver[S, E], E any](a *author, th *thing[S, E], by domain.UserID, events []E, err error) {
	a.t.Helper()
	var refused *domain.Error
	if errors.As(err, &refused) || len(events) == 0 {
		return
	}
	list := make([]any, len(events))
	for i, e := range events {
		list[i] = e
	}
	done, stored := a.append(th.stream, th.revision, by, list...)
	for _, e := range stored {
		th.state = th.state.Evolve(e.(E))
	}
	th.revision = done.Revision
}

// found makes an org with a user and a key.
func (a *author) found(o domain.OrgID) domain.UserID {
	a.t.Helper()
	u := id[domain.UserID](domain.UserPrefix, a.next())
	none := eventlog.None
	a.append(eventlog.OrgStream(o), none, "", org.Founded{Org: o, Slug: "acme", Name: "Acme", At: a.now()})
	a.append(eventlog.UserStream(o, u), none, "", user.Joined{User: u, Org: o, Role: domain.Owner, At: a.now(),
		Handle: domain.Seal(domain.UserKey(o, u), "owner"), Name: domain.Seal(domain.UserKey(o, u), "Olga")})
	k := id[domain.APIKeyID](domain.APIKeyPrefix, a.next())
	a.append(eventlog.APIKeyStream(o, k), none, u, apikey.Issued{Key: k, Org: o, User: u, Hash: []byte{1, 2},
		Name: domain.Seal(domain.OrgKey(o), "laptop"), At: a.now()}, apikey.Revoked{By: u, At: a.now()})
	return u
}

func draft(n int) preset.Draft {
	d := preset.Draft{Name: fmt.Sprintf("Preset %d", n), Description: "Ça va? <b>",
		Instructions: "Be kind to {{who}}.", Model: "demo", Language: "en",
		Variables: []preset.Variable{{Name: "who", Type: "string", Default: json.RawMessage(`"m\u00fc"`)},
			{Name: "n", Type: "number", Default: json.RawMessage("1e2")}},
		Context: preset.Context{Strategy: preset.TruncateOldest}}
	if n%2 == 0 {
		t := 0.1 * float64(n%7)
		d.Tags, d.Settings = []string{"a, b", "c"}, preset.Settings{Temperature: &t, Stop: []string{"END"}}
	}
	return d
}

const window = 100_000

// newPreset creates a preset.
func (a *author) newPreset(o domain.OrgID, by domain.UserID) *thing[preset.Preset, preset.Event] {
	a.t.Helper()
	n := a.next()
	p := id[domain.PresetID](domain.PresetPrefix, n)
	th := &thing[preset.Preset, preset.Event]{stream: eventlog.PresetStream(o, p), revision: eventlog.None}
	events, err := th.state.Create(preset.New{ID: p, Org: o, Scope: preset.OrgScope, Owner: by,
		Slug: fmt.Sprintf("preset-%d", n), Draft: draft(n)}, window, a.now())
	decided(a, th, by, events, err)
	a.presets = append(a.presets, th)
	return th
}

func (a *author) newSession(o domain.OrgID, by domain.UserID) *thing[session.Session, session.Event] {
	a.t.Helper()
	s := id[domain.SessionID](domain.SessionPrefix, a.next())
	th := &thing[session.Session, session.Event]{stream: eventlog.SessionStream(o, s),
		revision: eventlog.None}
	events, err := th.state.Start(session.New{ID: s, Org: o, Owner: by, Title: "Talk", Model: "demo"}, a.now())
	decided(a, th, by, events, err)
	a.sessions = append(a.sessions, th)
	return th
}

// post begins a turn.
func (a *author) post(th *thing[session.Session, session.Event]) {
	a.t.Helper()
	n := a.next()
	by := th.state.Owner
	events, err := th.state.Post(session.Post{Message: id[domain.MessageID](domain.MessagePrefix, n),
		Reply: id[domain.ReplyID](domain.ReplyPrefix, n), Author: by, Content: fmt.Sprint("Question ", n),
		Manifest: receipt.Manifest{Format: receipt.Format, Model: "demo"},
		Producer: session.Producer{Instance: "one", Boot: 7}, Until: a.at.Add(time.Minute),
		Preset: &session.PresetVersion{ID: id[domain.PresetID](domain.PresetPrefix, n%3), Version: n % 4},
	}, a.now())
	decided(a, th, by, events, err)
}

// end ends a turn, in one of the ways there are.
func (a *author) end(th *thing[session.Session, session.Event], how int) {
	a.t.Helper()
	if th.state.UnderWay == nil {
		return
	}
	e := session.End{Reply: th.state.UnderWay.Reply, Text: "Answer", Finish: "stop",
		Usage: receipt.Usage{InputTokens: 3, OutputTokens: 5}}
	switch how {
	case 1:
		e.Code, e.Detail, e.Retryable = "upstream_cut", "It was cut.", true
	case 2:
		e.Cancelled, e.By = true, th.state.Owner
	}
	events, err := th.state.End(e, a.now())
	decided(a, th, th.state.Owner, events, err)
}

// complete makes a completion, and ends it most times.
func (a *author) complete(o domain.OrgID, by domain.UserID) {
	a.t.Helper()
	n := a.next()
	r := id[domain.ReplyID](domain.ReplyPrefix, n)
	key := domain.DayKey(o, by, "2026-03-01")
	th := &thing[completion.Completion, completion.Event]{stream: eventlog.CompletionStream(o, r),
		revision: eventlog.None}
	events, err := th.state.Start(completion.Started{Reply: r, Org: o, User: by, Key: key, Asked: "demo",
		Manifest: receipt.Manifest{Model: "demo"}, At: a.now(), Until: a.at.Add(time.Minute),
		Texts: []completion.Text{{Content: domain.Seal(key, "hi")}}})
	decided(a, th, by, events, err)
	if n%4 == 0 {
		return
	}
	end := session.End{Reply: r, Text: "Hello", Finish: "stop", Usage: receipt.Usage{OutputTokens: 1}}
	if n%4 == 1 {
		end.Code = "upstream_timeout"
	}
	events, err = th.state.End(end, a.now())
	decided(a, th, by, events, err)
}
