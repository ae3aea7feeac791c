package projections

import (
	"context"
	"fmt"
	"hash/fnv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"prelude/domain"
	"prelude/domain/preset"
	"prelude/domain/receipt"
	"prelude/domain/session"
	"prelude/internal/eventlog"
)

const (
	fillLanes  = 8
	fillAtOnce = 32 // events of an append; it stays below what an append may hold
)

// hoard is a store that gathers what is appended to a stream and stores it in few large appends.
type hoard struct {
	eventlog.Store
	events int
	held   map[string]*held
	lanes  [fillLanes]chan *held
	done   errgroup.Group
}

type held struct {
	stream   string
	expected eventlog.Revision
	events   []eventlog.Proposed
}

// newHoard runs lanes that store at once; the appends of one stream keep to one lane, and so to their order.
func newHoard(ctx context.Context, store eventlog.Store) *hoard {
	h := &hoard{Store: store, held: map[string]*held{}}
	for i := range h.lanes {
		h.lanes[i] = make(chan *held, 4)
		h.done.Go(func() (failed error) {
			for a := range h.lanes[i] {
				if failed == nil {
					_, failed = store.Append(ctx, a.stream, a.expected, a.events)
				}
			}
			return failed
		})
	}
	return h
}

// Append implements eventlog.Store.
func (h *hoard) Append(_ context.Context, stream string, expected eventlog.Revision, events []eventlog.Proposed,
) (eventlog.Appended, error) {
	a := h.held[stream]
	if a == nil {
		a = &held{stream: stream, expected: expected}
		h.held[stream] = a
	}
	a.events = append(a.events, events...)
	if h.events += len(events); len(a.events) >= fillAtOnce {
		h.store(a)
	}
	return eventlog.Appended{Revision: expected + eventlog.Revision(len(events))}, nil
}

func (h *hoard) store(a *held) {
	delete(h.held, a.stream)
	lane := fnv.New32()
	_, _ = lane.Write([]byte(a.stream)) // it cannot fail
	h.lanes[lane.Sum32()%fillLanes] <- a
}

// close stores what is left, and waits.
func (h *hoard) close() error {
	for _, a := range h.held {
		h.store(a)
	}
	for _, lane := range h.lanes {
		close(lane)
	}
	return h.done.Wait()
}

// What is worked on at one time in the log that is filled, and how long.
const (
	fillOrgs     = 20
	openSessions = 100
	openPresets  = 40
	turnsOfOne   = 30 // of a session, before another takes its place
	changesOfOne = 25 // of a preset
)

// filled writes a log of at least total events: of four events about three are of turns and one of presets, with a few
// completions; in each org some sessions and presets are worked on at a time. It gives how many there are.
func filled(t testing.TB, log *eventlog.Log, total int) int {
	t.Helper()
	h := newHoard(t.Context(), log.Store)
	a := newAuthor(t, &eventlog.Log{Store: h, Keys: log.Keys}, 7)
	var orgs []domain.OrgID
	var owners []domain.UserID
	for i := range fillOrgs {
		orgs = append(orgs, id[domain.OrgID](domain.OrgPrefix, 1+i))
		owners = append(owners, a.found(orgs[i]))
	}
	a.ids = 1000
	for h.events < total {
		i := a.rng.IntN(fillOrgs)
		a.work(orgs[i], owners[i])
	}
	if err := h.close(); err != nil {
		t.Fatal(err)
	}
	return h.events
}

// work is one thing that happens in an org.
func (a *author) work(o domain.OrgID, by domain.UserID) {
	a.t.Helper()
	switch n := a.rng.IntN(16); {
	case n == 0:
		a.complete(o, by)
	case n <= 6:
		if len(a.sessions) < openSessions {
			a.newSession(o, by)
			return
		}
		i := a.rng.IntN(openSessions)
		if a.sessions[i].state.Messages >= 2*turnsOfOne {
			a.newSession(o, by)
			a.sessions[i] = a.sessions[openSessions]
			a.sessions = a.sessions[:openSessions]
		}
		a.turn(a.sessions[i])
	default:
		if len(a.presets) < openPresets {
			a.newPreset(o, by)
			return
		}
		i := a.rng.IntN(openPresets)
		if a.presets[i].revision >= changesOfOne {
			a.newPreset(o, by)
			a.presets[i] = a.presets[openPresets]
			a.presets = a.presets[:openPresets]
		}
		a.improve(a.presets[i])
	}
}

// turn is a message of some 200 bytes with its receipt, and an answer of some 800.
func (a *author) turn(th *thing[session.Session, session.Event]) {
	a.t.Helper()
	n := a.next()
	m := receipt.Manifest{Format: receipt.Format, Renderer: receipt.Renderer, Model: "demo", MAC: make([]byte, 32)}
	for i := range min(10, 1+th.state.Messages) {
		m.Parts = append(m.Parts, receipt.Part{Role: "user", Length: 200, Tokens: 50, MAC: make([]byte, 32),
			Source: receipt.Source{Kind: receipt.FromMessage, ID: fmt.Sprint("msg_", i)}})
	}
	events, err := th.state.Post(session.Post{Message: id[domain.MessageID](domain.MessagePrefix, n),
		Reply: id[domain.ReplyID](domain.ReplyPrefix, n), Author: th.state.Owner, Content: prose(n, 200), Manifest: m,
		Producer: session.Producer{Instance: "one", Boot: 7}, Until: a.at.Add(time.Minute),
		Preset: &session.PresetVersion{ID: id[domain.PresetID](domain.PresetPrefix, n%3), Version: 1 + n%4},
	}, a.now())
	decided(a, th, th.state.Owner, events, err)
	if th.state.UnderWay == nil {
		a.t.Fatalf("no turn began: %v", err)
	}
	e := session.End{Reply: th.state.UnderWay.Reply, Text: prose(n, 800), Finish: "stop",
		Usage: receipt.Usage{InputTokens: 300, OutputTokens: 200}}
	events, err = th.state.End(e, a.now())
	decided(a, th, th.state.Owner, events, err)
}

// improve changes a preset of some 1,000 bytes, and publishes and labels it now and then.
func (a *author) improve(th *thing[preset.Preset, preset.Event]) {
	a.t.Helper()
	p, by := th.state, th.state.Owner
	var events []preset.Event
	var err error
	switch a.rng.IntN(6) {
	case 0, 1, 2:
		d := draft(a.next())
		d.Instructions += prose(a.ids, 1000)
		events, err = p.Edit(p.Slug, d, window, by, a.now())
	case 3, 4:
		events, err = p.Publish("A note.", []string{"production"}, "", by, a.now())
	default:
		events, err = p.Label("staging", 1+a.rng.IntN(max(1, p.Version())), "Try it.", by, a.now())
	}
	decided(a, th, by, events, err)
}

var words = strings.Fields("refund order parcel invoice kindly answer briefly customer number address arrived " +
	"yesterday missing broken return label account password reset language please thanks weekend delivery")

// prose is a text of about so many bytes, which n varies.
func prose(n, bytes int) string {
	var b strings.Builder
	for i := n; b.Len() < bytes; i += 7 {
		b.WriteString(words[i*i%len(words)])
		b.WriteByte(' ')
	}
	return b.String()
}
