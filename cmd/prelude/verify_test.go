package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"prelude/internal/postgres"
	"prelude/internal/search/searchtest"
	"prelude/projections"
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

// TestRebuildVerify_compares_the_index too: nothing differs while a server goes on, and then what somebody changed, took
// away and added behind the program's back.
func TestRebuildVerify_compares_the_index(t *testing.T) {
	t.Parallel()
	node := searchtest.Node(t)
	name := prefix(t, node)
	with := []string{"--opensearch-url", node, "--opensearch-prefix", name}
	r := start(t, with...)
	r.lives(t)
	gone, other := r.preset("taken-away"), r.preset("made-other")
	r.search("min_position="+r.newest(), "opensearch")
	verify := func() (string, error) { return r.command(append([]string{"rebuild", "--verify"}, with...)...) }
	out, err := verify()
	if err != nil || !strings.Contains(out, "index, version 1: 5 documents, 0 differences\n") ||
		strings.Contains(out, "not compared") {
		t.Errorf("%v\n%s", err, out)
	}
	x := &scannedIndex{node, name}
	document := "/" + name + "-1/_doc/"
	org := "?routing=" + r.do("GET", "/v1/me", nil).want(200).str("org", "id") + "&refresh=true"
	x.send(t, "DELETE", document+gone+org, "", 200)
	x.send(t, "POST", "/"+name+"-1/_update/"+other+org, `{"doc": {"name": "marker", "acl": ["o:marker"]}}`, 200)
	x.send(t, "PUT", document+"prs_added"+org, `{"id": "prs_added", "name": "marker"}`, 201)
	x.send(t, "PUT", document+"prs_nameless"+org, `{"name": "marker"}`, 201)
	out, err = verify()
	if !errors.Is(err, errDiffers) {
		t.Errorf("it ends with %v", err)
	}
	contains(t, out, "index "+gone+": is not served\n", "index "+other+": other _version, acl, name\n",
		"index prs_added: is served, and the log has no such row\n",
		"index prs_nameless: is served, and the log has no such row\n", "index, version 1: 6 documents, 4 differences\n")
	if strings.Contains(out, "marker") {
		t.Error("it tells what stands in a document")
	}
	x.send(t, "DELETE", "/"+name+"-1-*", "", 200)
	if out, err = verify(); !errors.Is(err, errDiffers) || !strings.Contains(out, "index, version 1: there is none") {
		t.Errorf("without an index: %v\n%s", err, out)
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

// TestDropOld_drops_nothing_that_a_program_feeds: an older program goes on beside this one, with tables and an index of
// its own; when it has stopped they go, and nothing else does.
func TestDropOld_drops_nothing_that_a_program_feeds(t *testing.T) {
	t.Parallel()
	x := newScannedIndex(t)
	r := start(t, x.with()...)
	r.preset("lighthouse")
	older := projections.ViewsReader()
	older.Version = 0
	if err := postgres.Owned(t.Context(), r.dsn, older.Build()); err != nil {
		t.Fatal(err)
	}
	stop := r.feeds("older", func(*parts, looked) projections.Reader { return older })
	indexes := []string{"-0-0123abcd", "-2-0123abcd", "-other-0-0123abcd", "-0-mine"}
	for _, name := range indexes {
		x.send(t, "PUT", "/"+x.prefix+name, "", 200)
	}
	r.sql("INSERT INTO prelude.checkpoints (reader, version, pos) VALUES ('index', 0, 1), ('index', 2, 1)")
	soon(t, "the older program has built its tables", func() bool {
		return r.count("SELECT count(*) FROM views_0.presets") == 1
	})
	left := func() string {
		return fmt.Sprint(r.count("SELECT count(*) FROM pg_namespace WHERE nspname IN ('views_0', 'views_1', 'rights_1')"),
			r.count("SELECT count(*) FROM prelude.checkpoints WHERE version = 0"),
			strings.Count(string(x.send(t, "GET", "/_cat/indices/"+x.prefix+"-*", "", 200)), "\n"))
	}
	drop := func() (string, error) { return r.command(x.with("rebuild", "--drop-old")...) }
	before := left()
	out, err := drop()
	if !errors.Is(err, errFed) || !strings.Contains(err.Error(), "views, version 0, is fed by instance older") || out != "" {
		t.Errorf("beside an older program: %v\n%s", err, out)
	}
	if got := left(); got != before || before != "3 2 5" {
		t.Errorf("there was %s, and is %s", before, got)
	}
	if err := postgres.Owned(t.Context(), r.dsn, projections.DropOlder([]projections.Reader{older})...); err == nil ||
		!strings.Contains(err.Error(), "has just begun") {
		t.Errorf("one that began in the last moment: %v", err)
	}
	r.preset("lantern")
	soon(t, "the older program goes on", func() bool { return r.count("SELECT count(*) FROM views_0.presets") == 2 })
	stop()
	r.sql(`INSERT INTO prelude.leases VALUES ('index', 0, 'old-index', now() + interval '1 hour')`)
	if _, err := drop(); !errors.Is(err, errFed) || !strings.Contains(err.Error(), "index, version 0, is fed by instance old-index") {
		t.Errorf("beside one that feeds an index: %v", err)
	}
	r.sql(`UPDATE prelude.leases SET expires = now() - interval '1 second' WHERE owner = 'old-index'`)
	if out, err = drop(); err != nil || out != "views, version 0, is dropped\nindex, version 0, is dropped\n" {
		t.Errorf("%v\n%s", err, out)
	}
	if got := left(); got != "2 0 4" {
		t.Errorf("what is left is %s", got)
	}
	if n := r.count("SELECT count(*) FROM prelude.leases WHERE version = 0"); n != 0 {
		t.Errorf("%d leases are left", n)
	}
	if out, err = drop(); err != nil || !strings.Contains(out, "no versions before") {
		t.Errorf("%v\n%s", err, out)
	}
	if hits := r.search("q=lantern&min_position="+r.newest(), "opensearch").list("data"); len(hits) != 1 {
		t.Errorf("it finds %v", hits)
	}
	for _, name := range indexes[1:] {
		x.send(t, "DELETE", "/"+x.prefix+name, "", 200)
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
	x := newScannedIndex(t)
	r := start(t, x.with()...)
	r.lives(t)
	if out, err := r.command(x.with("rebuild", "--warm")...); err != nil ||
		!strings.Contains(out, "index, version 1, is built") || !strings.Contains(out, "views, version 1, is built") ||
		strings.Contains(out, "out,") {
		t.Errorf("%v\n%s", err, out)
	}
	before := r.count("SELECT count(*) FROM views_1.audit")
	r.stop()
	r.sql("DROP SCHEMA views_1 CASCADE")
	r.sql("DELETE FROM prelude.checkpoints WHERE reader IN ('views', 'index')")
	x.send(t, "DELETE", "/"+x.prefix+"-1-*", "", 200)
	if out, err := r.command(x.with("rebuild", "--warm")...); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := r.command(x.with("rebuild", "--verify")...); err != nil ||
		!strings.Contains(out, "index, version 1: 3 documents, 0 differences\n") {
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
