package main

import (
	"io"
	"log/slog"
	"path/filepath"
	"testing"

	"prelude/internal/esnode"
)

// TestPostgresAway: a session whose keys are known goes on without Postgres; questions are told to come again; and
// when it is back, nothing is missing.
func TestPostgresAway(t *testing.T) {
	t.Parallel()
	r, m := metered(t)
	r.preset("steady")
	session := r.do("POST", "/v1/sessions", doc{"preset": "steady"}).want(201).str("id")
	r.do("POST", "/v1/sessions/"+session+"/messages", doc{"content": "One"}).want(201)
	r.do("GET", "/v1/sessions/"+session, nil).want(200)

	m.shut(true)
	turn := r.do("POST", "/v1/sessions/"+session+"/messages", doc{"content": "Two"})
	if turn.want(201).str("reply", "status") != "completed" {
		t.Fatalf("the turn: %s", turn.Body)
	}
	away := r.do("GET", "/v1/sessions/"+session, nil)
	away.refused(503, "unavailable")
	if away.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if ready := r.do("GET", "/readyz", nil); ready.Status != 503 {
		t.Errorf("it says that it is ready: %s", ready.Body)
	}

	m.shut(false)
	path := "/v1/sessions/" + session + "?min_position=" + turn.Header.Get("Prelude-Position")
	for try := 0; ; try++ { // each waits up to two seconds for the view
		a := r.do("GET", path, nil)
		if a.Status == 200 && a.want(200).num("messages") == 4 {
			break
		}
		if try == 30 {
			t.Fatalf("it does not come back: %s", a.Body)
		}
	}
	if ready := r.do("GET", "/readyz", nil); ready.Status != 200 {
		t.Errorf("it is not ready: %s", ready.Body)
	}
}

// TestEventStoreAway: without the store nothing is acknowledged, questions are answered, and commands go on when it
// is back.
func TestEventStoreAway(t *testing.T) {
	t.Parallel()
	dir, quiet := t.TempDir(), slog.New(slog.NewJSONHandler(io.Discard, nil))
	node := func(listen string) *esnode.Node {
		n, err := esnode.Start(t.Context(), shapeNode(esnode.Config{Dir: dir, Socket: filepath.Join(dir, "s"),
			Listen: listen, Logger: quiet}))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	n := node("127.0.0.1:0")
	addr := n.Addr()
	t.Cleanup(func() { _ = n.Close() })
	r := start(t, "--eventstore", "esdb://"+addr+"?tls=false")
	kept := r.make("kept")
	id := kept.want(201).str("id")
	r.do("GET", "/v1/presets/"+id+"?consistency=strict&min_position="+kept.Header.Get("Prelude-Position"), nil).want(200)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}

	r.do("GET", "/v1/presets/"+id, nil).want(200)
	refused := r.do("POST", "/v1/presets", doc{"slug": "not-now", "name": "N", "model": "demo", "instructions": "N"},
		"Idempotency-Key: once")
	refused.refused(503, "unavailable")
	if refused.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}

	n = node(addr)
	for try := 0; ; try++ {
		again := r.do("POST", "/v1/presets", doc{"slug": "not-now", "name": "N", "model": "demo", "instructions": "N"},
			"Idempotency-Key: once")
		if again.Status == 201 {
			path := "/v1/presets/" + again.want(201).str("id") + "?min_position=" + again.Header.Get("Prelude-Position")
			r.do("GET", path, nil).want(200)
			break
		}
		if try == 30 {
			t.Fatalf("it does not come back: %s", again.Body)
		}
	}
}
