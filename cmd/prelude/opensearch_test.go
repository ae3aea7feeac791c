package main

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"prelude/internal/search"
	"prelude/internal/search/searchtest"
)

var quiet = log.New(io.Discard, "", 0)

// gate stands before a real OpenSearch node and can be shut: connections are then broken off.
type gate struct {
	url  string
	open atomic.Bool
}

func newGate(t *testing.T) *gate {
	t.Helper()
	node, err := url.Parse(searchtest.Node(t))
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{}
	g.open.Store(true)
	through := httputil.NewSingleHostReverseProxy(node)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !g.open.Load() {
			panic(http.ErrAbortHandler)
		}
		through.ServeHTTP(w, r)
	}))
	through.ErrorLog, s.Config.ErrorLog = quiet, quiet
	t.Cleanup(s.Close)
	g.url = s.URL
	return g
}

// prefix is an index of the test's own on the shared node; it is dropped at the end.
func prefix(t *testing.T, node string) string {
	t.Helper()
	name := strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-"))
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		c, err := search.Open(search.Config{URL: node, Prefix: name, Version: 1 << 30})
		if err != nil {
			t.Error(err)
			return
		}
		all, err := c.Older(ctx)
		for _, names := range all {
			err = errors.Join(err, c.DropIndexes(ctx, names...))
		}
		if err = errors.Join(err, c.Close()); err != nil {
			t.Error(err)
		}
	})
	return name
}

// TestWalkOpenSearch crosses the house with a real OpenSearch; again while it is away, when Postgres answers and
// says so; and again when it is back, with what was made meanwhile.
func TestWalkOpenSearch(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	r := start(t, "--opensearch-url", g.url, "--opensearch-prefix", prefix(t, g.url))
	walk(t, r, "opensearch")

	g.open.Store(false)
	id := r.preset("lighthouse")
	away := r.do("GET", "/v1/search/presets?q=lighthouse", nil).want(200)
	if away.str("engine") != "postgres" || away.at("degraded") != true || away.str("reason") == "" {
		t.Fatalf("while it is away: %v", away)
	}
	if hits := away.list("data"); len(hits) != 1 || hits[0].str("preset", "id") != id {
		t.Fatalf("while it is away: %v", hits)
	}

	g.open.Store(true)
	position := r.do("GET", "/v1/presets/lighthouse/history", nil).want(200).list("data")[0].str("position")
	back := r.search("q=lighthouse&min_position="+position, "opensearch")
	if hits := back.list("data"); len(hits) != 1 || hits[0].str("preset", "id") != id ||
		back.str("engine") != "opensearch" || back.at("degraded") != false {
		t.Fatalf("when it is back: %v", back)
	}
}
