package main

import (
	"errors"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/uuid"

	"prelude/internal/eventlog"
	"prelude/internal/eventstore"
	"prelude/internal/pgserver/pgtest"
	"prelude/internal/postgres"
)

// What has to be alone is refused while any instance serves the log, and done when none does.
func TestShared_log_is_left_alone(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	one := s.instance()
	two := s.rig()
	backup := filepath.Join(t.TempDir(), "vault")
	command := func(args ...string) error {
		out, err := two.command(append(args, s.args...)...)
		if err != nil && !errors.Is(err, postgres.ErrServed) {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
		return err
	}
	if err := command("vault", "backup", backup); err != nil {
		t.Error("a backup is refused")
	}
	all := [][]string{{"vault", "rotate"}, {"vault", "restore", backup}, {"vault", "give-up"}, {"rebuild", "--yes"}}
	for _, args := range all {
		if err := command(args...); !errors.Is(err, postgres.ErrServed) {
			t.Errorf("%v beside an instance: %v", args, err)
		}
	}
	one.do("POST", "/v1/users", doc{"handle": "late", "name": "Late", "role": "member"}).want(201)
	one.stop()
	for _, args := range [][]string{{"vault", "restore", backup}, {"rebuild", "--yes"}, {"vault", "rotate"}} {
		if err := command(args...); err != nil {
			t.Errorf("%v: %v", args, err)
		}
	}
}

// A store may hold what is not ours before the first start: a vault that is still empty lacks nothing of that. The same
// where the vault knows of a later position than the log has, which was put back from before.
func TestShared_log_names_no_keys_yet(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	store, err := eventstore.Open(eventstore.Config{Address: s.args[1]})
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.Append(t.Context(), "another-1", eventlog.None,
		[]eventlog.Proposed{{ID: uuid.New(), Type: "another.v1", Data: []byte(`{}`)}})
	if err = errors.Join(err, store.Close()); err != nil {
		t.Fatal(err)
	}
	one := s.instance()
	one.do("GET", "/v1/me", nil).want(200)
	one.stop()
	one.sql("UPDATE vault.applied SET pos = 1000000000")
	one.serve(s.args...)
	one.do("POST", "/v1/users", doc{"handle": "late", "name": "Late", "role": "member"}).want(201)
	if n := one.count("SELECT count(*) FROM vault.applied WHERE pos < 1000000000"); n != 1 {
		t.Error("the vault still knows of what the log does not have")
	}
	one.stop()
	if out, err := one.command(append([]string{"rebuild", "--yes"}, s.args...)...); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if n := one.count("SELECT count(*) FROM vault.applied WHERE pos = 0"); n != 1 {
		t.Error("the next start does not go through the whole log")
	}
}

// An instance that shares another's embedded log holds up what has to be alone there too.
func TestEmbedded_log_is_left_alone(t *testing.T) {
	t.Parallel()
	embedded(t)
	one := &rig{t: t, data: t.TempDir(), dsn: pgtest.Database(t)}
	one.serve("--node-listen", "127.0.0.1:0")
	said := regexp.MustCompile(`answers other clients","address":"([^"]+)"`).FindStringSubmatch(one.logs.String())
	if said == nil {
		t.Fatalf("where the node answers is not said:\n%s", one.logs)
	}
	address := said[1]
	two := &rig{t: t, data: t.TempDir(), dsn: one.dsn}
	two.serve("--eventstore", "esdb://"+address+"?tls=false", "--master-key-file", filepath.Join(one.data, "master.key"))
	one.stop()
	one.doesNot(t, postgres.ErrServed, "vault", "rotate")
	one.doesNot(t, postgres.ErrServed, "rebuild", "--yes")
	two.stop()
	one.does(t, []string{"vault", "rotate"}, "is a new one")
}
