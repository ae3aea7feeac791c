package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"prelude/internal/postgres"
)

// sql runs a statement as the superuser.
func (r *rig) sql(statement string, args ...any) {
	r.t.Helper()
	conn, err := pgx.Connect(r.t.Context(), r.dsn)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = conn.Close(r.t.Context()) }()
	if _, err := conn.Exec(r.t.Context(), statement, args...); err != nil {
		r.t.Fatalf("%s: %v", statement, err)
	}
}

// count asks for a number as the superuser.
func (r *rig) count(question string, args ...any) (n int) {
	r.t.Helper()
	conn, err := pgx.Connect(r.t.Context(), r.dsn)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = conn.Close(r.t.Context()) }()
	if err := conn.QueryRow(r.t.Context(), question, args...).Scan(&n); err != nil {
		r.t.Fatalf("%s: %v", question, err)
	}
	return n
}

// leftAside counts what builds on the side have left.
func (r *rig) leftAside() int {
	r.t.Helper()
	return r.count(`SELECT (SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'verify%')
		+ (SELECT count(*) FROM prelude.checkpoints WHERE version < 0)`)
}

// TestRebuildVerify compares what is served with what the log says, while a server runs; then with rows that somebody
// changed, added and took away.
func TestRebuildVerify(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.lives(t)
	out, err := r.command("rebuild", "--verify")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(out, "rights, version 1: ") || !strings.Contains(out, "views, version 1: ") ||
		strings.Count(out, " 0 differences") != 2 || strings.Contains(out, ": 0 rows") {
		t.Errorf("it says\n%s", out)
	}
	r.sql(`UPDATE views_1.presets SET status = 'marker' WHERE slug = 'renamed'`)
	r.sql(`DELETE FROM views_1.preset_labels WHERE label = 'production'`)
	r.sql(`INSERT INTO rights_1.orgs VALUES ('org_x', 'marker', 'marker', now())`)
	out, err = r.command("rebuild", "--verify")
	if !errors.Is(err, errDiffers) {
		t.Errorf("it ends with %v", err)
	}
	for _, want := range []string{"orgs (org_x): is served, and the log has no such row", ": other status\n",
		",production): is not served", " rows, 1 differences"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if strings.Contains(out, "marker") {
		t.Error("it tells what stands in a row")
	}
	if t.Failed() {
		t.Log(out)
	}
	if n := r.leftAside(); n > 0 {
		t.Errorf("%d things are left of it", n)
	}
}

// TestVerifyTakesAway takes away what one that was killed has left, and refuses to work beside another.
func TestVerifyTakesAway(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.sql(`CREATE SCHEMA verify_views_7 AUTHORIZATION prelude_owner`)
	r.sql(`INSERT INTO prelude.checkpoints (reader, version, pos) VALUES ('views', -7, 1)`)
	other, err := pgx.Connect(t.Context(), r.dsn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Exec(t.Context(), "SELECT pg_advisory_lock($1)", postgres.VerifyLock); err != nil {
		t.Fatal(err)
	}
	if out, err := r.command("rebuild", "--verify"); !errors.Is(err, errVerifying) {
		t.Errorf("beside another: %v\n%s", err, out)
	}
	if r.leftAside() != 2 {
		t.Error("it took away what another is at work with")
	}
	if err := other.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if out, err := r.command("rebuild", "--verify"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if n := r.leftAside(); n > 0 {
		t.Errorf("%d things are left", n)
	}
}

// TestRebuildAsks what is meant, where that is not said.
func TestRebuildAsks(t *testing.T) {
	t.Parallel()
	r := &rig{t: t, data: t.TempDir()}
	for _, args := range [][]string{{"rebuild"}, {"rebuild", "--yes", "--warm"}, {"rebuild", "--verify", "--drop-old"}} {
		if _, err := r.command(args...); !errors.Is(err, errRebuild) {
			t.Errorf("%v: %v", args, err)
		}
	}
}

// TestWarm builds what is missing of this program's versions while a server runs, and drops the versions before.
func TestWarm(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.lives(t)
	if out, err := r.command("rebuild", "--warm"); err != nil || !strings.Contains(out, "views, version 1, is built") ||
		strings.Contains(out, "out,") {
		t.Errorf("%v\n%s", err, out)
	}
	before := r.count("SELECT count(*) FROM views_1.audit")
	r.stop()
	r.sql("DROP SCHEMA views_1 CASCADE")
	r.sql("DELETE FROM prelude.checkpoints WHERE reader = 'views'")
	if out, err := r.command("rebuild", "--warm"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if n := r.count("SELECT count(*) FROM views_1.audit"); n != before || n == 0 {
		t.Errorf("%d entries, want %d", n, before)
	}
	r.sql("CREATE SCHEMA views_0 AUTHORIZATION prelude_owner")
	r.sql("CREATE SCHEMA views_2 AUTHORIZATION prelude_owner")
	r.sql("INSERT INTO prelude.checkpoints (reader, version, pos) VALUES ('views', 0, 1), ('views', 2, 1)")
	if out, err := r.command("rebuild", "--drop-old"); err != nil || out != "views, version 0, is dropped\n" {
		t.Errorf("%v\n%s", err, out)
	}
	if n := r.count(`SELECT count(*) FROM pg_namespace WHERE nspname IN ('views_0', 'views_1', 'views_2')`); n != 2 {
		t.Errorf("%d schemas are left", n)
	}
	if n := r.count(`SELECT count(*) FROM prelude.checkpoints WHERE reader = 'views' AND version IN (1, 2)`); n != 2 {
		t.Errorf("%d checkpoints are left", n)
	}
	if out, err := r.command("rebuild", "--drop-old"); err != nil || !strings.Contains(out, "no versions before") {
		t.Errorf("%v\n%s", err, out)
	}
}
