package main

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"prelude/internal/pgserver/pgtest"
)

// TestPlainDatabaseUser runs on a database whose owner is no superuser, but may create roles.
func TestPlainDatabaseUser(t *testing.T) {
	t.Parallel()
	r := &rig{t: t, data: t.TempDir(), dsn: pgtest.Database(t)}
	conn, err := pgx.Connect(t.Context(), r.dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	var name string
	if err := conn.QueryRow(t.Context(), "SELECT current_database()").Scan(&name); err != nil {
		t.Fatal(err)
	}
	role := "plain_" + name
	for _, sql := range []string{
		"CREATE ROLE " + role + " LOGIN CREATEROLE NOSUPERUSER", "ALTER DATABASE " + name + " OWNER TO " + role,
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	r.dsn = strings.Replace(r.dsn, "prelude@", role+"@", 1)
	if !strings.Contains(r.dsn, role) {
		t.Fatalf("the address has no user: %s", r.dsn)
	}
	r.serve()
	walk(t, r, "postgres")
}
