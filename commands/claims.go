package commands

import (
	"context"
	"strings"
	"time"

	"prelude/domain"
	"prelude/domain/claim"
	"prelude/domain/org"
	"prelude/domain/preset"
	"prelude/domain/user"
	"prelude/internal/eventlog"
)

// The kinds of names.
const (
	presetName = "preset"
	handleName = "handle"
	orgName    = "org"
	turnName   = "turn" // of the owner who is being erased
)

// freeAfter is how long the slug of a deleted preset is kept for it.
const freeAfter = 30 * 24 * time.Hour

// MAC is the port to the HMAC under the master key, for names that must not be readable in the log.
type MAC func(purpose string, text []byte) []byte

// orgOwner is the owner of the names that belong to the org as a whole.
const orgOwner = "org"

// presetClaim is the stream of a preset's slug: in its owner's namespace, or the org's.
func presetClaim(o domain.OrgID, scope preset.Scope, owner domain.UserID, slug string) eventlog.Stream {
	space := orgOwner
	if scope == preset.UserScope {
		space = string(owner)
	}
	return eventlog.ClaimStream(o, presetName, space, slug)
}

// take claims a name for a thing. The stream makes sure that of two at once one gets it.
func (e *Engine) take(ctx context.Context, stream eventlog.Stream, thing string, meta Meta) error {
	meta.Repeatable = false // that the thing exists is what a repeat is recognised by
	meta.anew = true
	_, err := transact(ctx, e, stream, meta.Step("claim"),
		func(c claim.Claim, _ *Meta) ([]claim.Event, error) {
			abandoned, err := e.abandoned(ctx, stream, c)
			if err != nil {
				return nil, err
			}
			return c.Take(thing, abandoned, e.Now())
		})
	return err
}

// release lets go of a name.
func (e *Engine) release(ctx context.Context, stream eventlog.Stream, thing string, after time.Duration,
	meta Meta) error {
	meta.Repeatable = false
	_, err := transact(ctx, e, stream, meta.Step("release"),
		func(c claim.Claim, _ *Meta) ([]claim.Event, error) {
			return c.Release(thing, e.Now().Add(after), e.Now())
		})
	return err
}

// abandoned says whether who holds the name does not exist, was deleted long ago, or goes by another name now.
func (e *Engine) abandoned(ctx context.Context, s eventlog.Stream, c claim.Claim) (bool, error) {
	if c.Thing == "" || c.Released {
		return false, nil
	}
	o := domain.OrgID(domain.OrgPrefix + s.Org)
	kind, _, _ := strings.Cut(s.ID, ".")
	switch kind {
	case presetName:
		p, there, err := exists[preset.Preset, preset.Event](ctx, e,
			eventlog.PresetStream(o, domain.PresetID(c.Thing)))
		long := p.DeletedAt != nil && e.Now().Sub(*p.DeletedAt) >= freeAfter
		return !there || long || presetClaim(o, p.Scope, p.Owner, p.Slug) != s, err
	case turnName:
		return true, nil // whoever took it should have come to its end long ago
	case handleName:
		_, there, err := exists[user.User, user.Event](ctx, e,
			eventlog.UserStream(o, domain.UserID(c.Thing)))
		return !there, err
	default:
		_, there, err := exists[org.Org, org.Event](ctx, e, eventlog.OrgStream(domain.OrgID(c.Thing)))
		return !there, err
	}
}
