package esnode

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tampered changes a log's tables as a fault of the program would: the sums of pages are right
// afterwards, and those of records where they are encoded anew.
type tampered struct {
	*conn
	t *testing.T
}

func (r *rig) tamper(t *testing.T, change func(tampered)) {
	t.Helper()
	c, err := openWriting(filepath.Join(r.dir, logFile))
	if err != nil {
		t.Fatal(err)
	}
	change(tampered{c, t})
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
}

func (c tampered) must(sql string, args ...any) {
	c.t.Helper()
	s, err := c.statement(sql)
	if err == nil {
		err = s.do(args...)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// of gives the record at a revision of a stream.
func (c tampered) of(stream string, rev int64) (r record) {
	c.t.Helper()
	id, err := c.streamID.number([]byte(stream))
	if err == nil {
		err = eachRecord(c.forwards, func(found record) (bool, error) {
			r = found
			return false, nil
		}, id, rev, rev, int64(deletedBefore), int64(1))
	}
	if err != nil || r.pos == 0 {
		c.t.Fatalf("%s has no revision %d: %v", stream, rev, err)
	}
	return r
}

func (c tampered) lose(stream string, rev int64) {
	c.t.Helper()
	c.must("DELETE FROM events WHERE pos = ?", c.of(stream, rev).pos)
}

// move puts a record at another place, with a checksum that is right there.
func (c tampered) move(r record, pos, rev int64) {
	c.t.Helper()
	f, err := decode(r.frame)
	if err != nil {
		c.t.Fatal(err)
	}
	ev := event{id: f.id, kind: string(f.kind), json: string(f.content) == contentJSON, data: f.data, meta: f.meta}
	stored := (&encoder{}).encode(string(f.stream), rev, pos, f.created, &ev)
	c.must("DELETE FROM events WHERE pos = ?", r.pos)
	c.must("INSERT INTO events (pos, stream, rev, rec) VALUES (?, ?, ?, ?)", pos, r.stream, rev, stored)
}

// missing is what is said of a record before which something is missing, and unfollowed of one whose
// revision is not the next.
func missing(r record, after int64, stream string) string {
	return fmt.Sprintf("after position %d something is missing, at position %d of the stream %q", after, r.pos, stream)
}

func unfollowed(r record, stream string) string {
	return fmt.Sprintf("revision %d does not follow the one before, at position %d of the stream %q", r.rev, r.pos, stream)
}

// What is lost or misplaced in a log is found, though all that is left is right by itself, and told
// with its place.
func TestVerify_finds_what_does_not_follow(t *testing.T) {
	t.Parallel()
	for name, tamper := range map[string]func(c tampered) (says []string){
		"an event within a stream is lost": func(c tampered) []string {
			lost, next := c.of("a", 7), c.of("a", 8)
			c.lose("a", 7)
			return []string{missing(c.of("b", 7), lost.pos, "b"), unfollowed(next, "a")}
		},
		"the first event of a stream is lost": func(c tampered) []string {
			lost := c.of("b", 0)
			c.lose("b", 0)
			return []string{missing(c.of("a", 1), lost.pos, "a"), unfollowed(c.of("b", 1), "b")}
		},
		"the first event of the log is lost": func(c tampered) []string {
			c.lose("a", 0)
			return []string{missing(c.of("b", 0), 1, "b"), unfollowed(c.of("a", 1), "a")}
		},
		"the last event is not where it was": func(c tampered) []string {
			last := c.of("b", 9)
			c.move(last, last.pos+5, 9)
			return []string{missing(c.of("b", 9), last.pos, "b")}
		},
		"a revision is left out": func(c tampered) []string {
			last := c.of("b", 9)
			c.move(last, last.pos, 10)
			return []string{unfollowed(c.of("b", 10), "b")}
		},
		"two events have each other's revisions": func(c tampered) []string {
			one, two := c.of("a", 4), c.of("a", 5)
			c.move(one, one.pos, 100)
			c.move(two, two.pos, 4)
			c.move(c.of("a", 100), one.pos, 5)
			return []string{unfollowed(c.of("a", 5), "a")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := twoStreams(t)
			r.stop()
			finds(t, r, tamper)
		})
	}
}

// The same where a compaction has removed events: what it left out is not missing, all else is.
func TestVerify_finds_what_does_not_follow_a_compaction(t *testing.T) {
	t.Parallel()
	for name, tamper := range map[string]func(c tampered) (says []string){
		"an event within a stream is lost": func(c tampered) []string {
			lost, next := c.of("a", 7), c.of("a", 8)
			c.lose("a", 7)
			return []string{missing(c.of("b", 7), lost.pos, "b"), unfollowed(next, "a")}
		},
		"the first event that was left of a stream is lost": func(c tampered) []string {
			lost := c.of("a", 5)
			c.lose("a", 5)
			return []string{missing(c.of("b", 5), lost.pos, "b")}
		},
		"the first event of a whole stream is lost": func(c tampered) []string {
			c.lose("b", 0)
			return []string{missing(c.of("b", 1), 1, "b")}
		},
		"it is not noted what was removed": func(c tampered) []string {
			c.must("DELETE FROM gaps WHERE low = 1")
			return []string{missing(c.of("b", 0), 1, "b")}
		},
		"more was removed than is noted": func(c tampered) []string {
			c.must("UPDATE gaps SET high = high - 1 WHERE low = 1")
			return []string{missing(c.of("b", 0), 1, "b")}
		},
		"a revision is left out": func(c tampered) []string {
			last := c.of("b", 9)
			c.move(last, last.pos, 10)
			return []string{unfollowed(c.of("b", 10), "b")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := twoStreams(t)
			r.SetMeta("a", `{"$tb":5}`)
			r.compact()
			r.stop()
			finds(t, r, tamper)
		})
	}
}

// twoStreams is a node whose log holds the events of two streams, in turn.
func twoStreams(t *testing.T) *rig {
	t.Helper()
	r := newStoppedRig(t)
	r.start(t)
	for rev := range int64(10) {
		for _, name := range []string{"a", "b"} {
			r.Must(name, rev-1, fmt.Sprint(name, rev))
		}
	}
	return r
}

func finds(t *testing.T, r *rig, tamper func(tampered) []string) {
	t.Helper()
	sum(t, r.dir)
	var want []string
	r.tamper(t, func(c tampered) { want = tamper(c) })
	var got []string
	_, err := Verify(t.Context(), r.dir, nil, nil, func(p Problem) { got = append(got, p.String()) })
	// What follows an event that is out of place does not follow either; the first of each counts.
	if err != nil || len(got) < len(want) {
		t.Fatalf("it tells\n%s\n%v", strings.Join(got, "\n"), err)
	}
	for _, w := range want {
		if !slices.Contains(got, w) {
			t.Errorf("it does not tell\n%s\nbut\n%s", w, strings.Join(got, "\n"))
		}
	}
}
