package readmodels

import (
	"context"
	"fmt"
	"time"

	"prelude/domain"
	"prelude/domain/user"
	"prelude/internal/authz"
	"prelude/internal/eventlog"
)

// Users lists the people of the caller's org, the first to join first if p.Asc.
func (r *Reader) Users(ctx context.Context, who domain.Principal, p Page) (List[user.User], error) {
	if _, err := authz.May(who, authz.SeeUsers, authz.Thing{Org: who.Org}); err != nil {
		return List[user.User]{}, err
	}
	from, err := p.cursor()
	if err != nil {
		return List[user.User]{}, err
	}
	compare, direction := p.order()
	var rows []stateRow
	err = r.ask(ctx, who.Org, func(b *batch) {
		b.Queue(fmt.Sprintf(`SELECT state, pos FROM rights.users WHERE org = $1 AND (joined_at, id) %s ($2, $3)
			ORDER BY joined_at %s, id %[2]s LIMIT $4`, compare, direction),
			who.Org, from.At, from.ID, p.Limit+1).Query(scan(&rows))
	})
	if err != nil {
		return List[user.User]{}, wrap("list users", err)
	}
	users, err := r.openUsers(ctx, rows)
	return list(users, p.Limit, func(u user.User) cursor {
		return cursor{At: u.JoinedAt, ID: string(u.ID)}
	}), err
}

// User answers with a person of the caller's org: oneself, or for who may see them anyone.
func (r *Reader) User(ctx context.Context, who domain.Principal, id domain.UserID) (user.User, error) {
	var rows []stateRow
	err := r.ask(ctx, who.Org, func(b *batch) {
		b.Queue(`SELECT state, pos FROM rights.users WHERE org = $1 AND id = $2`, who.Org, id).
			Query(scan(&rows))
	})
	if _, err := one(rows, wrap("ask for a user", err)); err != nil {
		return user.User{}, err
	}
	if id != who.User {
		if _, err := authz.May(who, authz.SeeUsers, authz.Thing{Org: who.Org}); err != nil {
			return user.User{}, domain.ErrNotFound // who may not list them may not find them either
		}
	}
	users, err := r.openUsers(ctx, rows)
	return one(users, err)
}

func (r *Reader) openUsers(ctx context.Context, rows []stateRow) ([]user.User, error) {
	users, err := decode[user.User](rows)
	if err != nil {
		return nil, err
	}
	return r.OpenUsers(ctx, users)
}

// OpenUsers opens handles and names, with one question to the vault.
func (r *Reader) OpenUsers(ctx context.Context, users []user.User) ([]user.User, error) {
	sealed := make([]eventlog.Sealed, 0, 2*len(users))
	for _, u := range users {
		s := eventlog.UserStream(u.Org, u.ID)
		sealed = append(sealed, eventlog.Sealed{Stream: s, Field: "handle", Secret: u.Handle},
			eventlog.Sealed{Stream: s, Field: "name", Secret: u.Name})
	}
	if err := r.Log.OpenAll(ctx, sealed); err != nil {
		return nil, err
	}
	for i := range users {
		users[i].Handle, users[i].Name = sealed[2*i].Secret, sealed[2*i+1].Secret
	}
	return users, nil
}

// Org is the caller's org.
type Org struct {
	Org  domain.OrgID
	Slug string
	Name string
}

// Me answers with the caller and the caller's org.
func (r *Reader) Me(ctx context.Context, who domain.Principal) (user.User, Org, error) {
	var rows []stateRow
	var orgs []Org
	err := r.ask(ctx, who.Org, func(b *batch) {
		b.Queue(`SELECT state, pos FROM rights.users WHERE org = $1 AND id = $2`, who.Org, who.User).
			Query(scan(&rows))
		b.Queue(`SELECT org, slug, name FROM rights.orgs WHERE org = $1`, who.Org).Query(scan(&orgs))
	})
	org, err := one(orgs, wrap("ask who is asking", err))
	if err != nil {
		return user.User{}, org, err
	}
	users, err := r.openUsers(ctx, rows)
	u, err := one(users, err)
	return u, org, err
}

// Key is an API key without its secret.
type Key struct {
	ID        domain.APIKeyID
	Org       domain.OrgID
	UserID    domain.UserID
	Name      string
	Hash      []byte
	CreatedAt time.Time
	ExpiresAt *time.Time
	RevokedAt *time.Time
	Pos       int64
}

// Keys lists API keys: the caller's, and for who may see them all of the org.
func (r *Reader) Keys(ctx context.Context, who domain.Principal, p Page) (List[Key], error) {
	from, err := p.cursor()
	if err != nil {
		return List[Key]{}, err
	}
	_, denied := authz.May(who, authz.OthersKey, authz.Thing{Org: who.Org})
	compare, direction := p.order()
	keys := []Key{}
	err = r.ask(ctx, who.Org, func(b *batch) {
		b.Queue(fmt.Sprintf(`SELECT id, org, user_id, name, hash, created_at, expires_at, revoked_at, pos
			FROM rights.api_keys WHERE org = $1 AND ($2 OR user_id = $3) AND pos %s $4
			ORDER BY pos %s LIMIT $5`, compare, direction),
			who.Org, denied == nil, who.User, from.N, p.Limit+1).Query(scan(&keys))
	})
	return list(keys, p.Limit, func(k Key) cursor { return cursor{N: k.Pos} }), wrap("list keys", err)
}

// Credential finds an API key before its org is known. Not found: there is none.
func (r *Reader) Credential(ctx context.Context, id domain.APIKeyID) (domain.Credential, error) {
	var keys []Key
	var users []stateRow
	b := r.batch()
	b.Queue(`SELECT set_config('role', 'prelude_app', true), set_config('app.org_id', '', true)`)
	b.Queue(`SELECT id, org, user_id, name, hash, created_at, expires_at, revoked_at, pos
		FROM rights.api_keys WHERE id = $1`, id).Query(scan(&keys))
	b.Queue(`SELECT set_config('app.org_id', org, true) FROM rights.api_keys WHERE id = $1`, id)
	b.Queue(`SELECT u.state, u.pos FROM rights.api_keys k
		JOIN rights.users u ON u.org = k.org AND u.id = k.user_id WHERE k.id = $1`, id).Query(scan(&users))
	key, err := one(keys, wrap("ask for a key", r.Pool.SendBatch(ctx, &b.Batch).Close()))
	if err != nil {
		return domain.Credential{}, err
	}
	row, err := one(users, nil)
	if err != nil {
		return domain.Credential{}, err
	}
	var u user.User
	if err := stored(row.State, &u); err != nil {
		return domain.Credential{}, wrap("read a user", err)
	}
	if !u.Active() {
		return domain.Credential{}, domain.ErrNotFound // who was erased has no keys
	}
	return domain.Credential{Principal: domain.Principal{Org: key.Org, User: key.UserID, Key: id, Role: u.Role},
		Hash: key.Hash, ExpiresAt: key.ExpiresAt, RevokedAt: key.RevokedAt}, nil
}
