package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"prelude/domain"
	"prelude/internal/search"
	"prelude/internal/search/searchtest"
	"prelude/projections"
	"prelude/readmodels"
)

// hinders keeps a reader that has no checkpoint yet from beginning, until it is released.
func (r *rig) hinders(reader string, version int) (release func()) {
	r.t.Helper()
	conn, err := pgx.Connect(r.t.Context(), r.dsn)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx := context.WithoutCancel(r.t.Context())
	r.t.Cleanup(func() { _ = conn.Close(ctx) }) // it may be released
	for _, sql := range []string{"BEGIN", `INSERT INTO prelude.checkpoints (reader, version, pos)
		VALUES ($1, $2, 0)`} {
		args := []any{reader, version}[:2*strings.Count(sql, "$1")]
		if _, err := conn.Exec(ctx, sql, args...); err != nil {
			r.t.Fatal(err)
		}
	}
	return func() {
		if _, err := conn.Exec(ctx, "ROLLBACK"); err != nil {
			r.t.Error(err)
		}
	}
}

// hindered waits until a reader meets what holds it.
func (r *rig) hindered() {
	r.t.Helper()
	soon(r.t, "the reader waits", func() bool {
		return r.count(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
			AND wait_event_type = 'Lock' AND query LIKE 'INSERT INTO prelude.checkpoints%'`) > 0
	})
}

// TestUpgrade_is_not_ready_before_its_tables_are_built starts on a database that has no tables of this program's
// version, as after an upgrade, while something holds up the reader that fills them.
func TestUpgrade_is_not_ready_before_its_tables_are_built(t *testing.T) {
	t.Parallel()
	for _, reader := range []string{projections.Views, projections.Rights} {
		t.Run(reader, func(t *testing.T) {
			t.Parallel()
			r := start(t)
			r.lives(t)
			table := map[string]string{projections.Views: "views_1.audit", projections.Rights: "rights_1.users"}[reader]
			before := r.count("SELECT count(*) FROM " + table)
			r.stop()
			r.sql("DROP SCHEMA " + reader + "_1 CASCADE")
			r.sql("DELETE FROM prelude.checkpoints WHERE reader = $1", reader)
			release := r.hinders(reader, 1)
			address := freeAddress(t)
			r.url = "http://" + address
			out := r.starting("--listen", address)
			r.hindered()
			for range 50 { // the other readers are done meanwhile
				d := r.do("GET", "/readyz", nil).want(503)
				if w := d.list("wrong"); len(w) != 1 || w[0].str("reason") != "starting or stopping" {
					t.Fatalf("it says %v", d)
				}
			}
			release()
			r.ready(out)
			r.do("GET", "/readyz", nil).want(200)
			// The last row may not have been there yet before the stop.
			if n := r.count("SELECT count(*) FROM " + table); n < before || n == 0 {
				t.Errorf("when it is ready there are %d rows, want %d or more", n, before)
			}
		})
	}
}

// TestUpgrade_searches_in_Postgres_until_its_index_is_built starts with an index that is still empty: it is ready, finds
// everything, and says which engine that was; the index is asked once it has all.
func TestUpgrade_searches_in_Postgres_until_its_index_is_built(t *testing.T) {
	t.Parallel()
	node := searchtest.Node(t)
	with := []string{"--opensearch-url", node, "--opensearch-prefix", prefix(t, node)}
	r := start(t, with...)
	id := r.preset("lighthouse")
	found := func(d doc) {
		t.Helper()
		if hits := d.list("data"); len(hits) != 1 || hits[0].str("preset", "id") != id {
			t.Errorf("it finds %v", d)
		}
	}
	found(r.search("q=lighthouse&min_position="+r.newest(), "opensearch"))
	r.stop()
	index := r.index(node, with[3], 1)
	if err := index.Drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.sql("DELETE FROM prelude.checkpoints WHERE reader = 'index'")
	release := r.hinders("index", 1)
	r.serve(with...)
	r.hindered()
	began := time.Now()
	d := r.do("GET", "/v1/search/presets?q=lighthouse&min_position="+r.newest(), nil).want(200)
	found(d)
	if d.str("engine") != "postgres" || d.at("degraded") != true || d.at("stale") != false ||
		d.str("reason") != "opensearch_catching_up" {
		t.Errorf("while the index is built: %v", d)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("it waited %s for the index", took)
	}
	release()
	d = r.search("q=lighthouse", "opensearch")
	found(d)
	if d.str("engine") != "opensearch" || d.at("degraded") != false {
		t.Errorf("when it is built: %v", d)
	}
}

// newest is the position of the log's newest event, which it makes: a session.
func (r *rig) newest() string {
	r.t.Helper()
	a := r.do("POST", "/v1/sessions", doc{"model": "demo"})
	a.want(201)
	return a.Header.Get("Prelude-Position")
}

// index is a client of a version of the index.
func (r *rig) index(node, prefix string, version int) *search.Client {
	r.t.Helper()
	c, err := search.Open(search.Config{URL: node, Prefix: prefix, Version: version})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() }) // it closes nothing but idle connections
	return c
}

// feeds runs a reader of another program's version beside the server, until it is stopped.
func (r *rig) feeds(owner string, reader func(*parts, looked) projections.Reader) (stop func()) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	cfg := r.config()
	cfg.Listen, cfg.OpenAIWindow, cfg.LogLevel = "127.0.0.1:0", "128000", "info"
	done := make(chan error, 1)
	go func() {
		done <- withReaders(ctx, cfg, streams{out: &buffer{}, err: r.logs}, func(ctx context.Context, p *parts, l looked) error {
			l.engine.Owner = owner
			err := l.engine.Run(ctx, reader(p, l))
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		})
	}()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("the other program: %v", err)
		}
	}
	r.t.Cleanup(stop)
	return stop
}

// TestIndexVersions_side_by_side: the next program's index is built beside the one that is served, while that is asked
// and changes come; each program searches its own; going back is the old program, whose index stayed as it was.
func TestIndexVersions_side_by_side(t *testing.T) {
	t.Parallel()
	node := searchtest.Node(t)
	name := prefix(t, node)
	with := []string{"--opensearch-url", node, "--opensearch-prefix", name}
	r := start(t, with...)
	want := []string{r.preset("lighthouse-one"), r.preset("lighthouse-two")}
	me := r.do("GET", "/v1/me", nil).want(200)
	who := domain.Principal{Org: domain.OrgID(me.str("org", "id")), User: domain.UserID(me.str("user", "id")), Role: domain.Owner}
	next := r.index(node, name, 2)
	nextFinds := func() (n int) {
		hits, err := next.Search(t.Context(), who, readmodels.SearchQuery{Text: "lighthouse", Limit: 10})
		if err != nil && !errors.Is(err, readmodels.ErrSearchDown) {
			t.Error(err)
		}
		return len(hits.Hits)
	}
	servedFinds := func() int {
		t.Helper()
		d := r.search("q=lighthouse&min_position="+r.newest(), "opensearch")
		if d.str("engine") != "opensearch" {
			t.Errorf("it was %v", d)
		}
		return len(d.list("data"))
	}
	if n := servedFinds(); n != len(want) {
		t.Fatalf("%d are found", n)
	}
	stop := r.feeds("next", func(p *parts, l looked) projections.Reader {
		reader := projections.NewIndexReader(p.pool, l.progress, next)
		reader.Version = 2
		return reader
	})
	soon(t, "the next index is built", func() bool { return nextFinds() == len(want) })
	want = append(want, r.preset("lighthouse-three"))
	soon(t, "the next index follows", func() bool { return nextFinds() == len(want) })
	if n := servedFinds(); n != len(want) {
		t.Errorf("beside the next %d are found in the one that is served", n)
	}
	stop()
	want = append(want, r.preset("lighthouse-four"))
	if n := servedFinds(); n != len(want) {
		t.Errorf("%d are found in the one that is served", n)
	}
	if n := nextFinds(); n != len(want)-1 {
		t.Errorf("the next program is away, and its index finds %d", n)
	}
	r.stop()
	if n := r.count("SELECT count(*) FROM prelude.checkpoints WHERE reader = 'index' AND version IN (1, 2) AND pos > 0"); n != 2 {
		t.Errorf("%d versions of the index have a checkpoint", n)
	}
	// The next program goes, and with it its index; the old one is started again and needs nothing.
	if err := next.Drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	hits, err := r.index(node, name, 1).Search(t.Context(), who, readmodels.SearchQuery{Text: "lighthouse", Limit: 10})
	if err != nil || len(hits.Hits) != len(want) {
		t.Errorf("the old index finds %d: %v", len(hits.Hits), err)
	}
	r.serve(with...)
	if n := servedFinds(); n != len(want) {
		t.Errorf("after going back %d are found", n)
	}
}
