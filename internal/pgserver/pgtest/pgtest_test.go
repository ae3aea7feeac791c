package pgtest_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"prelude/internal/pgserver/pgtest"
)

func TestDatabase(t *testing.T) {
	t.Parallel()
	t.Run("is empty and one's own", func(t *testing.T) {
		t.Parallel()
		one, two := pgtest.Database(t), pgtest.Database(t)
		if one == two {
			t.Fatal("two calls gave the same database")
		}
		execute(t, one, "create table notes (text text)")
		execute(t, two, "create table notes (text text)")
	})
	t.Run("knows the letters of all scripts and sorts as C does", func(t *testing.T) {
		t.Parallel()
		var ok bool
		query(t, pgtest.Database(t), "select lower('ÄЖ') = 'äж' and 'Z' < 'a'", &ok)
		if !ok {
			t.Error("the locale is another one")
		}
	})
}

func TestTemplate(t *testing.T) {
	t.Parallel()
	filled := 0
	fill := func(dsn string) error {
		filled++
		ctx := context.Background()
		conn, err := pgx.Connect(ctx, dsn)
		if err != nil {
			return err
		}
		if _, err := conn.Exec(ctx, "create table notes as select 42 as n"); err != nil {
			return err
		}
		return conn.Close(ctx)
	}
	for range 3 {
		var n int
		dsn := pgtest.Template(t, "notes", fill)
		query(t, dsn, "update notes set n = n + 1 returning n", &n)
		if n != 43 {
			t.Errorf("a copy holds %d: it is not fresh", n)
		}
	}
	if filled != 1 {
		t.Errorf("filled %d times", filled)
	}
}

func execute(t *testing.T, dsn, sql string) {
	t.Helper()
	conn := connect(t, dsn)
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func query(t *testing.T, dsn, sql string, into any) {
	t.Helper()
	if err := connect(t, dsn).QueryRow(t.Context(), sql).Scan(into); err != nil {
		t.Fatal(err)
	}
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}
