// Package apikey is a key that a program shows to act as a person. It decides that a key is issued
// once and revoked once; the secret itself is never here, only its hash.
package apikey

import (
	"time"

	"prelude/domain"
)

// Event is something that happened to one API key.
//
//sumtype:decl
type Event interface{ apikeyEvent() }

// Issued made the key. Hash is the SHA-256 of a secret of 256 random bits.
type Issued struct {
	Key       domain.APIKeyID `json:"key"`
	Org       domain.OrgID    `json:"org"`
	User      domain.UserID   `json:"user"`
	Name      domain.Secret   `json:"name"`
	Hash      []byte          `json:"hash"`
	ExpiresAt *time.Time      `json:"expires_at,omitempty"`
	By        domain.UserID   `json:"by,omitempty"`
	At        time.Time       `json:"at"`
}

// Revoked ended the key.
type Revoked struct {
	By domain.UserID `json:"by,omitempty"`
	At time.Time     `json:"at"`
}

func (Issued) apikeyEvent()  {}
func (Revoked) apikeyEvent() {}

// Key is what an API key's events leave.
type Key struct {
	ID        domain.APIKeyID
	Org       domain.OrgID
	User      domain.UserID
	Name      domain.Secret
	IssuedAt  time.Time
	ExpiresAt *time.Time
	RevokedAt *time.Time
}

// Evolve returns k as e left it.
func (k Key) Evolve(e Event) Key {
	switch e := e.(type) {
	case Issued:
		k.ID, k.Org, k.User, k.Name = e.Key, e.Org, e.User, e.Name
		k.IssuedAt, k.ExpiresAt = e.At, e.ExpiresAt
	case Revoked:
		at := e.At
		k.RevokedAt = &at
	}
	return k
}

// Order is what a new key is to be.
type Order struct {
	ID        domain.APIKeyID
	Org       domain.OrgID
	User      domain.UserID
	Name      string // at most 200 characters
	Hash      []byte
	ExpiresAt *time.Time
	By        domain.UserID
}

// Issue decides that the key exists.
func (k Key) Issue(o Order, at time.Time) ([]Event, error) {
	if k.ID != "" {
		return nil, nil
	}
	var f domain.Faults
	f.Required("name", o.Name)
	f.Text("name", o.Name, 200)
	if o.ExpiresAt != nil && !o.ExpiresAt.After(at) {
		f.Add("expires_at", "past", "must be in the future")
	}
	if err := f.Err(); err != nil {
		return nil, err
	}
	return []Event{Issued{
		Key: o.ID, Org: o.Org, User: o.User, Name: domain.Seal(domain.OrgKey(o.Org), o.Name),
		Hash: o.Hash, ExpiresAt: o.ExpiresAt, By: o.By, At: at,
	}}, nil
}

// Revoke decides that the key ends.
func (k Key) Revoke(by domain.UserID, at time.Time) ([]Event, error) {
	switch {
	case k.ID == "":
		return nil, domain.ErrNotFound
	case k.RevokedAt != nil:
		return nil, nil
	}
	return []Event{Revoked{By: by, At: at}}, nil
}
