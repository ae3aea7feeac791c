package commands

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"time"

	"prelude/domain"
	"prelude/domain/apikey"
	"prelude/domain/user"
	"prelude/internal/authz"
	"prelude/internal/eventlog"
)

// APIKeys handles the commands about API keys.
type APIKeys struct{ *Engine }

var errSecretShown = &domain.Error{Kind: domain.Conflict, Code: "secret_shown_once",
	Detail: "The key was issued before and its secret was shown then: revoke it and issue another."}

// IssueKey asks for an API key: the caller's own, or another user's.
type IssueKey struct {
	User      domain.UserID // empty: the caller
	Name      string
	ExpiresAt *time.Time
}

// NewSecret makes the text of an API key: pk, the key's id and 256 random bits.
func NewSecret(id domain.APIKeyID) (text string, hash []byte) {
	random := strings.ToLower(rand.Text() + rand.Text()) // 2 × 130 bits
	return "prelude_" + domain.Bare(id) + "_" + random, HashSecret(random)
}

// HashSecret is what is kept of a secret.
func HashSecret(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// Issue handles [IssueKey]. The secret is in the answer and nowhere else.
func (h APIKeys) Issue(ctx context.Context, cmd IssueKey, meta Meta) (Left[apikey.Key], string, error) {
	owner := cmd.User
	if owner == "" {
		owner = meta.By.User
	}
	rule, err := authz.May(meta.By, keyVerb(meta.By, owner), authz.Thing{Org: meta.By.Org, Owner: owner})
	if err != nil {
		return Left[apikey.Key]{}, "", err
	}
	if !domain.ValidID(domain.UserPrefix, string(owner)) {
		return Left[apikey.Key]{}, "", errNoUser
	}
	u, there, err := exists[user.User, user.Event](ctx, h.Engine, eventlog.UserStream(meta.By.Org, owner))
	if err != nil {
		return Left[apikey.Key]{}, "", err
	}
	if !there || !u.Active() {
		return Left[apikey.Key]{}, "", errNoUser
	}
	if meta.rule, err = ownersToo(meta.By, u, rule); err != nil {
		return Left[apikey.Key]{}, "", err
	}
	return h.issue(ctx, owner, cmd, meta)
}

var errNoUser = (&domain.Error{Kind: domain.Invalid, Code: "unknown_user",
	Detail: "The org has no such user."}).With("user")

func keyVerb(who domain.Principal, owner domain.UserID) authz.Verb {
	if who.User == owner {
		return authz.OwnKey
	}
	return authz.OthersKey
}

// ownersToo is the rule that allows who a key of u's, beyond the rule that was asked: who has an owner's key is
// an owner, and only owners make owners.
func ownersToo(who domain.Principal, u user.User, asked string) (rule string, err error) {
	if u.Role != domain.Owner || who.User == u.ID {
		return asked, nil
	}
	return authz.May(who, authz.OwnersKey, authz.Thing{Org: u.Org, Owner: u.ID})
}

func (h APIKeys) issue(ctx context.Context, owner domain.UserID, cmd IssueKey, meta Meta,
) (Left[apikey.Key], string, error) {
	id := domain.APIKeyID(meta.derive(domain.APIKeyPrefix, 0))
	secret, hash := NewSecret(id)
	o := apikey.Order{ID: id, Org: meta.By.Org, User: owner, Name: cmd.Name, Hash: hash,
		ExpiresAt: cmd.ExpiresAt, By: meta.By.User}
	left, err := transact(ctx, h.Engine, eventlog.APIKeyStream(o.Org, id), meta.Step("issue"),
		func(k apikey.Key, _ *Meta) ([]apikey.Event, error) { return k.Issue(o, h.Now()) })
	if err == nil && left.Replayed {
		err = errSecretShown.About(string(id))
	}
	return left, secret, err
}

// Revoke ends a key.
func (h APIKeys) Revoke(ctx context.Context, id domain.APIKeyID, meta Meta) (Left[apikey.Key], error) {
	if !domain.ValidID(domain.APIKeyPrefix, string(id)) {
		return Left[apikey.Key]{}, domain.ErrNotFound
	}
	return transact(ctx, h.Engine, eventlog.APIKeyStream(meta.By.Org, id), meta.Step("revoke"),
		func(k apikey.Key, m *Meta) ([]apikey.Event, error) {
			if k.ID == "" {
				return nil, domain.ErrNotFound
			}
			var err error
			m.rule, err = authz.May(m.By, keyVerb(m.By, k.User), authz.Thing{Org: k.Org, Owner: k.User})
			if err != nil {
				return nil, domain.ErrNotFound // others' keys are not listed either
			}
			u, _, err := exists[user.User, user.Event](ctx, h.Engine, eventlog.UserStream(k.Org, k.User))
			if err != nil {
				return nil, err
			}
			if m.rule, err = ownersToo(m.By, u, m.rule); err != nil {
				return nil, err
			}
			return k.Revoke(m.By.User, h.Now())
		})
}
