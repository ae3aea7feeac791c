package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"prelude/internal/pgserver"
	"prelude/internal/postgres"
)

// outside lists the tables that are not walled by org, each with its reason.
var outside = map[string]string{
	"rights_1.api_keys":       "a key is looked up before its org is known",
	"views_1.preset_search":   "reached only through functions that look at the org themselves: under row-level security its indexes are not used",
	"prelude.log":             "bookkeeping without texts: which log the database belongs to",
	"prelude.checkpoints":     "bookkeeping without texts: how far readers are",
	"prelude.consumers":       "bookkeeping without texts: how far consumers are",
	"prelude.snapshots":       "folds with sealed texts, which commands alone read, by the stream's whole name",
	"prelude.parked":          "bookkeeping without texts: streams that wait",
	"prelude.turns":           "bookkeeping without texts: how often a program had all of the database",
	"prelude.leases":          "bookkeeping without texts: which instance feeds a reader",
	"prelude.instances":       "bookkeeping without texts: which instances there are",
	"prelude.consumed_late":   "bookkeeping without texts: what consumers have taken late",
	"public.goose_db_version": "bookkeeping without texts: migrations",
	"vault.keys":              "a schema on which the inner roles but its own have no rights",
	"vault.master":            "a schema on which the inner roles but its own have no rights",
	"vault.applied":           "a schema on which the inner roles but its own have no rights",
}

// TestWall walks pg_class: every table is walled by org, or stands above.
func TestWall(t *testing.T) {
	t.Parallel()
	r := start(t)
	conn, err := pgx.Connect(t.Context(), r.dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	rows, err := conn.Query(t.Context(), `SELECT c.relnamespace::regnamespace || '.' || c.relname, c.relrowsecurity
		AND c.relforcerowsecurity AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid
			AND 'prelude_app'::regrole = ANY (p.polroles) AND pg_get_expr(p.polqual, c.oid) LIKE '%app.org_id%')
		FROM pg_class c WHERE c.relkind IN ('r', 'p') AND c.relnamespace::regnamespace::text
			NOT IN ('pg_catalog', 'information_schema')`)
	if err != nil {
		t.Fatal(err)
	}
	var table string
	var walled bool
	var seen []string
	_, err = pgx.ForEachRow(rows, []any{&table, &walled}, func() error {
		seen = append(seen, table)
		if _, listed := outside[table]; walled == listed {
			t.Errorf("%s: walled %v, listed as outside %v", table, walled, listed)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for table := range outside {
		if !slices.Contains(seen, table) {
			t.Errorf("%s is listed and is not there", table)
		}
	}
}

// TestForgottenRole asks as the pool's connections are before a statement takes a role, and sees nothing.
func TestForgottenRole(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.preset("walled")
	r.do("GET", "/v1/presets/walled", nil).want(200)
	pool, err := postgres.Open(t.Context(), r.dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	for _, table := range []string{"views_1.presets", "views_1.messages", "rights_1.api_keys", "vault.keys",
		"views_1.preset_search", "prelude.usage_daily"} {
		var n int
		if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err == nil {
			t.Errorf("%s can be read without a role", table)
		}
	}
	if err := postgres.Walled(t.Context(), pool, presetsTable()); err != nil {
		t.Error(err)
	}
}

// TestResetRole asks the Postgres that Prelude runs through a pool as Prelude's own, and tries to get past the role
// that it came in with.
func TestResetRole(t *testing.T) {
	t.Parallel()
	r := &rig{t: t, data: t.TempDir()}
	p := launch(r, "--log-level", "debug")
	t.Cleanup(func() { p.end(syscall.SIGTERM) })
	r.preset("walled")
	r.do("GET", "/v1/presets/walled", nil).want(200)
	if !strings.Contains(r.logs.String(), `"session_user":"prelude_login","current_user":"prelude_login"`) {
		t.Errorf("the pool is somebody else:\n%s", r.logs)
	}
	super, err := os.ReadFile(filepath.Join(r.data, databaseFile))
	if err != nil {
		t.Fatal(err)
	}
	login, err := pgserver.As(string(super), postgres.LoginRole)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := postgres.Open(t.Context(), login)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	for _, way := range []string{"RESET ROLE", "SET ROLE NONE", "SET ROLE prelude", "SET ROLE prelude_owner",
		"SET SESSION AUTHORIZATION prelude", "RESET SESSION AUTHORIZATION", "RESET ALL", "SET row_security = off"} {
		for _, table := range []string{"views_1.presets", "vault.keys", "prelude.usage_daily"} {
			sql := way + "; SELECT 1 FROM " + table
			if _, err := pool.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err == nil {
				t.Errorf("%s leads to %s", way, table)
			}
		}
	}
	t.Run("another Prelude's pool has its own login to a Postgres that is given", func(t *testing.T) {
		conn, err := pgx.Connect(t.Context(), string(super))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(t.Context()) }()
		if _, err := conn.Exec(t.Context(), "CREATE DATABASE second"); err != nil {
			t.Fatal(err)
		}
		second := strings.NewReplacer("/postgres?", "/second?")
		r := &rig{t: t, data: t.TempDir(), dsn: second.Replace(string(super))}
		err = run(t.Context(), []string{"migrate", "--data", r.data, "--database-url", r.dsn, "--database-pool-url", r.dsn},
			io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), "the pool came in as prelude, and must as prelude_login") {
			t.Errorf("a pool of the superuser: %v", err)
		}
		err = run(t.Context(), []string{"migrate", "--data", r.data, "--database-url", r.dsn, "--database-pool-url", login},
			io.Discard, io.Discard)
		if !errors.Is(err, postgres.ErrOtherDatabase) {
			t.Errorf("a pool on another database: %v", err)
		}
		r.serve("--database-pool-url", second.Replace(login))
		walk(t, r, "postgres")
	})
}
