package main

import (
	"strings"
	"testing"
	"time"

	"prelude/internal/eventlog"
	"prelude/internal/pgserver/pgtest"
)

// doctors looks at a server's database and store.
func (n *nodeRig) doctors(r *rig, args ...string) (string, error) {
	return r.doctor(append([]string{"--database-url", r.dsn, "--eventstore", n.address}, args...)...)
}

// TestDoctorOfReaders: a reader that stands still is not well, whatever it stands still for, and one that nobody feeds now
// is neither well nor wrong.
func TestDoctorOfReaders(t *testing.T) {
	t.Parallel()
	n := newNodeRig(t)
	r := &rig{t: t, data: t.TempDir(), dsn: pgtest.Database(t)}
	r.serve("--eventstore", n.address)
	t.Cleanup(r.stop) // before its store
	r.preset("before")
	soon(t, "all readers are well", func() bool {
		out, err := n.doctors(r)
		return err == nil && strings.Contains(out, "ok     reader views: at ")
	})

	release := r.locks(rowOfViews)
	r.make("unseen").want(201)
	began := time.Now()
	out, err := n.doctors(r)
	inTime(t, "seeing that a reader stands still", time.Since(began), progressWithin+2*time.Second)
	if err == nil || strings.Count(out, "wrong") != 1 {
		t.Errorf("%v\n%s", err, out)
	}
	contains(t, out, "wrong  reader views: it stands still at ", ", behind 1 events", "see prelude projections")

	r.stop()
	release()
	r.sql("UPDATE prelude.checkpoints SET pos = 0, witness = NULL WHERE reader = 'views'")
	out, err = n.doctors(r)
	if err != nil || strings.Contains(out, "ok     reader views") {
		t.Errorf("%v\n%s", err, out)
	}
	contains(t, out, "-      reader views: at 0, behind ", "; no server runs, and the next one goes on there")

	r.sql("UPDATE prelude.checkpoints SET error = 'broken' WHERE reader = 'views'")
	out, err = n.doctors(r)
	if err == nil {
		t.Errorf("it finds nothing:\n%s", out)
	}
	contains(t, out, "wrong  reader views: it has stopped: broken")
}

// TestDoctorOfTheIndex: where there is an OpenSearch, its reader is looked at as the others are.
func TestDoctorOfTheIndex(t *testing.T) {
	t.Parallel()
	n := newNodeRig(t)
	r := &rig{t: t, data: t.TempDir(), dsn: pgtest.Database(t)}
	r.serve("--eventstore", n.address)
	t.Cleanup(r.stop)
	away := []string{"--opensearch-url", "http://127.0.0.1:1"}
	if out, err := n.doctors(r); err != nil || strings.Contains(out, "reader index") {
		t.Errorf("%v\n%s", err, out)
	}
	r.sql("INSERT INTO prelude.checkpoints (reader, version, pos, error) VALUES ('index', 1, 0, 'OpenSearch does not answer')")
	out, err := n.doctors(r, away...)
	if err == nil {
		t.Errorf("it finds nothing:\n%s", out)
	}
	contains(t, out, "wrong  reader index: it has stopped: OpenSearch does not answer", "wrong  search (OpenSearch)")
}

// TestDoctorOfAnOlderDatabase: of tables that are of a program of before nothing is said but that; and what they hold for a
// position that is none is never taken for one beyond the log.
func TestDoctorOfAnOlderDatabase(t *testing.T) {
	t.Parallel()
	n := newNodeRig(t)
	n.append("order-1", eventlog.None, "OrderPlaced", `{}`, `{"a":1}`)
	r := &rig{t: t, data: t.TempDir(), dsn: before(t)}
	out, err := n.doctors(r)
	if err == nil || strings.Contains(out, "rebuild --yes") || strings.Contains(out, "older backup") {
		t.Errorf("%v\n%s", err, out)
	}
	contains(t, out, "wrong  tables: they have version 6", "run prelude migrate")
	for _, reader := range []string{"rights", "views", "out"} {
		contains(t, out, "-      reader "+reader+": not looked at: the tables are not of this program's version")
	}

	r.serve("--eventstore", n.address)
	r.stop()
	r.sql("ALTER TABLE prelude.checkpoints DROP CONSTRAINT checkpoints_pos")
	r.sql("UPDATE prelude.checkpoints SET pos = -1 WHERE reader = 'views'")
	out, err = n.doctors(r)
	if err == nil || strings.Contains(out, "older backup") {
		t.Errorf("%v\n%s", err, out)
	}
	contains(t, out, "wrong  reader views: its position is none; prelude migrate mends it")
}
