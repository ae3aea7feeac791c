package main

import (
	"context"
	"errors"
	"io"
	"testing"

	"prelude/internal/eventlog"
	"prelude/internal/pgserver/pgtest"
)

// TestSecondInstallation: another database and another master key on a store that holds a log of Prelude.
func TestSecondInstallation(t *testing.T) {
	t.Parallel()
	n := newNodeRig(t)
	first := &rig{t: t, data: t.TempDir(), dsn: pgtest.Database(t)}
	first.serve("--eventstore", n.address)
	first.stop()
	id, err := (&eventlog.Log{Store: n.store}).Identity(t.Context())
	if err != nil || id == "" {
		t.Fatalf("%q: %v", id, err)
	}
	second := &rig{t: t, data: t.TempDir(), dsn: pgtest.Database(t)}
	_, err = second.command("serve", "--listen", "127.0.0.1:0", "--eventstore", n.address)
	refused(t, err, "already holds a log of Prelude, with the id "+id, "the vault is empty and the log is not",
		"another installation needs an event store of its own")
}

// TestSecondInstallation_that_has_a_vault: an installation that has a log and a vault of its own comes to the store of
// another, by a wrong address: neither a start nor a rebuild takes that log for its own.
func TestSecondInstallation_that_has_a_vault(t *testing.T) {
	t.Parallel()
	n, own := newNodeRig(t), newNodeRig(t)
	first := &rig{t: t, data: t.TempDir(), dsn: pgtest.Database(t)}
	first.serve("--eventstore", n.address)
	first.preset("kept")
	id, err := (&eventlog.Log{Store: n.store}).Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second := &rig{t: t, data: t.TempDir(), dsn: pgtest.Database(t)}
	second.serve("--eventstore", own.address)
	second.stop()
	for _, line := range [][]string{{"serve", "--listen", "127.0.0.1:0"}, {"rebuild", "--yes"}} {
		_, err := second.command(append(line, "--eventstore", n.address)...)
		refused(t, err, "holds the log "+id+" of another installation", "needs an event store of its own")
	}
	second.serve("--eventstore", own.address)
	first.do("GET", "/v1/presets/kept", nil).want(200)
}

// TestInstallations_that_begin_at_once: two begin on one empty store, each with a database of its own: one has it.
func TestInstallations_that_begin_at_once(t *testing.T) {
	t.Parallel()
	n := newNodeRig(t)
	ends := make(chan error, 2)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 2 {
		r := &rig{t: t, data: t.TempDir(), dsn: pgtest.Database(t)}
		go func() {
			ends <- run(ctx, []string{"serve", "--listen", "127.0.0.1:0", "--data", r.data, "--database-url", r.dsn,
				"--eventstore", n.address}, io.Discard, io.Discard)
		}()
	}
	err := <-ends
	refused(t, err, "another installation")
	cancel()
	if err := <-ends; err != nil && !errors.Is(err, context.Canceled) { // it may have been on its way
		t.Errorf("the other ends with %v", err)
	}
}
