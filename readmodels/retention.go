package readmodels

import (
	"context"
	"time"

	"prelude/domain"
)

// Orgs lists all orgs. It looks over the wall: it is asked by the program itself.
func (r *Reader) Orgs(ctx context.Context) ([]domain.OrgID, error) {
	var all []struct{ Org domain.OrgID }
	b := r.batch()
	b.Queue(`SELECT set_config('role', 'prelude_proj', true)`)
	b.Queue(`SELECT org FROM rights.orgs ORDER BY org`).Query(scan(&all))
	err := r.Pool.SendBatch(ctx, &b.Batch).Close()
	orgs := make([]domain.OrgID, len(all))
	for i, o := range all {
		orgs[i] = o.Org
	}
	return orgs, wrap("list orgs", err)
}

// Idle gives those of an org's sessions, of the ones that are named, in which nothing has happened since a time, or
// that have expired before.
func (r *Reader) Idle(ctx context.Context, org domain.OrgID, ids []domain.SessionID, since time.Time,
) ([]domain.SessionID, error) {
	var all []struct{ ID domain.SessionID }
	err := r.ask(ctx, org, func(b *batch) {
		b.Queue(`SELECT id FROM views.sessions WHERE org = $1 AND id = ANY($2)
			AND (updated_at < $3 OR state->>'ExpiredAt' IS NOT NULL)`, org, ids, since).Query(scan(&all))
	})
	idle := make([]domain.SessionID, len(all))
	for i, s := range all {
		idle[i] = s.ID
	}
	return idle, wrap("ask for idle sessions", err)
}
