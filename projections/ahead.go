package projections

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"prelude/internal/eventlog"
)

// ErrAhead: what was built knows events that the log does not have.
var ErrAhead = errors.New("what was built from the log is ahead of the log's end: the log was restored from an older " +
	"backup, or is another one. Put the newer log back, or stop all servers and run prelude rebuild --yes, which " +
	"builds everything anew from this log; what was sent out and counted of the lost events stays")

// Ahead refuses a log that ends before a checkpoint of these readers, or before what a consumer of the bus has
// counted. Error: [ErrAhead].
func Ahead(ctx context.Context, pool *pgxpool.Pool, log *eventlog.Log, readers []Reader) error {
	furthest := int64(0)
	b := &pgx.Batch{}
	b.Queue(`SELECT set_config('role', 'prelude_proj', true)`)
	b.Queue(`SELECT coalesce(max(pos), 0) FROM (
		SELECT c.pos FROM prelude.checkpoints c JOIN unnest($1::text[], $2::int[]) AS r (reader, version)
			ON c.reader = r.reader AND c.version = r.version
		UNION ALL SELECT pos FROM prelude.consumers) AS far`,
		column(readers, func(r Reader) string { return r.Name }),
		column(readers, func(r Reader) int { return r.Version })).
		QueryRow(func(row pgx.Row) error { return row.Scan(&furthest) })
	if err := pool.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("ask how far the readers are: %w", err)
	}
	head, err := log.Head(ctx)
	if err == nil && eventlog.Position(furthest) > head {
		err = ErrAhead
	}
	return err
}

// Cut is the SQL that takes back to the log's end how far was sent out and counted: for a log that ends earlier than
// it did.
func Cut(head eventlog.Position) []string {
	return []string{
		fmt.Sprintf(`UPDATE prelude.checkpoints SET pos = least(pos, %d) WHERE reader = '%s'`, head, Out),
		fmt.Sprintf(`UPDATE prelude.consumers SET pos = least(pos, %d)`, head),
		fmt.Sprintf(`DELETE FROM prelude.consumed_late WHERE pos > %d`, head),
	}
}
