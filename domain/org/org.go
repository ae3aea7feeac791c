// Package org is an organization: the wall around everything that its people make. It decides that
// an org is founded once, and its policies.
package org

import (
	"time"

	"prelude/domain"
)

// Event is something that happened to one org.
//
//sumtype:decl
type Event interface{ orgEvent() }

// Founded made the org.
type Founded struct {
	Org  domain.OrgID `json:"org"`
	Slug string       `json:"slug"`
	Name string       `json:"name"`
	At   time.Time    `json:"at"`
}

func (Founded) orgEvent() {}

// Org is what an org's events leave.
type Org struct {
	ID        domain.OrgID
	Slug      string
	Name      string
	FoundedAt time.Time
	Policy    Policy
}

// Evolve returns o as e left it.
func (o Org) Evolve(e Event) Org {
	switch e := e.(type) {
	case Founded:
		o.ID, o.Slug, o.Name, o.FoundedAt = e.Org, e.Slug, e.Name, e.At
	case PolicySet:
		o.Policy = o.Policy.evolve(e)
	}
	return o
}

// Found decides that the org exists. A name has at most 200 characters.
func (o Org) Found(id domain.OrgID, slug, name string, at time.Time) ([]Event, error) {
	if o.ID != "" {
		return nil, nil
	}
	var f domain.Faults
	if !domain.ValidSlug(slug) {
		f.Add("slug", "pattern", "must be "+domain.SlugRule)
	}
	f.Required("name", name)
	f.Text("name", name, 200)
	if err := f.Err(); err != nil {
		return nil, err
	}
	return []Event{Founded{Org: id, Slug: slug, Name: name, At: at}}, nil
}
