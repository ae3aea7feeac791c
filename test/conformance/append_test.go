package conformance

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	"prelude/test/conformance/wire"
)

const (
	fine    = "ok"
	wrong   = "wrong version"
	deleted = "deleted"
)

// appendRule is a row of the protocol's decision table: the stream has the events a, b, c unless
// state says otherwise.
type appendRule struct {
	name     string
	state    string
	expected int64
	ids      string
	want     string
	rev      int64
}

var appendRules = []appendRule{
	{"the last revision appends", "abc", 2, "d", fine, 3},
	{"several events are one append", "abc", 2, "d e f", fine, 5},
	{"no stream appends the first", "", wire.NoStream, "d", fine, 0},
	{"a later revision is wrong", "abc", 3, "d", wrong, 2},
	{"a revision of a missing stream is wrong", "", 0, "d", wrong, -1},
	{"an earlier revision is wrong", "abc", 1, "d", wrong, 2},
	{"no stream is wrong for one that exists", "abc", wire.NoStream, "d", wrong, 2},
	{"the same id at the last revision is appended again", "abc", 2, "c", fine, 3},
	{"a repeat of the first answers as then", "abc", wire.NoStream, "a", fine, 0},
	{"a repeat of several answers as then", "abc", 0, "b c", fine, 2},
	{"a repeat that goes on is wrong", "abc", 0, "b c d", wrong, 2},
	{"a repeat that differs later is wrong", "abc", wire.NoStream, "a x", wrong, 2},
	{"a repeat at another revision is wrong", "abc", 0, "c", wrong, 2},
	{"any appends", "abc", wire.Any, "d", fine, 3},
	{"any appends to a missing stream", "", wire.Any, "d", fine, 0},
	{"an id that comes twice in one append is two events", "abc", 2, "d d", fine, 4},
	{"any takes an id twice in one append", "abc", wire.Any, "d d", fine, 4},
	{"any knows a repeat", "abc", wire.Any, "a b", fine, 1},
	{"any refuses a repeat that goes on", "abc", wire.Any, "c d", wrong, 2},
	{"any appends when only a later id is known", "abc", wire.Any, "d a", fine, 4},
	{"exists appends", "abc", wire.Exists, "d", fine, 3},
	{"exists knows a repeat", "abc", wire.Exists, "c", fine, 2},
	{"exists is wrong for a missing stream", "", wire.Exists, "d", wrong, -1},
	{"exists is content with metadata", "meta", wire.Exists, "d", fine, 0},
	{"exists finds a deleted stream deleted", "abc deleted", wire.Exists, "d", deleted, 0},
	{"the last revision undeletes", "abc deleted", 2, "d", fine, 3},
	{"no stream undeletes", "abc deleted", wire.NoStream, "d", fine, 3},
	{"no stream knows a repeat in a deleted stream", "abc deleted", wire.NoStream, "a", fine, 0},
	{"any undeletes", "abc deleted", wire.Any, "d", fine, 3},
	{"an earlier revision of a deleted stream is wrong", "abc deleted", 1, "d", wrong, 2},
	{"a later revision of a deleted stream is wrong", "abc deleted", 3, "d", wrong, 2},
	{"a tombstone refuses any", "abc buried", wire.Any, "d", deleted, 0},
	{"a tombstone refuses exists", "abc buried", wire.Exists, "d", deleted, 0},
	{"a tombstone refuses no stream", "buried", wire.NoStream, "d", deleted, 0},
	{"a tombstone refuses the last revision", "abc buried", 2, "d", deleted, 0},
	{"a tombstone refuses a repeat", "abc buried", wire.NoStream, "a", deleted, 0},
	{"nothing changes nothing", "abc", 2, "", fine, 2},
	{"nothing makes no stream", "", wire.NoStream, "", fine, -1},
}

func TestAppend(t *testing.T) {
	t.Parallel()
	c := plain(t)
	for _, rule := range appendRules {
		t.Run(rule.name, func(t *testing.T) { rule.check(t, c.For(t)) })
	}
	for name, test := range map[string]func(*testing.T, *wire.Client){
		"a repeat answers with the old position":       repeatAnswersOldPosition,
		"an id in another stream does not count":       idsCountPerStream,
		"an append is whole or not at all":             appendIsAtomic,
		"the answer names the last event's position":   appendAnswersLast,
		"a wrong version names both revisions":         wrongVersionNames,
		"an event without a type is refused":           refusesUntyped,
		"an event without a content type is refused":   refusesWithoutContent,
		"an event without an id is refused":            refusesWithoutID,
		"a stream without a name is refused":           refusesStream(""),
		"metadata of a stream without name is refused": refusesStream("$$"),
		"the client gets its own errors":               clientAppendErrors,
	} {
		t.Run(name, func(t *testing.T) { test(t, c.For(t)) })
	}
}

