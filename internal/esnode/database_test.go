package esnode

import (
	"errors"
	"testing"

	"google.golang.org/grpc/codes"

	"prelude/test/conformance/wire"
)

// A commit that is not synced is not durable; a connection without the write-ahead log would show
// readers what is not committed, or make them wait.
func TestDatabase_every_connection_syncs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, c := range r.node.conns {
		full, err := c.number("PRAGMA synchronous")
		wal, e := c.number("SELECT count(*) FROM pragma_journal_mode WHERE journal_mode = 'wal'")
		if err = errors.Join(err, e); err != nil || full != 2 || wal != 1 {
			t.Errorf("synchronous is %d, wal is %d, %v", full, wal, err)
		}
	}
}

func TestDatabase_damage_is_noticed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Must("s", noStream, "a", "b")
	sql := "UPDATE events SET " +
		"rec = CAST(substr(rec, 1, 99) || 'X' || substr(rec, 101) AS BLOB) WHERE rev = 1"
	if err := r.node.writer.conn.run(sql); err != nil {
		t.Fatal(err)
	}
	got, err := r.Read(wire.OfStream("s"))
	if wire.Code(err) != codes.DataLoss {
		t.Errorf("read %d events, %v", len(got), err)
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
