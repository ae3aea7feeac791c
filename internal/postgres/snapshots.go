package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"prelude/commands"
	"prelude/internal/eventlog"
)

// Snapshots keeps folds of long streams. It implements commands.Snapshots.
type Snapshots struct{ Pool *pgxpool.Pool }

// Snapshot gives the newest fold of a stream that was made under a schema.
func (s Snapshots) Snapshot(ctx context.Context, stream string, schema int,
) (kept commands.Snapshot, found bool, err error) {
	var revision, position int64
	b := snapshotBatch()
	b.Queue(`SELECT revision, pos, fold FROM prelude.snapshots WHERE stream = $1 AND schema = $2`, stream, schema).
		Query(func(rows pgx.Rows) error {
			_, err := pgx.ForEachRow(rows, []any{&revision, &position, &kept.Fold}, func() error {
				found = true
				return nil
			})
			return err
		})
	if err := s.Pool.SendBatch(ctx, b).Close(); err != nil {
		return commands.Snapshot{}, false, fmt.Errorf("read a snapshot: %w", err)
	}
	kept.Revision, kept.Position = eventlog.Revision(revision), eventlog.Position(position)
	return kept, found, nil
}

// KeepSnapshot replaces what is kept of a stream, unless that is newer and of the same schema.
func (s Snapshots) KeepSnapshot(ctx context.Context, stream string, schema int, kept commands.Snapshot) error {
	b := snapshotBatch()
	b.Queue(`INSERT INTO prelude.snapshots AS s (stream, schema, revision, pos, fold) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (stream) DO UPDATE SET schema = excluded.schema, revision = excluded.revision, pos = excluded.pos,
			fold = excluded.fold, at = now()
		WHERE s.schema <> excluded.schema OR s.revision < excluded.revision`,
		stream, schema, int64(kept.Revision), int64(kept.Position), kept.Fold)
	if err := s.Pool.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("keep a snapshot: %w", err)
	}
	return nil
}

func snapshotBatch() *pgx.Batch {
	b := &pgx.Batch{}
	b.Queue(`SELECT set_config('role', 'prelude_proj', true)`)
	return b
}
