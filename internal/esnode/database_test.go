package esnode

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc/codes"
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

// spoil changes a stored record past its checksum, and leaves the page's right.
func (r *rig) spoil(where string) {
	r.t.Helper()
	sql := "UPDATE events SET " +
		"rec = CAST(substr(rec, 1, 99) || 'X' || substr(rec, 101) AS BLOB) WHERE " + where
	if err := r.node.writer.conn.run(sql); err != nil {
		r.t.Fatal(err)
	}
}

// A damaged record is told with its stream and position, wherever it is met; all else goes on.
func TestDatabase_damage_is_told(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	damaged := r.must("s", noStream, "a", "b")
	r.must("s", 1, "c")
	r.must("other", noStream, "d")
	r.spoil("rev = 1")
	all, back := subscribing(), ofStream("s")
	back.ReadDirection = api.ReadReq_Options_Backwards
	back.GetStream().RevisionOption = &api.ReadReq_Options_StreamOptions_End{End: empty}
	one := ofStream("s")
	one.CountOption = all.CountOption
	for name, c := range map[string]struct {
		o      *api.ReadReq_Options
		before int
	}{
		"forwards": {ofStream("s"), 1}, "backwards": {back, 1}, "all": {options(), 1},
		"a subscription": {one, 2}, "a subscription to all": {all, 2}, // with its confirmation
	} {
		got, err := r.read(c.o)
		says := fmt.Sprintf(`position %d of the stream "s"`, damaged.pos)
		if code(err) != codes.DataLoss || len(got) != c.before || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %d messages, %v", name, len(got), err)
		}
	}
	// A repeat is compared with what is there.
	if a := r.append("s", 0, "b"); code(a.err) != codes.DataLoss {
		t.Errorf("the repeat answers %v", a.err)
	}
	r.must("s", 2, "e")
	r.must("other", 0, "f")
	if got := r.revisions("other"); len(got) != 2 {
		t.Errorf("the other stream shows %v", got)
	}
}

// Where the log ends must be known before anything is added.
func TestDatabase_a_damaged_end_is_refused(t *testing.T) {
	t.Parallel()
	r := newStoppedRig(t)
	r.start()
	r.must("s", noStream, "a", "b")
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
	r.must("s", noStream, "a")
	w := r.node.writer.conn
	fail := "CREATE TEMP TRIGGER fail BEFORE INSERT ON events WHEN NEW.rev > 1 " +
		"BEGIN SELECT RAISE(ABORT, 'no room'); END"
	if err := w.run(fail); err != nil {
		t.Fatal(err)
	}
	if a := r.append("s", 0, "b", "c"); code(a.err) != codes.Unavailable {
		t.Errorf("the append answers %v", a.err)
	}
	if err := w.run("DROP TRIGGER fail"); err != nil {
		t.Fatal(err)
	}
	if got := r.revisions("s"); len(got) != 1 {
		t.Errorf("the stream shows %v", got)
	}
	if a := r.must("s", 0, "b", "c"); a.rev != 2 {
		t.Errorf("the repeat is at %d", a.rev)
	}
}
