package conformance

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"testing"
	"time"

	"prelude/internal/esnode"
	"prelude/test/sdk"
)

//go:embed clients
var scripts embed.FS

// How many checks each script makes, with and without the restart of the store.
const (
	pythonChecks, pythonWithRestart = 33, 35
	nodeChecks, nodeWithRestart     = 39, 41
)

// TestClients lets the official clients for Python and Node do what applications do with them.
// Against a store that is not ours they cannot restart it, and come without a password.
func TestClients(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("installs the clients")
	}
	sub, err := fs.Sub(scripts, "clients")
	if err != nil {
		t.Fatal(err)
	}
	kit := sdk.Kit{Name: "conformance", Files: sub}
	for name, client := range map[string]struct {
		run             func(context.Context, []string, ...string) ([]byte, error)
		checks, restart int
	}{
		"python": {kit.Python, pythonChecks, pythonWithRestart},
		"node":   {kit.Node, nodeChecks, nodeWithRestart},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env, checks := []string{"RUN=" + run, "EVENTSTORE=" + configuration(t).Address}, client.checks
			if ours {
				env, checks = restartable(t), client.restart
			} else if !configuration(t).DisableTLS {
				t.Skip("the scripts speak without TLS")
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			out, err := client.run(ctx, env)
			if errors.Is(err, exec.ErrNotFound) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(out, []byte("ok ")); n != checks {
				t.Errorf("%d checks were made, not %d:\n%s", n, checks, out)
			}
		})
	}
}

// restartable starts a node that a script may restart, and says where.
func restartable(t *testing.T) (env []string) {
	t.Helper()
	cfg := form.cfg
	cfg.Dir, cfg.Listen = t.TempDir(), "127.0.0.1:0"
	node, err := esnode.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listen = node.Addr()
	control := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := node.Close()
		if err == nil {
			node, err = esnode.Start(context.WithoutCancel(r.Context()), cfg)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
	t.Cleanup(func() {
		control.Close()
		if err := node.Close(); err != nil {
			t.Error(err)
		}
	})
	return []string{"RUN=" + run, "EVENTSTORE=" + cfg.Listen, "RESTART=" + control.URL}
}
