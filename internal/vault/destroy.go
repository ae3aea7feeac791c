package vault

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"prelude/domain"
)

// Erase destroys the keys of a person, and those of every session in which they wrote: a reply may quote them. What
// does not exist is marked too, so that it is never made.
func (v *Vault) Erase(ctx context.Context, org domain.OrgID, user domain.UserID) error {
	b := batch()
	queueErase(b, org, user)
	return v.destroy(ctx, b)
}

// queueErase holds the person's own key first: from then on nobody makes another that it wraps, and those that were
// made until then are seen by the statements after it.
func queueErase(b *pgx.Batch, org domain.OrgID, user domain.UserID) {
	o, u := domain.Bare(org), domain.Bare(user)
	b.Queue(mark(`SELECT $1::text`), string(domain.UserKey(org, user)))
	b.Queue(mark(`SELECT 's.' || $1::text || '.' || split_part(id, '.', 3) FROM vault.keys
		WHERE split_part(id, '.', 4) = $2 AND id >= 'a.' AND id < 'a/' AND split_part(id, '.', 2) = $1`), o, u)
	b.Queue(mark(`SELECT id FROM vault.keys
		WHERE split_part(id, '.', 4) = $2 AND id >= 'a.' AND id < 'a/' AND split_part(id, '.', 2) = $1`), o, u)
	b.Queue(mark(`SELECT id FROM vault.keys WHERE id >= $1 AND id < $2`), within("d."+o+"."+u)...)
}

// mark is a statement that destroys the keys whose ids a query gives.
func mark(ids string) string {
	return `INSERT INTO vault.keys AS k (id, destroyed_at) SELECT q.id, now() FROM (` + ids + `) AS q (id)
		ON CONFLICT (id) DO UPDATE SET wrapped = NULL, destroyed_at = now() WHERE k.destroyed_at IS NULL`
}

// within is the range of the ids below a prefix, the end excluded.
func within(prefix string) []any { return []any{prefix + ".", prefix + "/"} } // a slash follows a dot

// Expire destroys the keys of a session: its own, and those of all who wrote in it.
func (v *Vault) Expire(ctx context.Context, org domain.OrgID, s domain.SessionID) error {
	b := batch()
	b.Queue(mark(`SELECT $1::text`), string(domain.SessionKey(org, s)))
	b.Queue(mark(`SELECT id FROM vault.keys WHERE id >= $1 AND id < $2`),
		within("a."+domain.Bare(org)+"."+domain.Bare(s))...)
	return v.destroy(ctx, b)
}

// ExpireDays destroys the keys of an org's stateless completions of all days before one (2006-01-02).
func (v *Vault) ExpireDays(ctx context.Context, org domain.OrgID, before string) error {
	b := batch()
	b.Queue(mark(`SELECT id FROM vault.keys WHERE id >= $1 AND id < $2 AND split_part(id, '.', 4) < $3
		AND destroyed_at IS NULL`), append(within("d."+domain.Bare(org)), before)...)
	return v.destroy(ctx, b)
}

func (v *Vault) destroy(ctx context.Context, b *pgx.Batch) error {
	err := v.pool.SendBatch(ctx, b).Close()
	v.Forget()
	if err != nil {
		return fmt.Errorf("destroy keys: %w", err)
	}
	return nil
}

// Sessions gives the next sessions of an org, by their ids, whose keys are not destroyed; at most limit.
func (v *Vault) Sessions(ctx context.Context, org domain.OrgID, after domain.SessionID, limit int,
) ([]domain.SessionID, error) {
	bounds := within("s." + domain.Bare(org))
	if after != "" {
		bounds[0] = string(domain.SessionKey(org, after))
	}
	var all []domain.SessionID
	b := batch()
	b.Queue(`SELECT split_part(id, '.', 3) FROM vault.keys WHERE id > $1 AND id < $2 AND destroyed_at IS NULL
		ORDER BY id LIMIT $3`, append(bounds, limit)...).Query(func(rows pgx.Rows) error {
		var id string
		_, err := pgx.ForEachRow(rows, []any{&id}, func() error {
			all = append(all, domain.SessionID(domain.SessionPrefix+id))
			return nil
		})
		return err
	})
	if err := v.pool.SendBatch(ctx, b).Close(); err != nil {
		return nil, fmt.Errorf("list the sessions of an org: %w", err)
	}
	return all, nil
}
