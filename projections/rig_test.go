package projections

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"prelude/internal/esnode"
	"prelude/internal/esnode/esnodetest"
	"prelude/internal/eventlog"
	"prelude/internal/eventlog/eventlogtest"
	"prelude/internal/eventstore"
	"prelude/internal/eventstore/storetest"
	"prelude/internal/pgserver/pgtest"
	"prelude/internal/postgres"
	"prelude/migrations"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is an event node that can be stopped and started.
type node struct {
	t       testing.TB
	dir     string
	running *esnode.Node
}

func (n *node) socket() string { return filepath.Join(n.dir, "node.sock") }

func (n *node) start() {
	n.t.Helper()
	var err error
	n.running, err = esnode.Start(context.Background(), esnodetest.Config(n.t, esnode.Config{Dir: n.dir, Socket: n.socket()}))
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) stop() {
	n.t.Helper()
	if err := n.running.Close(); err != nil {
		n.t.Error(err)
	}
}

// newLog is an empty log on a node of its own.
func newLog(t testing.TB) *eventlog.Log {
	t.Helper()
	log, _ := newNode(t)
	return log
}

func newNode(t testing.TB) (*eventlog.Log, *node) {
	t.Helper()
	n := &node{t: t, dir: storetest.Folder(t)}
	n.start()
	store, err := eventstore.Open(eventstore.Config{Socket: n.socket()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(store.Close(), n.running.Close()); err != nil {
			t.Error(err)
		}
	})
	return &eventlog.Log{Store: store, Keys: &eventlogtest.Keys{}}, n
}

// database is a database with everything made, and its DSN as the superuser, who sees all rows.
func database(t testing.TB) (*pgxpool.Pool, string) {
	t.Helper()
	return databaseWith(t, "projections")
}

// databaseWith is a database of a kind, with the tables of some more readers.
func databaseWith(t testing.TB, kind string, more ...Reader) (*pgxpool.Pool, string) {
	t.Helper()
	dsn := pgtest.Template(t, kind, func(dsn string) error {
		ctx := context.Background()
		if err := postgres.Migrate(ctx, dsn, migrations.FS); err != nil {
			return err
		}
		return postgres.Owned(ctx, dsn, append(Build(), column(more, Reader.Build)...)...)
	})
	pool, err := postgres.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool, dsn
}

func newEngine(log *eventlog.Log, pool *pgxpool.Pool, readers ...Reader) *Engine {
	p := NewProgress()
	p.Watch(readers)
	return &Engine{Log: log, Pool: pool, Progress: p, Logger: slog.New(slog.DiscardHandler)}
}

// running runs readers until the test ends, or until stop is called.
func running(t testing.TB, e *Engine, readers ...Reader) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, len(readers))
	for _, r := range readers {
		go func() { done <- e.Run(ctx, r) }()
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		for range readers {
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("a reader ended: %v", err)
			}
		}
	}
	t.Cleanup(stop)
	return stop
}

// until waits until a reader has applied a position.
func until(t testing.TB, e *Engine, reader string, at eventlog.Position) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if !e.Progress.Wait(ctx, reader, at) {
		t.Fatalf("%s is at %d and never came to %d", reader, e.Progress.At(reader), at)
	}
}

// ask runs a query as the superuser and gives its one value.
func ask[T any](t testing.TB, dsn, sql string, args ...any) (value T) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

// dump is all that the readers keep, as text.
func dump(t testing.TB, dsn string) string {
	t.Helper()
	return dumpOf(t, dsn, RightsReader().Schema(), ViewsReader().Schema())
}

// dumpOf is all that is in some schemas, as text.
func dumpOf(t testing.TB, dsn string, schemas ...string) string {
	t.Helper()
	tables := ask[[]string](t, dsn, `SELECT array_agg(schemaname || '.' || tablename ORDER BY schemaname, tablename)
		FROM pg_tables WHERE schemaname = ANY ($1)`, schemas)
	var b strings.Builder
	for _, table := range tables {
		fmt.Fprintf(&b, "== %s\n%s\n", table, ask[string](t, dsn, `SELECT
			coalesce(string_agg(t::text, E'\n' ORDER BY t::text COLLATE "C"), '') FROM `+table+" t"))
	}
	return b.String()
}

// same compares two dumps and shows where they part.
func same(t testing.TB, what, got, want string) {
	t.Helper()
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Fatalf("%s: line %d\n got %s\nwant %s", what, i, strings.Join(g[i:min(i+1, len(g))], ""),
				strings.Join(w[i:min(i+1, len(w))], ""))
		}
	}
}
