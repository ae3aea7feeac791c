package conformance

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"prelude/test/conformance/wire"
)

// removeRule says whether a stream in a state may be deleted or given a tombstone.
type removeRule struct {
	name     string
	state    string
	expected int64
	delete   string // what a delete answers
	bury     string // what a tombstone answers
}

var removeRules = []removeRule{
	{"the last revision", "abc", 2, fine, fine},
	{"any", "abc", wire.Any, fine, fine},
	{"exists", "abc", wire.Exists, fine, fine},
	{"an earlier revision", "abc", 1, wrong, wrong},
	{"a later revision", "abc", 3, wrong, wrong},
	{"no stream of one that exists", "abc", wire.NoStream, wrong, wrong},
	{"any of one that never existed", "", wire.Any, wrong, fine},
	{"no stream of one that never existed", "", wire.NoStream, wrong, fine},
	{"exists of one that never existed", "", wire.Exists, wrong, wrong},
	{"a revision of one that never existed", "", 0, wrong, wrong},
	{"any of one with metadata alone", "meta", wire.Any, fine, fine},
	{"any of a deleted one", "abc deleted", wire.Any, fine, fine},
	{"the last revision of a deleted one", "abc deleted", 2, fine, fine},
	{"exists of a deleted one", "abc deleted", wire.Exists, deleted, deleted},
	{"any of a buried one", "abc buried", wire.Any, deleted, deleted},
	{"the last revision of a buried one", "abc buried", 2, deleted, deleted},
}

func (rule removeRule) check(
	t *testing.T, c *wire.Client, want string, do func(c *wire.Client, s string, e int64) wire.Answer,
) {
	t.Helper()
	s := named(t, "s")
	prepare(c, s, rule.state, []string{s + "a", s + "b", s + "c"})
	a := do(c, s, rule.expected)
	got := fine
	switch {
	case wire.Code(a.Err) == codes.FailedPrecondition && a.Exception() == "stream-deleted":
		got = deleted
	case wire.Code(a.Err) == codes.FailedPrecondition && a.Exception() == "wrong-expected-version":
		got = wrong
		if a.Trailer("expected-version") != strconv.FormatInt(rule.expected, 10) ||
			a.Trailer("actual-version") == "" || a.Trailer("stream-name") != s {
			t.Errorf("the trailers are %v", a.Trailers)
		}
	case a.Err != nil:
		t.Fatal(a.Err)
	case a.Pos == 0:
		t.Error("the answer names no position")
	}
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	c := plain(t)
	for _, rule := range removeRules {
		t.Run(rule.name, func(t *testing.T) { rule.check(t, c.For(t), rule.delete, (*wire.Client).Delete) })
	}
	for name, test := range map[string]func(*testing.T, *wire.Client){
		"hides the stream":                        deleteHides,
		"writes metadata that replace all others": deleteReplacesMetadata,
		"repeated writes again":                   deleteTwice,
		"lets revisions go on from where it was":  deleteGoesOn,
		"metadata bring the stream back empty":    metadataUndelete,
		"a wrong version says it in words":        wrongVersionInWords,
	} {
		t.Run(name, func(t *testing.T) { test(t, c.For(t)) })
	}
}

func TestTombstone(t *testing.T) {
	t.Parallel()
	c := plain(t)
	for _, rule := range removeRules {
		t.Run(rule.name, func(t *testing.T) { rule.check(t, c.For(t), rule.bury, (*wire.Client).Tombstone) })
	}
	for _, state := range []string{"abc", "abc deleted", "meta", ""} {
		t.Run("leaves nothing of "+state, func(t *testing.T) { buryState(t, c.For(t), state) })
	}
	t.Run("is an event of the log", func(t *testing.T) { tombstoneIsLogged(t, c.For(t)) })
}

func deleteHides(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	c.Must(s, wire.NoStream, s+"a")
	if a := c.Delete(s, 0); a.Err != nil {
		t.Fatal(a.Err)
	}
	if got := c.Revisions(s); !slices.Equal(got, []int64{-1}) {
		t.Errorf("the stream shows %v", got)
	}
}