func (rule appendRule) check(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	ids := func(list string) (all []string) {
		for _, i := range strings.Fields(list) {
			all = append(all, s+i)
		}
		return all
	}
	prepare(c, s, rule.state, ids("a b c"))
	a := c.Append(s, rule.expected, ids(rule.ids)...)
	got, rev := fine, a.Rev
	switch {
	case a.Exception() == "stream-deleted" && wire.Code(a.Err) == codes.FailedPrecondition:
		got, rev = deleted, 0
		if a.Trailer("stream-name") != s { // the client panics without it
			t.Errorf("the stream's name is %v", a.Trailers)
		}
	case a.Err != nil:
		t.Fatal(a.Err)
	case a.Wrong != nil:
		got, rev = wrong, currentOf(a.Wrong)
	}
	if got != rule.want || rev != rule.rev {
		t.Errorf("got %s at %d, want %s at %d", got, rev, rule.want, rule.rev)
	}
}

func currentOf(w *api.AppendResp_WrongExpectedVersion) int64 {
	if w.GetCurrentNoStream() != nil {
		return -1
	}
	return int64(w.GetCurrentRevision())
}

// prepare brings a stream into a state, which is words: abc, meta, deleted, buried.
func prepare(c *wire.Client, s, state string, ids []string) {
	c.T.Helper()
	for _, word := range strings.Fields(state) {
		var err error
		switch word {
		case "abc":
			c.Must(s, wire.NoStream, ids...)
		case "meta":
			c.SetMeta(s, `{"$maxCount":5}`)
		case "deleted":
			err = c.Delete(s, wire.Any).Err
		case "buried":
			err = c.Tombstone(s, wire.Any).Err
		}
		if err != nil {
			c.T.Fatalf("%s: %v", word, err)
		}
	}
}

func repeatAnswersOldPosition(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	first := c.Must(s, wire.NoStream, s+"a", s+"b")
	c.Must(s, 1, s+"c")
	for _, expected := range []int64{wire.NoStream, wire.Any} {
		again := c.Must(s, expected, s+"a", s+"b")
		if again.Pos != first.Pos || again.Rev != 1 {
			t.Errorf("got %d at %d, want %d at 1", again.Rev, again.Pos, first.Pos)
		}
	}
	if again := c.Must(s, 0, s+"b"); again.Pos != first.Pos {
		t.Errorf("position %d, want %d", again.Pos, first.Pos)
	}
	if got := c.Revisions(s); len(got) != 3 {
		t.Errorf("the stream has %v", got)
	}
}

func idsCountPerStream(t *testing.T, c *wire.Client) {
	t.Helper()
	one, two := named(t, "one"), named(t, "two")
	c.Must(one, wire.Any, "a"+one, "b"+one)
	c.Must(two, wire.Any, "a"+one, "b"+one)
	for _, s := range []string{one, two} {
		if got := c.Revisions(s); !slices.Equal(got, []int64{0, 1}) {
			t.Errorf("%s has %v", s, got)
		}
	}
}

func appendIsAtomic(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	nameless := wire.Message(uuid.Nil, "tested", "{}")
	a := c.Send(s, wire.NoStream, wire.Message(wire.ID(s), "tested", "{}"), nameless)
	mistaken(t, "the append", a.Err)
	if got := c.Revisions(s); !slices.Equal(got, []int64{-1}) {
		t.Errorf("something was appended: %v", got)
	}
}

// mistaken says that a call was refused as the caller's mistake. Stores that meet an exception in it answer
// UNKNOWN, others say what was wrong.
func mistaken(t *testing.T, what string, err error) {
	t.Helper()
	if c := wire.Code(err); c != codes.InvalidArgument && c != codes.Unknown {
		t.Errorf("%s ends with %v", what, err)
	}
}

func appendAnswersLast(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	a := c.Must(s, wire.NoStream, s+"a", s+"b", s+"c")
	got, err := c.Read(wire.OfStream(s))
	if err != nil || len(got) != 3 {
		t.Fatalf("%d events, %v", len(got), err)
	}
	at := wire.PositionsOf(got)
	if a.Rev != 2 || a.Pos != at[2] || !slices.IsSorted(at) || at[0] == at[1] || at[1] == at[2] {
		t.Errorf("got %d at %d, the events are at %v", a.Rev, a.Pos, at)
	}
}

