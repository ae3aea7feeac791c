package commands

import (
	"context"

	"github.com/google/uuid"

	"prelude/domain"
	"prelude/domain/claim"
	"prelude/domain/org"
	"prelude/internal/eventlog"
)

// SetRetention decides for how many days the org of a slug keeps the texts of sessions; 0: for ever.
func (h Orgs) SetRetention(ctx context.Context, slug string, days int) (org.Policy, error) {
	id, err := h.bySlug(ctx, slug)
	if err != nil {
		return org.Policy{}, err
	}
	meta := Meta{By: setup(id), Command: uuid.New()}
	left, err := transact(ctx, h.Engine, eventlog.OrgStream(id), meta.Step("policy"),
		func(o org.Org, _ *Meta) ([]org.Event, error) { return o.SetRetention(days, "", h.Now()) })
	return left.State.Policy, err
}

// PolicyOf gives what holds for all in the org of a slug.
func (h Orgs) PolicyOf(ctx context.Context, slug string) (org.Policy, error) {
	id, err := h.bySlug(ctx, slug)
	if err != nil {
		return org.Policy{}, err
	}
	return h.Policy(ctx, id)
}

// Policy gives what holds for all in an org.
func (h Orgs) Policy(ctx context.Context, id domain.OrgID) (org.Policy, error) {
	f, err := load[org.Org, org.Event](ctx, h.Engine, eventlog.OrgStream(id), false)
	return f.State.Policy, err
}

// bySlug finds an org. Error: [ErrNoOrg].
func (h Orgs) bySlug(ctx context.Context, slug string) (domain.OrgID, error) {
	f, err := load[claim.Claim, claim.Event](ctx, h.Engine, orgClaim(slug), true)
	if err == nil && f.State.Thing == "" {
		err = ErrNoOrg
	}
	return domain.OrgID(f.State.Thing), err
}
