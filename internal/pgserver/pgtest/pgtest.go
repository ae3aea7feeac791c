// Package pgtest gives tests databases on a real Postgres: one server per test process, started by
// the first test that asks and ended with the process, however that ends. It is for tests only: the
// server does not sync to the disk.
package pgtest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const patience = 2 * time.Minute

var (
	server  = sync.OnceValues(launch)
	counter atomic.Int64

	mu        sync.Mutex
	filling   sync.Mutex // roles are the whole server's: migrations that make them go one by one
	templates = map[string]func() (string, error){}
)

// Database makes an empty database for t and returns its DSN, as the superuser. It is dropped when
// t ends.
func Database(t testing.TB) string {
	t.Helper()
	return create(t, "template0")
}

// Template makes a database for t that is a copy of one that migrate has filled, once per process
// and key, and returns its DSN. It is dropped when t ends.
func Template(t testing.TB, key string, migrate func(dsn string) error) string {
	t.Helper()
	mu.Lock()
	filled, ok := templates[key]
	if !ok {
		filled = sync.OnceValues(func() (string, error) { return fill(migrate) })
		templates[key] = filled
	}
	mu.Unlock()
	name, err := filled()
	if err != nil {
		t.Fatalf("fill the template database %s: %v", key, err)
	}
	return create(t, name)
}

func fill(migrate func(dsn string) error) (string, error) {
	name := fmt.Sprintf("template_%d", counter.Add(1))
	if err := run("create database " + name + " template template0"); err != nil {
		return "", err
	}
	dsn, err := address(name)
	if err != nil {
		return "", err
	}
	filling.Lock()
	defer filling.Unlock()
	return name, migrate(dsn)
}

func create(t testing.TB, template string) string {
	t.Helper()
	name := fmt.Sprintf("test_%d", counter.Add(1))
	if err := run("create database " + name + " template " + template); err != nil {
		t.Fatalf("create a test database: %v", err)
	}
	t.Cleanup(func() {
		if err := run("drop database if exists " + name + " with (force)"); err != nil {
			t.Errorf("drop the test database: %v", err)
		}
	})
	dsn, err := address(name)
	if err != nil {
		t.Fatal(err)
	}
	return dsn
}

func run(sql string) error {
	dsn, err := address("postgres")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	if closed := conn.Close(ctx); err == nil {
		err = closed
	}
	return err
}

func address(database string) (string, error) {
	dsn, err := server()
	if err != nil {
		return "", fmt.Errorf("start the test server: %w", err)
	}
	return strings.Replace(dsn, "/postgres?", "/"+database+"?", 1), nil
}
