package projections

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"prelude/internal/eventlog"
	"prelude/internal/pgserver"
	"prelude/internal/postgres"
	"prelude/migrations"
	"prelude/test/speed"
)

// synced is a Postgres that syncs what it commits, as a user's does; that of the other tests does not.
func synced(t *testing.T) *pgserver.Server {
	t.Helper()
	server, err := pgserver.Start(t.Context(), pgserver.Config{Dir: filepath.Join(t.TempDir(), "pg")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// made is a database of a server with the tables of all readers, empty.
func made(t *testing.T, server *pgserver.Server, name string) (*pgxpool.Pool, string) {
	t.Helper()
	run(t, server.DSN("postgres"), "CREATE DATABASE "+name)
	dsn := server.DSN(name)
	err := postgres.Migrate(t.Context(), dsn, migrations.FS)
	if err == nil {
		err = postgres.Owned(t.Context(), dsn, Build()...)
	}
	if err != nil {
		t.Fatal(err)
	}
	pool, err := postgres.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool, dsn
}

// run runs statements as the superuser.
func run(t *testing.T, dsn string, statements ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	for _, s := range statements {
		if _, err := conn.Exec(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// observed is a reader of which is noted in what batches it applied the log, and how much memory was in use on the way.
type observed struct {
	Reader
	batches       []int
	events        int
	quarter, last float64 // MB of the heap that are in use at a quarter of the log, and at its end
}

func observe(r Reader, total int) *observed {
	o := &observed{Reader: r}
	o.Apply = func(ctx context.Context, tx pgx.Tx, batch []eventlog.Record) error {
		o.batches = append(o.batches, len(batch))
		if o.events += len(batch); o.quarter == 0 && o.events >= total/4 {
			o.quarter = inUse()
		}
		if o.events == total {
			o.last = inUse()
		}
		return r.Apply(ctx, tx, batch)
	}
	return o
}

// inUse is how many MB of the heap are in use.
func inUse() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / 1e6
}

// A log of many events is built into empty tables as after rebuild --yes. Beside it the same rows are copied into empty
// tables of the same kind, and the readers apply the same batches without a log: what they are given is decoded before.
func TestSpeed_of_a_rebuild(t *testing.T) {
	log := newLog(t)
	began := time.Now()
	total := filled(t, log, speed.Size(4_000, 1_000_000))
	t.Logf("%d events were written in %s", total, time.Since(began).Round(time.Second))
	server := synced(t)
	pool, dsn := made(t, server, "rebuilt")
	barePool, bareDSN := made(t, server, "bare")
	rights, views := observe(RightsReader(), 0), observe(ViewsReader(), total)

	run(t, dsn, "CHECKPOINT")
	rebuilt := rebuild(t, newEngine(log, pool), rights, views)
	if views.events != total || ask[int](t, dsn, "SELECT count(*) FROM prelude.parked") > 0 {
		t.Fatalf("%d of %d events were applied", views.events, total)
	}

	run(t, dsn, "CHECKPOINT")
	bare := newEngine(log, barePool)
	upserts := bareOf(t, bare, rights) + bareOf(t, bare, views)

	run(t, dsn, "CHECKPOINT")
	rows, copying := copied(t, dsn)
	if bareRows, _ := countRows(t, bareDSN); bareRows != rows {
		t.Errorf("the rebuild left %d rows, the upserts alone %d", rows, bareRows)
	}
	per := func(n int, d time.Duration) float64 { return float64(n) / d.Seconds() }
	speed.Report(t, fmt.Sprintf("rebuild of all Postgres views from %d mixed events", total),
		fmt.Sprintf("%.0f events/s (%.1f s); the same upserts without the log %.0f; COPY of the same %d rows %.1f s; "+
			"heap in use %.1f MB at a quarter, %.1f at the end", per(total, rebuilt), rebuilt.Seconds(), per(total, upserts),
			rows, copying.Seconds(), views.quarter, views.last),
		speed.Goal{Name: "× COPY of the same rows", Value: copying.Seconds() / rebuilt.Seconds(), Least: 0.1},
		speed.Goal{Name: "× the upserts without the log", Value: upserts.Seconds() / rebuilt.Seconds(), Least: 0.5},
		speed.Goal{Name: "MB of heap at the end", Value: views.last, Most: 1.5*views.quarter + 20})
}

// rebuild runs the readers from the log's beginning to its end.
func rebuild(t *testing.T, e *Engine, rights, views *observed) time.Duration {
	t.Helper()
	head, err := e.Log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := recordsFor(t, e.Log, RightsReader())
	began := time.Now()
	stop := running(t, e, rights.Reader, views.Reader)
	for reader, at := range map[string]eventlog.Position{Rights: all[len(all)-1].Position, Views: head} {
		if !e.Progress.Wait(t.Context(), reader, at) {
			t.Fatalf("%s is at %d and never came to %d", reader, e.Progress.At(reader), at)
		}
	}
	took := time.Since(began)
	stop()
	return took
}

// readAhead is how many events are decoded before some batches are applied and timed.
const readAhead = 20_000

// bareOf applies the batches that a reader has applied, and gives the time that took without the reading of the log.
func bareOf(t *testing.T, e *Engine, o *observed) (took time.Duration) {
	t.Helper()
	r := Kept()[0]
	for _, k := range Kept() {
		if k.Name == o.Name {
			r = k
		}
	}
	var at eventlog.Position
	for batches := o.batches; len(batches) > 0; {
		n, events := 0, 0
		for ; n < len(batches) && (n == 0 || events+batches[n] <= readAhead); n++ {
			events += batches[n]
		}
		var records []eventlog.Record
		records, at = recordsAfter(t, e, r, at, events)
		runtime.GC() // what the decoding left is not the upserts' to clear away
		began := time.Now()
		for _, size := range batches[:n] {
			err := e.inTx(t.Context(), r, func(tx pgx.Tx) error { return r.Apply(t.Context(), tx, records[:size]) })
			if err != nil {
				t.Fatal(err)
			}
			records = records[size:]
		}
		took += time.Since(began)
		batches = batches[n:]
	}
	return took
}

// recordsAfter are the next n events that a reader wants, decoded and opened.
func recordsAfter(t *testing.T, e *Engine, r Reader, at eventlog.Position, n int,
) ([]eventlog.Record, eventlog.Position) {
	t.Helper()
	all := make([]eventlog.Record, 0, n)
	for raw, err := range e.Log.Store.ReadAll(t.Context(), at, eventlog.Forwards, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if raw.Position <= at {
			continue
		}
		rec := decode(raw)
		if !r.wants(rec) {
			continue // the store's own, or another reader's
		}
		if all = append(all, rec); len(all) == n {
			break
		}
	}
	if len(all) != n {
		t.Fatalf("there are %d records of %d", len(all), n)
	}
	if err := e.open(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	return all, all[n-1].Position
}

// countRows counts the rows of all tables that readers keep, and names the tables.
func countRows(t *testing.T, dsn string) (rows int, tables []string) {
	t.Helper()
	tables = ask[[]string](t, dsn, `SELECT array_agg(schemaname || '.' || tablename ORDER BY 1) FROM pg_tables
		WHERE schemaname = ANY ($1)`, []string{RightsReader().Schema(), ViewsReader().Schema()})
	for _, table := range tables {
		rows += ask[int](t, dsn, "SELECT count(*) FROM "+table)
	}
	return rows, tables
}

// copied copies all rows that readers keep into empty tables of the same kind, with the same indexes, and gives how
// many there are and how long the copying in took.
func copied(t *testing.T, dsn string) (rows int, took time.Duration) {
	t.Helper()
	rows, tables := countRows(t, dsn)
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	path := filepath.Join(t.TempDir(), "rows")
	into := 0
	for i, table := range tables {
		there := fmt.Sprint("public.copy_", i)
		run(t, dsn, "CREATE TABLE "+there+" (LIKE "+table+" INCLUDING ALL)")
		if err := copyOut(t.Context(), conn, table, path); err != nil {
			t.Fatal(err)
		}
		n, d, err := copyIn(t.Context(), conn, there, path)
		if err != nil {
			t.Fatal(err)
		}
		into, took = into+n, took+d
	}
	if into != rows {
		t.Fatalf("%d rows were copied of %d", into, rows)
	}
	return rows, took
}

func copyOut(ctx context.Context, conn *pgx.Conn, table, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = conn.PgConn().CopyTo(ctx, f, "COPY "+table+" TO STDOUT (FORMAT binary)")
	return errors.Join(err, f.Close())
}

func copyIn(ctx context.Context, conn *pgx.Conn, table, path string) (int, time.Duration, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	tag, err := conn.PgConn().CopyFrom(ctx, f, "COPY "+table+" FROM STDIN (FORMAT binary)")
	return int(tag.RowsAffected()), time.Since(began), errors.Join(err, f.Close())
}
