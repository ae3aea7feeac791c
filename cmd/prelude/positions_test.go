package main

import (
	"strings"
	"testing"
	"testing/fstest"

	"prelude/domain"
	"prelude/internal/pgserver/pgtest"
	"prelude/internal/postgres"
	"prelude/migrations"
)

const ownStream = "preset-" + unfoundedOrg + "_" + unfoundedOrg

// before is a database of the program before positions were checked, with rows at -1.
func before(t *testing.T) string {
	t.Helper()
	old := fstest.MapFS{}
	names, err := migrations.FS.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range names[:6] {
		text, err := migrations.FS.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		old[f.Name()] = &fstest.MapFile{Data: text}
	}
	dsn := pgtest.Database(t)
	if err := postgres.Migrate(t.Context(), dsn, old); err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, dsn: dsn}
	for _, reader := range []string{"rights", "views", "index", "out"} {
		r.sql(`INSERT INTO prelude.checkpoints (reader, version, pos, witness) VALUES ($1, 1, -1, '{"id":"`+noID+
			`","stream":"user-42","revision":0}')`, reader)
	}
	r.sql(`INSERT INTO prelude.consumers VALUES ('usage_daily', -1)`)
	r.sql(`INSERT INTO prelude.consumed_late VALUES ('usage_daily', -1)`)
	r.sql(`INSERT INTO prelude.parked (reader, version, stream, pos, error) VALUES ('out', 1, $1, -1, ''),
		('out', 1, 'user-42', 7, ''), ('views', 1, 'session-abc', 7, '')`, ownStream)
	r.sql(`INSERT INTO prelude.snapshots (stream, schema, revision, pos, fold) VALUES ('x', 1, 1, -1, '')`)
	r.sql(`INSERT INTO vault.applied (log, pos) VALUES ('x', -1)`)
	return dsn
}

// TestUpgrade_mends_positions_that_are_none: a start on such a database works, and so does a rebuild.
func TestUpgrade_mends_positions_that_are_none(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"serve", "rebuild"} {
		t.Run(first, func(t *testing.T) {
			t.Parallel()
			r := &rig{t: t, data: t.TempDir(), dsn: before(t)}
			if first == "rebuild" {
				if out, err := r.command(append([]string{"rebuild", "--yes"}, r.storeFlags()...)...); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
			}
			r.serve()
			r.do("GET", "/v1/me", nil).want(200)
			if n := r.count("SELECT count(*) FROM prelude.parked WHERE stream <> $1", ownStream); n > 0 {
				t.Errorf("%d streams of others are parked still", n)
			}
			if n := r.count("SELECT count(*) FROM prelude.parked"); n != 1 {
				t.Errorf("%d streams are parked", n)
			}
			id := r.preset("mended")
			r.do("GET", "/v1/presets/"+id, nil).want(200)
			r.stop()
			for _, table := range []string{"checkpoints", "parked", "consumers", "consumed_late", "snapshots"} {
				if n := r.count("SELECT count(*) FROM prelude." + table + " WHERE pos < 0"); n > 0 {
					t.Errorf("%s holds %d positions that are none", table, n)
				}
			}
			r.serve()
			r.do("GET", "/v1/presets/"+id, nil).want(200)
		})
	}
}

// TestPositionBeyondTheLog: the greatest that a database can hold.
func TestPositionBeyondTheLog(t *testing.T) {
	t.Parallel()
	for _, set := range []string{
		"UPDATE prelude.checkpoints SET pos = 9223372036854775807 WHERE reader IN ('rights', 'views')",
		"UPDATE prelude.checkpoints SET pos = 9223372036854775807 WHERE reader = 'out'",
		`INSERT INTO prelude.consumers VALUES ('usage_daily', 9223372036854775807)
			ON CONFLICT (name) DO UPDATE SET pos = excluded.pos`,
	} {
		t.Run(strings.Fields(set)[len(strings.Fields(set))-1], func(t *testing.T) {
			t.Parallel()
			r := start(t)
			id := r.preset("kept")
			r.stop()
			r.sql(set)
			r.sql(`INSERT INTO prelude.parked (reader, version, stream, pos, error)
				VALUES ('out', 1, $1, 9223372036854775807, '')`, "preset-"+unfoundedOrg+"_"+domain.Bare(domain.PresetID(id)))
			_, err := r.command("serve", "--listen", "127.0.0.1:0")
			refused(t, err, "knows events that the log does not have", "prelude rebuild --yes")
			if out, err := r.command("rebuild", "--yes"); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			r.serve()
			r.do("GET", "/v1/presets/"+id, nil).want(200)
			if n := r.count("SELECT count(*) FROM prelude.parked WHERE pos = 9223372036854775807"); n > 0 {
				t.Error("what is parked waits for a position that no log reaches")
			}
		})
	}
}
