package main

import (
	"os"
	"slices"
	"testing"
	"time"

	"prelude/internal/esnode"
	"prelude/internal/eventstore/storetest"
	"prelude/internal/postgres"
)

// testStore says where the stores of tests are: empty, each in its own server; proxy, each on a node of its own behind a
// proxy that adds 3 ms to all that the store says, and ends all connections every 2 s. The long form runs all tests in
// both, and in that of notices of 25 (PRELUDE_TEST_NODE).
const testStore = "PRELUDE_TEST_STORE"

// embedded skips a test that is of the store in the server's own data folder.
func embedded(t testing.TB) {
	t.Helper()
	if os.Getenv(testStore) == "proxy" {
		t.Skip("it is of the store in the data folder")
	}
}

// storeFlags has a command use a store behind a proxy, where tests run in that form and its arguments name no other.
func (r *rig) storeFlags(args ...string) []string {
	r.t.Helper()
	if os.Getenv(testStore) != "proxy" || slices.Contains(args, "--eventstore") {
		return nil
	}
	if r.away == "" {
		n, err := esnode.Start(r.t.Context(), shapeNode(esnode.Config{Dir: r.t.TempDir(), Listen: "127.0.0.1:0"}))
		if err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(func() {
			if err := n.Close(); err != nil {
				r.t.Error(err)
			}
		})
		way := storetest.NewProxy(r.t, "127.0.0.1:0", n.Addr())
		way.Delay(3 * time.Millisecond)
		stop := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			tick := time.NewTicker(2 * time.Second)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					way.Cut()
				case <-stop:
					return
				}
			}
		}()
		r.t.Cleanup(func() { close(stop); <-done })
		r.away = plainly(way.Path)
	}
	return []string{"--eventstore", r.away}
}

// config is what a command on the rig's data, log and database goes by.
func (r *rig) config() *Config {
	r.t.Helper()
	r.storeFlags()
	return &Config{Data: r.data, DatabaseURL: r.dsn, EventStore: r.away}
}

// errTaken is what a command says that has to be alone while a server is at work: of the log in the data folder by that
// folder, of another by the database.
func (r *rig) errTaken() error {
	if r.away == "" {
		return errAlone
	}
	return postgres.ErrServed
}
