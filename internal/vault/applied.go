package vault

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"prelude/domain"
	"prelude/internal/eventlog"
)

// Applied is the position of a log up to which its erasures were applied to the vault behind q; 0: none were.
func Applied(ctx context.Context, q Querier, logID string) (eventlog.Position, error) {
	pos := int64(0)
	b := batch()
	b.Queue(`SELECT coalesce(max(pos), 0) FROM vault.applied WHERE log = $1`, logID).
		QueryRow(func(r pgx.Row) error { return r.Scan(&pos) })
	if err := q.SendBatch(ctx, b).Close(); err != nil {
		return 0, fmt.Errorf("ask how far erasures were applied: %w", err)
	}
	return eventlog.Position(pos), nil
}

// NoteApplied notes that the erasures after from, which [Applied] gave, and up to a position of a log were applied. A
// vault that was restored meanwhile stands before from, and stays there. The position may be one before from: the log
// was put back from before that.
func (v *Vault) NoteApplied(ctx context.Context, logID string, from, to eventlog.Position) error {
	b := batch()
	b.Queue(`INSERT INTO vault.applied AS a (log, pos) VALUES ($1, $3) ON CONFLICT (one) DO UPDATE
		SET log = excluded.log, pos = excluded.pos
		WHERE a.log <> excluded.log OR a.pos = $2 OR a.pos > $2 AND a.pos < excluded.pos`, logID, int64(from), int64(to))
	if err := v.pool.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("note how far erasures were applied: %w", err)
	}
	return nil
}

const unapply = `UPDATE vault.applied SET pos = 0`

// Unapply has the next start hold the whole log against the vault behind q: what is known of it may be of another log.
func Unapply(ctx context.Context, q Querier) error {
	b := batch()
	b.Queue(unapply)
	if err := q.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("note that erasures are to be applied again: %w", err)
	}
	return nil
}

// Unknown gives the keys of which a vault has never heard, of those named: neither a key nor a destroyed one.
func Unknown(ctx context.Context, q Querier, ids []domain.KeyID) (lacking []domain.KeyID, err error) {
	b := batch()
	b.Queue(`SELECT id FROM unnest($1::text[]) AS q (id)
		WHERE NOT EXISTS (SELECT FROM vault.keys k WHERE k.id = q.id)`, ids).Query(func(rows pgx.Rows) error {
		lacking, err = pgx.CollectRows(rows, pgx.RowTo[domain.KeyID])
		return err
	})
	if err := q.SendBatch(ctx, b).Close(); err != nil {
		return nil, fmt.Errorf("look for keys: %w", err)
	}
	return lacking, nil
}

// GiveUp marks keys that are lost as destroyed, so that they are never made anew.
func (v *Vault) GiveUp(ctx context.Context, ids []domain.KeyID) error {
	b := batch()
	b.Queue(mark(`SELECT unnest($1::text[])`), ids)
	return v.destroy(ctx, b)
}
