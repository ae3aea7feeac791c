package projections

import (
	"time"

	"github.com/jackc/pgx/v5"

	"prelude/domain/session"
)

type sessionRow = row[session.Session]

func putSessions(b *pgx.Batch, rows []*sessionRow) error {
	if len(rows) == 0 {
		return nil
	}
	states, err := texts(rows, func(r *sessionRow) any { return r.state })
	if err != nil {
		return err
	}
	b.Queue(`INSERT INTO sessions AS t (org, id, owner, status, created_at, updated_at, state,
			revision, pos)
		SELECT org, id, owner, status, created_at, updated_at, state::jsonb, revision, pos
		FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[],
			$7::text[], $8::bigint[], $9::bigint[])
			AS u (org, id, owner, status, created_at, updated_at, state, revision, pos)
		ON CONFLICT (org, id) DO UPDATE SET status = excluded.status, updated_at = excluded.updated_at,
			state = excluded.state, revision = excluded.revision, pos = excluded.pos`,
		column(rows, func(r *sessionRow) string { return r.org }),
		column(rows, func(r *sessionRow) string { return r.id }),
		column(rows, func(r *sessionRow) string { return string(r.state.Owner) }),
		column(rows, func(r *sessionRow) string { return r.state.Status() }),
		column(rows, func(r *sessionRow) time.Time { return r.state.CreatedAt }),
		column(rows, func(r *sessionRow) time.Time { return r.state.UpdatedAt }),
		states,
		column(rows, func(r *sessionRow) int64 { return int64(r.revision) }),
		column(rows, func(r *sessionRow) int64 { return int64(r.position) }),
	)
	return nil
}