func wrongVersionNames(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	c.Must(s, wire.NoStream, s+"a", s+"b")
	w := c.Append(s, 5, s+"c").Wrong
	if w.GetExpectedRevision() != 5 || w.GetCurrentRevision() != 1 {
		t.Errorf("got %v", w)
	}
	if w := c.Append(s, wire.NoStream, s+"c").Wrong; w.GetExpectedNoStream() == nil {
		t.Errorf("got %v", w)
	}
	w = c.Append(named(t, "none"), wire.Exists, s+"c").Wrong
	if w.GetExpectedStreamExists() == nil || w.GetCurrentNoStream() == nil {
		t.Errorf("got %v", w)
	}
	if w := c.Append(s, wire.Any, s+"b", s+"x").Wrong; w.GetExpectedAny() == nil {
		t.Errorf("got %v", w)
	}
}

// refusal sends an event that should be refused, with others around it, and gives the answer.
func refusal(t *testing.T, c *wire.Client, m *api.AppendReq_ProposedMessage) wire.Answer {
	t.Helper()
	s := named(t, "s")
	good := func(name string) *api.AppendReq_ProposedMessage {
		return wire.Message(wire.ID(s+name), "tested", "{}")
	}
	a := c.Send(s, wire.Any, good("a"), m, good("b"))
	mistaken(t, "it", a.Err)
	if got := c.Revisions(s); !slices.Equal(got, []int64{-1}) {
		t.Errorf("something was appended: %v", got)
	}
	return a
}

func refusesUntyped(t *testing.T, c *wire.Client) {
	t.Helper()
	m := wire.Message(uuid.New(), "", "{}")
	delete(m.Metadata, "type")
	a := refusal(t, c, m)
	if a.Exception() != "missing-required-metadata-property" ||
		!strings.Contains(a.Trailer("required-metadata-properties"), "type") {
		t.Errorf("the trailers are %v", a.Trailers)
	}
}

func refusesWithoutContent(t *testing.T, c *wire.Client) {
	t.Helper()
	m := wire.Message(uuid.New(), "tested", "{}")
	delete(m.Metadata, "content-type")
	if a := refusal(t, c, m); a.Exception() != "missing-required-metadata-property" {
		t.Errorf("the trailers are %v", a.Trailers)
	}
}

func refusesWithoutID(t *testing.T, c *wire.Client) {
	t.Helper()
	refusal(t, c, wire.Message(uuid.Nil, "tested", "{}"))
	m := wire.Message(uuid.New(), "tested", "{}")
	m.Id = &shared.UUID{Value: &shared.UUID_String_{String_: "no id"}}
	refusal(t, c, m)
}

func refusesStream(name string) func(t *testing.T, c *wire.Client) {
	return func(t *testing.T, c *wire.Client) {
		t.Helper()
		if !ours {
			t.Skip("EventStoreDB 24.6 meets an exception in this, and its process ends")
		}
		a := c.Send(name, wire.Any, wire.Message(uuid.New(), "tested", "{}"))
		if wire.Code(a.Err) != codes.InvalidArgument {
			t.Errorf("it ends with %v", a.Err)
		}
	}
}

func clientAppendErrors(t *testing.T, _ *wire.Client) {
	t.Helper()
	c, s := official(t), named(t, "s")
	event := func() esdb.EventData {
		return esdb.EventData{
			EventID: uuid.New(), EventType: "tested", ContentType: esdb.ContentTypeJson, Data: []byte("{}"),
		}
	}
	at := func(e esdb.ExpectedRevision) error {
		_, err := c.AppendToStream(wire.Within(t), s,
			esdb.AppendToStreamOptions{ExpectedRevision: e}, event())
		return err
	}
	if err := at(esdb.NoStream{}); err != nil {
		t.Fatal(err)
	}
	if got := codeOf(t, at(esdb.Revision(7))); got != esdb.ErrorCodeWrongExpectedVersion {
		t.Errorf("a wrong version has the code %d", got)
	}
	if _, err := c.TombstoneStream(wire.Within(t), s, esdb.TombstoneStreamOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := codeOf(t, at(esdb.Any{})); got != esdb.ErrorCodeStreamDeleted {
		t.Errorf("a tombstone has the code %d", got)
	}
}

// codeOf gives the official client's code for an error.
func codeOf(t *testing.T, err error) esdb.ErrorCode {
	t.Helper()
	e, ok := esdb.FromError(err)
	if ok || e == nil {
		t.Fatal(fmt.Errorf("no error of the client's: %w", err))
	}
	return e.Code()
}
