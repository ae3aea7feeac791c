package esnode

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"prelude/test/conformance/wire"
)

// A commit that is not synced is not durable; a connection without the write-ahead log would show
// readers what is not committed, or make them wait.
func TestDatabase_every_connection_syncs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, c := range append(r.node.conns, r.node.writer.conn) {
		full, err := c.number("PRAGMA synchronous")
		wal, e := c.number("SELECT count(*) FROM pragma_journal_mode WHERE journal_mode = 'wal'")
		if err = errors.Join(err, e); err != nil || full != 2 || wal != 1 {
			t.Errorf("synchronous is %d, wal is %d, %v", full, wal, err)
		}
	}
}

// spoil changes a stored record past its checksum, and leaves the page's right. Of what is in memory nothing is kept,
// as after a start.
func (r *rig) spoil(where string) {
	r.T.Helper()
	sql := "UPDATE events SET " +
		"rec = CAST(substr(rec, 1, 99) || 'X' || substr(rec, 101) AS BLOB) WHERE " + where
	if err := r.node.writer.conn.run(sql); err != nil {
		r.T.Fatal(err)
	}
	r.node.book.reset(r.node.writer.at.last)
}

// A damaged record is told with its stream and position, wherever it is met; all else goes on.
func TestDatabase_damage_is_told(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	damaged := r.Must("s", noStream, "a", "b")
	r.Must("s", 1, "c")
	r.Must("other", noStream, "d")
	r.spoil("rev = 1")
	says := fmt.Sprintf(`position %d of the stream "s"`, damaged.Pos)
	for name, c := range map[string]struct {
		o      *api.ReadReq_Options
		before int
	}{
		"forwards":              {wire.OfStream("s"), 1},
		"backwards":             {wire.Backwards(wire.AtEnd(wire.OfStream("s"))), 1},
		"all":                   {wire.Options(), 1},
		"a subscription":        {wire.Subscribed(wire.OfStream("s")), 2}, // with its confirmation
		"a subscription to all": {wire.Subscribed(wire.Options()), 2},
	} {
		got, err := r.Read(c.o)
		if wire.Code(err) != codes.DataLoss || len(got) != c.before || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %d messages, %v", name, len(got), err)
		}
	}
	// A repeat is compared with what is there.
	if a := r.Append("s", 0, "b"); wire.Code(a.Err) != codes.DataLoss {
		t.Errorf("the repeat answers %v", a.Err)
	}
	b := r.Batch(wire.Within(t))
	err := inBatch(b, "s", 0, "b")
	if wire.Code(err) != codes.DataLoss || !strings.Contains(err.Error(), says) {
		t.Errorf("the repeat in a batch answers %v", err)
	}
	r.Must("s", 2, "e")
	r.Must("other", 0, "f")
	if err := inBatch(b, "other", 1, "g"); err != nil {
		t.Errorf("the batch goes on with %v", err)
	}
	if got := r.Revisions("other"); len(got) != 3 {
		t.Errorf("the other stream shows %v", got)
	}
}

// Damage that is met within an append is its own matter: what is committed together with it is stored.
// Whether a stream was deleted is in its metadata, so others are not put in the place of damaged ones.
func TestDatabase_damage_spares_the_rest_of_a_commit(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Must("s", noStream, "a")
	r.SetMeta("s", `{"$maxCount":5, "of": "`+strings.Repeat("x", 100)+`"}`)
	r.Must("other", noStream, "b")
	r.spoil(`stream = (SELECT id FROM streams WHERE CAST(name AS TEXT) = '$$s')`)
	release := r.held()
	b := r.Batch(wire.Within(t))
	streams := []string{"first", "$$s", "last"}
	for i, stream := range streams {
		expected := int64(noStream)
		if stream == "$$s" {
			expected = 0
		}
		b.Send(wire.Text(wire.ID(stream)), wire.BatchOptions(stream, expected), true, fmt.Sprint("c", i))
	}
	// A refusal that needs no writer is answered at once: then those before it were handed in.
	b.Send(wire.Text(uuid.New()), wire.BatchOptions("", noStream), true)
	b.Next()
	release()
	for range streams {
		got := b.Next()
		stream, err := string(got.GetStreamIdentifier().GetStreamName()), status.ErrorProto(got.GetError())
		switch {
		case stream != "$$s" && err != nil:
			t.Errorf("%s: %v", stream, err)
		case stream == "$$s" && (wire.Code(err) != codes.DataLoss || !strings.Contains(err.Error(), "position")):
			t.Errorf("%s: %v", stream, err)
		}
	}
}

