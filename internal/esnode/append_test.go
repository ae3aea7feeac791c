package esnode

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc/codes"
)

// The rows are the protocol's decision table; the stream has the events a, b, c unless a row says
// otherwise.
func TestAppend(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const (
		ok      = "ok"
		wrong   = "wrong version"
		deleted = "deleted"
	)
	for _, c := range []struct {
		name     string
		state    string
		expected int64
		ids      string
		want     string
		rev      int64
	}{
		{"the last revision appends", "abc", 2, "d", ok, 3},
		{"several events are one append", "abc", 2, "d e f", ok, 5},
		{"no stream appends the first", "", noStream, "d", ok, 0},
		{"a later revision is wrong", "abc", 3, "d", wrong, 2},
		{"a revision of a missing stream is wrong", "", 0, "d", wrong, -1},
		{"an earlier revision is wrong", "abc", 1, "d", wrong, 2},
		{"no stream is wrong for one that exists", "abc", noStream, "d", wrong, 2},
		{"the same id at the last revision is appended again", "abc", 2, "c", ok, 3},
		{"a repeat of the first answers as then", "abc", noStream, "a", ok, 0},
		{"a repeat of several answers as then", "abc", 0, "b c", ok, 2},
		{"a repeat that goes on is wrong", "abc", 0, "b c d", wrong, 2},
		{"a repeat that differs later is wrong", "abc", noStream, "a x", wrong, 2},
		{"a repeat at another revision is wrong", "abc", 0, "c", wrong, 2},
		{"any appends", "abc", anyRevision, "d", ok, 3},
		{"any appends to a missing stream", "", anyRevision, "d", ok, 0},
		{"any knows a repeat", "abc", anyRevision, "a b", ok, 1},
		{"any refuses a repeat that goes on", "abc", anyRevision, "c d", wrong, 2},
		{"any appends when only a later id is known", "abc", anyRevision, "d a", ok, 4},
		{"exists appends", "abc", streamExists, "d", ok, 3},
		{"exists knows a repeat", "abc", streamExists, "c", ok, 2},
		{"exists is wrong for a missing stream", "", streamExists, "d", wrong, -1},
		{"exists is content with metadata", "meta", streamExists, "d", ok, 0},
		{"exists finds a deleted stream deleted", "abc deleted", streamExists, "d", deleted, 0},
		{"the last revision undeletes", "abc deleted", 2, "d", ok, 3},
		{"no stream undeletes", "abc deleted", noStream, "d", ok, 3},
		{"no stream knows a repeat in a deleted stream", "abc deleted", noStream, "a", ok, 0},
		{"any undeletes", "abc deleted", anyRevision, "d", ok, 3},
		{"an earlier revision of a deleted stream is wrong", "abc deleted", 1, "d", wrong, 2},
		{"a tombstone refuses any", "abc buried", anyRevision, "d", deleted, 0},
		{"a tombstone refuses no stream", "buried", noStream, "d", deleted, 0},
		{"a tombstone refuses the last revision", "abc buried", 2, "d", deleted, 0},
		{"a tombstone refuses a repeat", "abc buried", noStream, "a", deleted, 0},
		{"nothing changes nothing", "abc", 2, "", ok, 2},
		{"nothing makes no stream", "", noStream, "", ok, -1},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			name := "stream-" + strings.ReplaceAll(c.name, " ", "_")
			r := &rig{t: t, dir: r.dir, node: r.node, client: r.client}
			ids := func(list string) []string {
				var all []string
				for _, i := range strings.Fields(list) {
					all = append(all, name+i) // an id in another stream must not count
				}
				return all
			}
			r.prepare(name, c.state, ids("a b c"))
			a := r.append(name, c.expected, ids(c.ids)...)
			got, rev := ok, a.rev
			switch {
			case a.exception() == "stream-deleted" && code(a.err) == codes.FailedPrecondition:
				got, rev = deleted, 0
				if len(a.trailers.Get("stream-name")) != 1 {
					t.Error("the client panics without the stream's name")
				}
			case a.err != nil:
				t.Fatal(a.err)
			case a.wrong != nil:
				got, rev = wrong, currentOf(a.wrong)
			}
			if got != c.want || rev != c.rev {
				t.Errorf("got %s at %d, want %s at %d", got, rev, c.want, c.rev)
			}
		})
	}
}

