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
var ErrAhead = errors.New("what was built from the log knows events that the log does not have: the log was restored " +
	"from an older backup, or is another one. Put the newer log back, or stop all servers and run prelude rebuild " +
	"--yes, which builds everything anew from this log; what was sent out and counted of the lost events stays")

// Ahead refuses a log that ends before a checkpoint of these readers, or before what a consumer of the bus has
// counted; and one that is long enough, but has not the events that were applied. Error: [ErrAhead].
func Ahead(ctx context.Context, pool *pgxpool.Pool, log *eventlog.Log, readers []Reader) error {
	furthest := int64(0)
	var witnesses []*witness
	b := &pgx.Batch{}
	b.Queue(`SELECT set_config('role', 'prelude_proj', true)`)
	b.Queue(`SELECT max(far.pos), coalesce(jsonb_agg(far.witness) FILTER (WHERE far.witness IS NOT NULL), '[]') FROM (
		SELECT c.pos, c.witness FROM prelude.checkpoints c JOIN unnest($1::text[], $2::int[]) AS r (reader, version)
			ON c.reader = r.reader AND c.version = r.version
		UNION ALL SELECT pos, NULL FROM prelude.consumers UNION ALL SELECT 0, NULL) AS far`,
		column(readers, func(r Reader) string { return r.Name }),
		column(readers, func(r Reader) int { return r.Version })).
		QueryRow(func(row pgx.Row) error { return row.Scan(&furthest, &witnesses) })
	if err := pool.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("ask how far the readers are: %w", err)
	}
	end, err := log.End(ctx)
	if err == nil && eventlog.Position(furthest) > end {
		err = ErrAhead
	}
	for _, w := range witnesses {
		if err == nil {
			err = recognise(ctx, log, w)
		}
	}
	return err
}

// Cut is the SQL that takes back how far was sent out and counted, for a log that has lost its tail: to the log's last
// event that is not beyond it. Where the log has grown past it again, sending goes on there: where the two logs parted
// is not known, and what was sent twice would be counted twice.
func Cut(ctx context.Context, pool *pgxpool.Pool, log *eventlog.Log) ([]string, error) {
	end, err := log.End(ctx)
	if err != nil {
		return nil, err
	}
	sent, err := sentTo(ctx, pool)
	if err != nil {
		return nil, err
	}
	all := []string{
		fmt.Sprintf(`UPDATE prelude.consumers SET pos = least(pos, %d)`, end),
		fmt.Sprintf(`DELETE FROM prelude.consumed_late WHERE pos > %d`, end),
		// What waits from beyond the end would wait for ever: it waits for what comes next.
		fmt.Sprintf(`UPDATE prelude.parked SET pos = %d WHERE reader = '%s' AND pos > %[1]d`, end, Out),
	}
	for version, pos := range sent {
		at, err := lastUpTo(ctx, log, pos)
		if err != nil {
			return nil, err
		}
		all = append(all, fmt.Sprintf(`UPDATE prelude.checkpoints SET pos = %d, witness = NULL
			WHERE reader = '%s' AND version = %d`, at, Out, version))
	}
	return all, nil
}

// sentTo is how far was sent out, by versions.
func sentTo(ctx context.Context, pool *pgxpool.Pool) (map[int]eventlog.Position, error) {
	sent := map[int]eventlog.Position{}
	b := &pgx.Batch{}
	b.Queue(`SELECT set_config('role', 'prelude_proj', true)`)
	b.Queue(`SELECT version, pos FROM prelude.checkpoints WHERE reader = $1`, Out).Query(func(rows pgx.Rows) error {
		var version int
		var pos eventlog.Position
		_, err := pgx.ForEachRow(rows, []any{&version, &pos}, func() error {
			sent[version] = pos
			return nil
		})
		return err
	})
	if err := pool.SendBatch(ctx, b).Close(); err != nil {
		return nil, fmt.Errorf("ask how far was sent out: %w", err)
	}
	return sent, nil
}

// lastUpTo is where the log's last event is that does not lie beyond a position: a store takes no position for one to
// go on from at which there is none.
func lastUpTo(ctx context.Context, log *eventlog.Log, pos eventlog.Position) (eventlog.Position, error) {
	for raw, err := range log.Store.ReadAll(ctx, eventlog.End, eventlog.Backwards, 0) {
		if err != nil {
			return 0, fmt.Errorf("look for the last event that was sent out: %w", err)
		}
		if raw.Position <= pos {
			return raw.Position, nil
		}
	}
	return 0, nil
}
