package commands

import (
	"context"
	"encoding/hex"

	"prelude/domain"
	"prelude/domain/user"
	"prelude/internal/authz"
	"prelude/internal/eventlog"
)

// Users handles the commands about users.
type Users struct {
	*Engine
	MAC MAC
}

// AddUser asks for a person in the caller's org.
type AddUser struct {
	Handle string
	Name   string
	Role   domain.Role
}

// Add handles [AddUser].
func (h Users) Add(ctx context.Context, cmd AddUser, meta Meta) (Left[user.User], error) {
	verb := authz.AddUser
	if cmd.Role == domain.Owner {
		verb = authz.AddOwner
	}
	rule, err := authz.May(meta.By, verb, authz.Thing{Org: meta.By.Org})
	if err != nil {
		return Left[user.User]{}, err
	}
	meta.rule = rule
	return h.add(ctx, meta.By.Org, cmd, meta)
}

func (h Users) add(ctx context.Context, o domain.OrgID, cmd AddUser, meta Meta) (Left[user.User], error) {
	n := user.Newcomer{ID: domain.UserID(meta.derive(domain.UserPrefix, 0)), Org: o,
		Handle: cmd.Handle, Name: cmd.Name, Role: cmd.Role, By: meta.By.User}
	return transact(ctx, h.Engine, eventlog.UserStream(o, n.ID), meta.Step("add"),
		func(u user.User, m *Meta) ([]user.Event, error) {
			events, err := u.Join(n, h.Now())
			if err == nil && len(events) > 0 {
				err = h.take(ctx, h.handleClaim(o, cmd.Handle), string(n.ID), *m)
			}
			return events, err
		})
}

// handleClaim is the stream of a handle, which stands in it as an HMAC: a stream's name is there for ever.
func (h Users) handleClaim(o domain.OrgID, handle string) eventlog.Stream {
	mac := h.MAC("handle", []byte(string(o)+"/"+handle))
	return eventlog.ClaimStream(o, handleName, orgOwner, hex.EncodeToString(mac[:16]))
}