func currentOf(w *api.AppendResp_WrongExpectedVersion) int64 {
	if w.GetCurrentNoStream() != nil {
		return -1
	}
	return int64(w.GetCurrentRevision())
}

func (r *rig) prepare(name, state string, ids []string) {
	r.t.Helper()
	for _, s := range strings.Fields(state) {
		switch s {
		case "abc":
			r.must(name, noStream, ids...)
		case "meta":
			r.setMeta(name, `{"$maxCount":5}`)
		case "deleted":
			if _, err := r.delete(name, anyRevision); err != nil {
				r.t.Fatal(err)
			}
		case "buried":
			if err := r.tombstone(name); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

func TestAppend_a_repeat_answers_with_the_old_position(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := r.must("s", noStream, "a", "b")
	r.must("s", 1, "c")
	for _, expected := range []int64{noStream, anyRevision} {
		if again := r.must("s", expected, "a", "b"); again.pos != first.pos || again.rev != 1 {
			t.Errorf("got %d at %d, want %d at 1", again.rev, again.pos, first.pos)
		}
	}
	if again := r.must("s", 0, "b"); again.pos != first.pos {
		t.Errorf("position %d, want %d", again.pos, first.pos)
	}
	if got := r.revisions("s"); len(got) != 3 {
		t.Errorf("the stream has %v", got)
	}
}

func TestAppend_any_knows_ids_from_before_the_start(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.must("s", noStream, "a")
	r.stop()
	r.start()
	r.must("s", anyRevision, "a")
	if got := r.revisions("s"); len(got) != 1 {
		t.Errorf("the stream has %v", got)
	}
}

// A mistake is answered after the whole request was taken, with what clients look for.
func TestAppend_refuses(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	big := message(id("big"), "tested", string(bytes.Repeat([]byte("x"), maxEvent)))
	untyped, unnamed := message(id("u"), "tested", "{}"), message([16]byte{}, "tested", "{}")
	delete(untyped.Metadata, "type")
	plain := message(id("p"), "tested", "{}")
	half := string(bytes.Repeat([]byte("x"), maxEvent-100))
	many := []*api.AppendReq_ProposedMessage{}
	for i := range 5 {
		many = append(many, message(id(fmt.Sprint(i)), "tested", half))
	}
	for _, c := range []struct {
		name      string
		stream    string
		messages  []*api.AppendReq_ProposedMessage
		exception string
	}{
		{"an event too large", "s", append([]*api.AppendReq_ProposedMessage{plain}, big, plain),
			"maximum-append-event-size-exceeded"},
		{"an append too large", "s", many, "maximum-append-size-exceeded"},
		{"an event without a type", "s", []*api.AppendReq_ProposedMessage{untyped, plain},
			"missing-required-metadata-property"},
		{"an event without an id", "s", []*api.AppendReq_ProposedMessage{unnamed}, ""},
		{"a stream without a name", "", []*api.AppendReq_ProposedMessage{plain}, ""},
		{"metadata of nothing", "$$", []*api.AppendReq_ProposedMessage{plain}, ""},
	} {
		a := r.send(c.stream, anyRevision, c.messages...)
		if code(a.err) != codes.InvalidArgument || a.exception() != c.exception {
			t.Errorf("%s: %v, exception %q", c.name, a.err, a.exception())
		}
	}
	if got := r.revisions("s"); len(got) != 1 || got[0] != -1 {
		t.Errorf("something was appended: %v", got)
	}
}
