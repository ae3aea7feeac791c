// Package user is a person in an org, with a handle, a name and a role. It decides who joins as
// what, and that who was erased stays so.
package user

import (
	"time"

	"prelude/domain"
)

// Event is something that happened to one user.
//
//sumtype:decl
type Event interface{ userEvent() }

// Joined brought a person into the org. Handle and name are under the person's own key.
type Joined struct {
	User   domain.UserID `json:"user"`
	Org    domain.OrgID  `json:"org"`
	Handle domain.Secret `json:"handle"`
	Name   domain.Secret `json:"name"`
	Role   domain.Role   `json:"role"`
	By     domain.UserID `json:"by,omitempty"`
	At     time.Time     `json:"at"`
}

// Erased ended the person's part in the org: all keys of what they wrote are destroyed, now and after
// every restore. It holds no text, and is never undone.
type Erased struct {
	User domain.UserID `json:"user"`
	Org  domain.OrgID  `json:"org"`
	By   domain.UserID `json:"by"`
	At   time.Time     `json:"at"`
}

func (Joined) userEvent() {}
func (Erased) userEvent() {}

// User is what a user's events leave. Handle and Name are as the events hold them.
type User struct {
	ID       domain.UserID
	Org      domain.OrgID
	Handle   domain.Secret
	Name     domain.Secret
	Role     domain.Role
	JoinedAt time.Time
	ErasedAt *time.Time
}

// Evolve returns u as e left it.
func (u User) Evolve(e Event) User {
	switch e := e.(type) {
	case Joined:
		u.ID, u.Org, u.Handle, u.Name, u.Role = e.User, e.Org, e.Handle, e.Name, e.Role
		u.JoinedAt = e.At
	case Erased:
		at := e.At
		u.ErasedAt = &at
	}
	return u
}

// Newcomer is who is to join.
type Newcomer struct {
	ID     domain.UserID
	Org    domain.OrgID
	Handle string
	Name   string // at most 200 characters
	Role   domain.Role
	By     domain.UserID
}

// Join decides that a person belongs to the org.
func (u User) Join(n Newcomer, at time.Time) ([]Event, error) {
	if u.ID != "" {
		return nil, nil
	}
	if err := n.check(); err != nil {
		return nil, err
	}
	key := domain.UserKey(n.Org, n.ID)
	return []Event{Joined{
		User: n.ID, Org: n.Org, Handle: domain.Seal(key, n.Handle), Name: domain.Seal(key, n.Name),
		Role: n.Role, By: n.By, At: at,
	}}, nil
}

// Erase decides that all the person wrote is to be destroyed.
func (u User) Erase(by domain.UserID, at time.Time) ([]Event, error) {
	switch {
	case u.ID == "":
		return nil, domain.ErrNotFound
	case u.ErasedAt != nil:
		return nil, nil
	}
	return []Event{Erased{User: u.ID, Org: u.Org, By: by, At: at}}, nil
}

// Active says whether the person belongs to the org, and was not erased.
func (u User) Active() bool { return u.ID != "" && u.ErasedAt == nil }

func (n Newcomer) check() error {
	var f domain.Faults
	if !domain.ValidSlug(n.Handle) {
		f.Add("handle", "pattern", "must be "+domain.SlugRule)
	}
	f.Required("name", n.Name)
	f.Text("name", n.Name, 200)
	if !domain.ValidRole(n.Role) {
		f.Add("role", "enum", "must be owner, admin, reviewer, member or auditor")
	}
	return f.Err()
}
