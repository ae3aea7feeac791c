package projections

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"

	"prelude/domain"
	"prelude/domain/apikey"
	"prelude/domain/org"
	"prelude/domain/user"
	"prelude/internal/eventlog"
)

// RightsReader keeps who belongs to an org, and with which keys. It stops at what it cannot apply: a right
// must not be missed.
func RightsReader() Reader {
	return Reader{Name: Rights, Version: RightsVersion, Apply: applyRights, Founded: foundedOrgs, tables: rightsSQL,
		Prefixes: []string{"org-", "user-", "apikey-"}}
}

// applyRights sends one statement for each event, all in one round trip: they are few.
func applyRights(ctx context.Context, tx pgx.Tx, batch []eventlog.Record) error {
	b := &pgx.Batch{}
	for _, rec := range batch {
		switch e := rec.Event.(type) {
		case org.Founded:
			b.Queue(`INSERT INTO orgs (org, slug, name, founded_at) VALUES ($1, $2, $3, $4)
				ON CONFLICT (org) DO NOTHING`, e.Org, e.Slug, e.Name, e.At)
		case user.Joined:
			if err := putUser(b, rec, e); err != nil {
				return err
			}
		case user.Erased:
			b.Queue(`UPDATE users SET state = state || jsonb_build_object('ErasedAt', $3::text)
				WHERE org = $1 AND id = $2`, e.Org, e.User, e.At.Format(time.RFC3339Nano))
		case apikey.Issued:
			b.Queue(`INSERT INTO api_keys
				(id, org, user_id, name, hash, created_at, expires_at, pos)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING`,
				e.Key, e.Org, e.User, e.Name.Text, e.Hash, e.At, e.ExpiresAt, int64(rec.Position))
		case apikey.Revoked:
			b.Queue(`UPDATE api_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL`,
				rec.Stream.Object(), e.At)
		}
	}
	return tx.SendBatch(ctx, b).Close()
}

func putUser(b *pgx.Batch, rec eventlog.Record, e user.Joined) error {
	u := user.User{}.Evolve(e)
	state, err := json.Marshal(u)
	if err != nil {
		return err
	}
	b.Queue(`INSERT INTO users (org, id, role, state, joined_at, pos)
		VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (org, id) DO NOTHING`,
		u.Org, u.ID, string(u.Role), state, u.JoinedAt, int64(rec.Position))
	return nil
}

// foundedOrgs are those of some orgs that have been founded up to the checkpoint.
func foundedOrgs(ctx context.Context, tx pgx.Tx, orgs []string) (map[string]bool, error) {
	rows, err := tx.Query(ctx, `SELECT org FROM unnest($1::text[]) AS bare JOIN orgs ON org = $2 || bare`, orgs,
		domain.OrgPrefix)
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[domain.OrgID])
	founded := make(map[string]bool, len(ids))
	for _, id := range ids {
		founded[domain.Bare(id)] = true
	}
	return founded, err
}
