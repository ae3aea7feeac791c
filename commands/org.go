package commands

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"prelude/domain"
	"prelude/domain/claim"
	"prelude/domain/org"
	"prelude/domain/user"
	"prelude/internal/eventlog"
)

// Orgs handles the commands about orgs, which are given at the terminal of the installation.
type Orgs struct {
	*Engine
	MAC MAC
}

// setup is who founds orgs and issues their first keys.
func setup(o domain.OrgID) domain.Principal { return domain.Principal{Org: o, Job: "setup"} }

// Founding is an org with its owner and a key of the owner's.
type Founding struct {
	Org    domain.OrgID
	Owner  domain.UserID
	Key    domain.APIKeyID
	Secret string
}

// orgClaim is the stream of an org's slug.
func orgClaim(slug string) eventlog.Stream {
	return eventlog.ClaimStream("", orgName, orgOwner, slug)
}

// Create makes an org with an owner whose handle is "owner", and an API key. It follows from the slug alone,
// but for the secret: what a crash left half done is completed by the same call.
func (h Orgs) Create(ctx context.Context, slug, name string) (Founding, error) {
	command := uuid.NewSHA1(uuid.NameSpaceURL, []byte("prelude:org:"+slug))
	meta := Meta{Command: command}
	f := Founding{Org: domain.OrgID(meta.derive(domain.OrgPrefix, 0))}
	meta.By = setup(f.Org)
	if err := h.found(ctx, f.Org, slug, name, meta); err != nil {
		return f, err
	}
	left, err := Users(h).add(ctx, f.Org, AddUser{Handle: "owner", Name: "Owner", Role: domain.Owner}, meta)
	if err != nil {
		return f, err
	}
	f.Owner = left.State.ID
	return h.addKey(ctx, f)
}

func (h Orgs) found(ctx context.Context, id domain.OrgID, slug, name string, meta Meta) error {
	_, err := transact(ctx, h.Engine, eventlog.OrgStream(id), meta.Step("found"),
		func(o org.Org, m *Meta) ([]org.Event, error) {
			events, err := o.Found(id, slug, name, h.Now())
			if err == nil && len(events) > 0 {
				err = h.take(ctx, orgClaim(slug), string(id), *m)
			}
			return events, err
		})
	return err
}

func (h Orgs) addKey(ctx context.Context, f Founding) (Founding, error) {
	meta := Meta{By: setup(f.Org), Command: uuid.New()}
	left, secret, err := APIKeys{h.Engine}.issue(ctx, f.Owner, IssueKey{Name: "setup"}, meta)
	f.Key, f.Secret = left.State.ID, secret
	return f, err
}

// ErrNoOrg: there is no org of that slug.
var ErrNoOrg = errors.New("there is no org with this slug")

// Owner finds the org of a slug and its first owner; false: there is no such org.
func (h Orgs) Owner(ctx context.Context, slug string) (Founding, bool, error) {
	f, err := load[claim.Claim, claim.Event](ctx, h.Engine, orgClaim(slug), true)
	command := uuid.NewSHA1(uuid.NameSpaceURL, []byte("prelude:org:"+slug))
	owner := domain.UserID(Meta{Command: command}.derive(domain.UserPrefix, 0))
	if err != nil || f.State.Thing == "" {
		return Founding{}, false, err
	}
	_, there, err := exists[user.User, user.Event](ctx, h.Engine,
		eventlog.UserStream(domain.OrgID(f.State.Thing), owner))
	return Founding{Org: domain.OrgID(f.State.Thing), Owner: owner}, there, err
}

// IssueOwnerKey issues one more key of the org's first owner.
func (h Orgs) IssueOwnerKey(ctx context.Context, slug string) (Founding, error) {
	f, there, err := h.Owner(ctx, slug)
	if err != nil {
		return Founding{}, err
	}
	if !there {
		return Founding{}, ErrNoOrg
	}
	return h.addKey(ctx, f)
}
