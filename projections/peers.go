package projections

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"prelude/internal/eventlog"
)

// Peers reads how far other instances have fed the readers that this one does not feed: often while somebody waits
// for a position, and else seldom.
type Peers struct {
	Pool     *pgxpool.Pool
	Progress *Progress
	Logger   *slog.Logger
}

const (
	peersOften  = 20 * time.Millisecond
	peersSeldom = time.Second
)

// Run reads until the context ends.
func (p *Peers) Run(ctx context.Context) error {
	failing := false
	for {
		readers, urgent := p.Progress.others()
		if len(readers) > 0 {
			err := p.read(ctx, readers)
			if err != nil && !failing && ctx.Err() == nil {
				p.Logger.Warn("how far other instances are is not known", "error", err)
			}
			failing = err != nil
		}
		pause, wanted := peersSeldom, p.Progress.wanted
		if urgent && len(readers) > 0 && !failing {
			pause, wanted = peersOften, nil
		}
		select {
		case <-time.After(pause):
		case <-wanted:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// read asks for the checkpoints of some readers with one statement.
func (p *Peers) read(ctx context.Context, readers []Reader) error {
	b := &pgx.Batch{}
	b.Queue(`SELECT set_config('role', 'prelude_proj', true)`)
	b.Queue(`SELECT c.reader, c.pos FROM prelude.checkpoints c JOIN unnest($1::text[], $2::int[]) AS r (reader, version)
		ON c.reader = r.reader AND c.version = r.version`,
		column(readers, func(r Reader) string { return r.Name }),
		column(readers, func(r Reader) int { return r.Version })).
		Query(func(rows pgx.Rows) error {
			var reader string
			var at int64
			_, err := pgx.ForEachRow(rows, []any{&reader, &at}, func() error {
				p.Progress.stored(reader, eventlog.Position(at))
				return nil
			})
			return err
		})
	if err := p.Pool.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("read the checkpoints of others: %w", err)
	}
	return nil
}
