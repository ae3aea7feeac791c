package projections

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"prelude/domain"
	"prelude/internal/eventlog"
)

// long says whether tests run in their long form.
func long() bool { return os.Getenv("PRELUDE_TORTURE") != "" }

// some is a number of events, and more of them in the long form.
func some(short, torture int) int {
	if long() {
		return torture
	}
	return short
}

// counter counts the events of each stream. What it writes is not the same when it is written twice.
func counter() Reader {
	return Reader{Name: "counter", Version: 1, Prefixes: []string{"preset-"}, Parks: true,
		tables: `CREATE TABLE counts (org text NOT NULL, stream text PRIMARY KEY, n bigint NOT NULL,
			last bigint NOT NULL);`,
		Apply: func(ctx context.Context, tx pgx.Tx, batch []eventlog.Record) error {
			b := &pgx.Batch{}
			for _, rec := range batch {
				b.Queue(`INSERT INTO counts AS c (org, stream, n, last) VALUES ($1, $2, 1, $3)
					ON CONFLICT (stream) DO UPDATE SET n = c.n + 1, last = excluded.last`,
					"org_"+rec.Stream.Org, rec.Stream.String(), int64(rec.Revision))
			}
			return tx.SendBatch(ctx, b).Close()
		}}
}

const streams = 16

// fill appends n events to some streams, many at a time.
func fill(t testing.TB, log *eventlog.Log, n int) (last eventlog.Position) {
	t.Helper()
	const each = 125
	var at [streams]eventlog.Revision
	for i := range at {
		at[i] = eventlog.None
	}
	for i := 0; n > 0; i++ {
		events := make([]eventlog.Proposed, min(n, each))
		for j := range events {
			events[j] = eventlog.Proposed{ID: uuid.New(), Type: "preset.unlabeled.v1",
				Data: []byte(`{"label":"x","by":"usr_1","at":"2026-03-01T12:00:00Z"}`),
				Meta: fmt.Appendf(nil, `{"at":"1772366400000","$causationId":%q,"step":%q}`, uuid.New(), uuid.New())}
		}
		s := i % streams
		done, err := log.Store.Append(t.Context(), fmt.Sprintf("preset-%s_%026d", domain.Bare(acme), s), at[s], events)
		if err != nil {
			t.Fatal(err)
		}
		at[s], last = done.Revision, done.Position
		n -= len(events)
	}
	return last
}

// counting is a database with the counter's tables.
func counting(t testing.TB) (*pgxpool.Pool, string) {
	t.Helper()
	return databaseWith(t, "counting", counter())
}

// countedTo expects that each event was counted once.
func countedTo(t testing.TB, dsn string, n int) {
	t.Helper()
	if got := ask[int](t, dsn, "SELECT coalesce(sum(n), 0)::int FROM counter_1.counts"); got != n {
		t.Errorf("%d events were counted, want %d", got, n)
	}
	if wrong := ask[int](t, dsn, "SELECT count(*) FROM counter_1.counts WHERE n <> last + 1"); wrong > 0 {
		t.Errorf("%d streams are counted wrong", wrong)
	}
}