func deleteReplacesMetadata(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	c.Must(s, wire.NoStream, s+"a")
	c.SetMeta(s, `{"$maxCount":5,"own":1}`)
	a := c.Delete(s, wire.Any)
	if got := compact(t, c.Meta(s)); got != `{"$tb":9223372036854775807}` {
		t.Errorf("its metadata are %s", got)
	}
	got, err := c.Read(wire.OfStream("$$" + s))
	if err != nil || !slices.Equal(wire.PositionsOf(got), []int64{a.Pos}) {
		t.Errorf("the answer names %d, the event is %v, %v", a.Pos, got, err)
	}
}

func deleteTwice(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	c.Must(s, wire.NoStream, s+"a")
	first, second := c.Delete(s, wire.Any), c.Delete(s, wire.Any)
	if first.Err != nil || second.Err != nil || second.Pos <= first.Pos {
		t.Errorf("got %v and %v", first, second)
	}
}

func deleteGoesOn(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	prepare(c, s, "abc deleted", []string{s + "a", s + "b", s + "c"})
	c.Must(s, 2, s+"d", s+"e")
	if got := c.Revisions(s); !slices.Equal(got, []int64{3, 4}) {
		t.Errorf("an undeleted stream shows %v", got)
	}
	if got := compact(t, c.Meta(s)); got != `{"$tb":3}` {
		t.Errorf("its metadata are %s", got)
	}
}

func metadataUndelete(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	prepare(c, s, "abc deleted", []string{s + "a", s + "b", s + "c"})
	c.SetMeta(s, `{"$maxCount":7,"own":true}`)
	if got := c.Revisions(s); len(got) != 0 {
		t.Errorf("the stream shows %v", got)
	}
	got := compact(t, c.Meta(s))
	for _, want := range []string{`"$maxCount":7`, `"$tb":3`, `"own":true`} {
		if !strings.Contains(got, want) {
			t.Errorf("its metadata are %s, want %s", got, want)
		}
	}
	c.Must(s, 2, s+"d")
	if got := c.Revisions(s); !slices.Equal(got, []int64{3}) {
		t.Errorf("the stream shows %v", got)
	}
}

// compact gives JSON without its blanks, in which stores differ.
func compact(t *testing.T, data string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(data)); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Clients of other languages take this sentence apart.
func wrongVersionInWords(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	err := c.Delete(s, wire.Any).Err
	want := "WrongExpectedVersion. Stream: " + s + ", Expected version: -2, Actual version: -1"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("it says %v", err)
	}
}

func buryState(t *testing.T, c *wire.Client, state string) {
	t.Helper()
	s := named(t, "s")
	prepare(c, s, state+" buried", []string{s + "a", s + "b", s + "c"})
	if _, err := c.Read(wire.OfStream(s)); wire.Code(err) != codes.FailedPrecondition {
		t.Errorf("it can be read: %v", err)
	}
	// Some stores take metadata all the same; nobody can read them.
	if a := c.Append("$$"+s, wire.Any, s+"m"); a.Err != nil && a.Exception() != "stream-deleted" {
		t.Errorf("its metadata: %v", a.Err)
	}
	if _, err := c.Read(wire.OfStream("$$" + s)); wire.Code(err) != codes.FailedPrecondition {
		t.Errorf("its metadata can be read: %v", err)
	}
	if a := c.Append(s, wire.Any, s+"m"); a.Exception() != "stream-deleted" ||
		!strings.Contains(a.Err.Error(), "is deleted") {
		t.Errorf("it can be written: %v", a.Err)
	}
}

func tombstoneIsLogged(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	c.Must(s, wire.NoStream, s+"a")
	a := c.Tombstone(s, 0)
	got, err := c.Read(wire.Count(wire.From(a.Pos), 1))
	if err != nil || len(got) != 1 {
		t.Fatalf("%d events, %v", len(got), err)
	}
	e := got[0].GetEvent().GetEvent()
	if e.GetMetadata()["type"] != "$streamDeleted" || e.GetStreamRevision() != 1<<63-1 ||
		string(e.GetStreamIdentifier().GetStreamName()) != s {
		t.Errorf("the event is %v", e)
	}
}