// inBatch appends an event by a batch that goes on, and gives the status in its answer.
func inBatch(b *wire.Batch, stream string, expected int64, id string) error {
	b.Send(wire.Text(uuid.New()), wire.BatchOptions(stream, expected), true, id)
	return status.ErrorProto(b.Next().GetError())
}

// Where the log ends must be known before anything is added.
func TestDatabase_a_damaged_end_is_refused(t *testing.T) {
	t.Parallel()
	r := newStoppedRig(t)
	r.start(t)
	r.Must("s", noStream, "a", "b")
	r.spoil("rev = 1")
	r.stop()
	_, err := Start(t.Context(), Config{Dir: r.dir, Socket: r.socket()})
	if !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), `of the stream "s"`) {
		t.Errorf("the start says %v", err)
	}
}

// A write that fails changes nothing and is answered with UNAVAILABLE; the node goes on.
func TestDatabase_a_failed_write_leaves_nothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Must("s", noStream, "a")
	w := r.node.writer.conn
	fail := "CREATE TEMP TRIGGER fail BEFORE INSERT ON events WHEN NEW.rev > 1 " +
		"BEGIN SELECT RAISE(ABORT, 'no room'); END"
	if err := w.run(fail); err != nil {
		t.Fatal(err)
	}
	if a := r.Append("s", 0, "b", "c"); wire.Code(a.Err) != codes.Unavailable {
		t.Errorf("the append answers %v", a.Err)
	}
	if err := w.run("DROP TRIGGER fail"); err != nil {
		t.Fatal(err)
	}
	if got := r.Revisions("s"); len(got) != 1 {
		t.Errorf("the stream shows %v", got)
	}
	if a := r.Must("s", 0, "b", "c"); a.Rev != 2 {
		t.Errorf("the repeat is at %d", a.Rev)
	}
}

// An answer may rest on what is not durable yet: a repeat's on its first append, a refusal's on the revision that moved.
// When the commit fails, none of them is given.
func TestDatabase_no_answer_outlives_a_failed_commit(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Must("s", noStream, "a")
	w := r.node.writer // idle now, and not woken before it is used by the node again
	fail := "CREATE TEMP TRIGGER fail BEFORE INSERT ON events WHEN NEW.rev > 1 " +
		"BEGIN SELECT RAISE(ABORT, 'no room'); END"
	if err := w.conn.run(fail); err != nil {
		t.Fatal(err)
	}
	asked := func(expected int64, id string) *request {
		return &request{ctx: t.Context(), done: func() {}, op: &appending{stream: "s", expected: expected,
			events: []event{{id: wire.ID(id), kind: "tested", data: []byte("{}")}}}}
	}
	batch := []*request{asked(0, "b"), asked(0, "b"), asked(anyRevision, "b"), asked(0, "other"), asked(1, "c")}
	w.answer(batch, w.commit(batch))
	var cannot *unavailable
	for i, r := range batch {
		if !errors.As(r.err, &cannot) || r.result != (result{}) {
			t.Errorf("request %d is answered %v, %v", i, r.result, r.err)
		}
	}
	if err := w.conn.run("DROP TRIGGER fail"); err != nil {
		t.Fatal(err)
	}
	w.answer(batch, w.commit(batch))
	if p := batch[0].pos; p == 0 || batch[1].pos != p || batch[2].pos != p || !isRefusal(batch[3].err) || batch[4].rev != 2 {
		t.Errorf("with room they are answered %v, %v, %v, %v, %v", batch[0], batch[1], batch[2], batch[3], batch[4])
	}
	if got := r.Revisions("s"); len(got) != 3 {
		t.Errorf("the stream shows %v", got)
	}
}

// A file that may not grow stands for a full disk where none can be mounted. Appends are refused,
// whichever way they come; reading and the batch go on, and so does writing when there is room.
func TestDatabase_without_room(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := r.Batch(wire.Within(t))
	w := r.node.writer.conn
	if err := w.run("PRAGMA max_page_count = 1"); err != nil { // as many as there are
		t.Fatal(err)
	}
	rev := r.untilFull(b, 0)
	if got := len(r.revisionsOf("s", rev)); int64(got) != rev {
		t.Errorf("%d events are read of %d", got, rev)
	}
	if err := w.run("PRAGMA max_page_count = 1000"); err != nil {
		t.Fatal(err)
	}
	if err := inBatch(b, "s", rev-1, fmt.Sprint(rev)); err != nil {
		t.Errorf("with room the batch answers %v", err)
	}
	r.Must("s", rev, "after")
}
