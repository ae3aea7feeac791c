package commands

import (
	"context"
	"errors"
	"fmt"

	"prelude/domain"
	"prelude/domain/claim"
	"prelude/domain/user"
	"prelude/internal/authz"
	"prelude/internal/eventlog"
)

// Eraser is the port to the vault by which keys are destroyed. Doing it again changes nothing.
type Eraser interface {
	// Erase destroys the keys of a person, and those of every session in which they wrote.
	Erase(ctx context.Context, org domain.OrgID, user domain.UserID) error
	// Expire destroys the keys of a session.
	Expire(ctx context.Context, org domain.OrgID, s domain.SessionID) error
}

// EraseUser asks for the end of all that a person wrote.
type EraseUser struct {
	User    domain.UserID
	Confirm string // the same id, written once more
}

var errConfirm = &domain.Error{Kind: domain.Invalid, Code: "invalid", Detail: "The request breaks a rule.",
	Fields: []domain.Field{{Name: "confirm", Code: "confirm",
		Detail: "must be the id of the user who is to be erased, as in the path: this cannot be undone"}}}

// Erase handles [EraseUser]. That the person is erased is in the log before any key is destroyed: if the destroying
// is cut off, a repeat, the hourly sweep or the next start goes on with it.
//
// The handle stays taken: who gets it next would be taken for who had it, and as an HMAC it tells nothing.
func (h Users) Erase(ctx context.Context, cmd EraseUser, vault Eraser, meta Meta) (Left[user.User], error) {
	none := Left[user.User]{}
	if cmd.User != meta.By.User {
		if _, err := authz.May(meta.By, authz.SeeUsers, authz.Thing{Org: meta.By.Org}); err != nil {
			return none, domain.ErrNotFound // who may not list them may not find them either
		}
	}
	if !domain.ValidID(domain.UserPrefix, string(cmd.User)) {
		return none, domain.ErrNotFound
	}
	left, err := h.erase(ctx, cmd, meta)
	if err != nil {
		return none, err
	}
	// It is in the log: whoever asked for it may leave.
	ctx, cancel := outlasting(ctx)
	defer cancel()
	if err := vault.Erase(ctx, left.State.Org, left.State.ID); err != nil {
		return none, fmt.Errorf("erase a user: %w", err)
	}
	h.Forget() // states hold what was appended open
	return left, nil
}

func (h Users) erase(ctx context.Context, cmd EraseUser, meta Meta) (Left[user.User], error) {
	o, id := meta.By.Org, cmd.User
	decide := func(u user.User, m *Meta) ([]user.Event, error) {
		if u.ID == "" {
			return nil, domain.ErrNotFound
		}
		var err error
		if m.rule, err = authz.May(m.By, eraseVerb(u), authz.Thing{Org: u.Org, Owner: u.ID}); err != nil {
			return nil, err
		}
		if cmd.Confirm != string(id) {
			return nil, errConfirm
		}
		if u.ErasedAt == nil && u.Role == domain.Owner {
			if err := h.takeTurn(ctx, id, *m); err != nil {
				return nil, err
			}
		}
		return u.Erase(m.By.User, h.Now())
	}
	left, err := transact(ctx, h.Engine, eventlog.UserStream(o, id), meta.Step("erase"), decide)
	if err == nil && left.State.Role == domain.Owner {
		err = h.release(ctx, turnClaim(o), string(id), 0, meta)
	}
	return left, err
}

func eraseVerb(u user.User) authz.Verb {
	if u.Role == domain.Owner {
		return authz.EraseOwner
	}
	return authz.EraseUser
}

// turnClaim is the stream by which owners of an org are erased one after the other.
func turnClaim(o domain.OrgID) eventlog.Stream {
	return eventlog.ClaimStream(o, turnName, orgOwner, "owner")
}

// takeTurn lets one owner at a time be erased: two who erase each other at the same moment would leave none. Who
// erases must not have been erased before it was their turn.
func (h Users) takeTurn(ctx context.Context, id domain.UserID, meta Meta) error {
	if err := h.take(ctx, turnClaim(meta.By.Org), string(id), meta); err != nil {
		if errors.Is(err, claim.ErrTaken) {
			err = ErrMoved
		}
		return err
	}
	by, _, err := exists[user.User, user.Event](ctx, h.Engine, eventlog.UserStream(meta.By.Org, meta.By.User))
	if err != nil || by.Active() {
		return err
	}
	if err := h.release(ctx, turnClaim(meta.By.Org), string(id), 0, meta); err != nil {
		return err
	}
	return domain.ErrNotFound // nobody any more, who sees nothing
}
