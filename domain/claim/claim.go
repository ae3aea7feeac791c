// Package claim is a name that one thing has and no other may have at the same time. It decides who
// holds it; that it is decided once is the work of the stream that bears the name.
package claim

import (
	"time"

	"prelude/domain"
)

// Event is something that happened to one name.
//
//sumtype:decl
type Event interface{ claimEvent() }

// Claimed gave the name to a thing.
type Claimed struct {
	Thing string    `json:"thing"` // its id
	At    time.Time `json:"at"`
}

// Released let go of the name. Until another claims it, it still leads to the thing that had it.
type Released struct {
	Thing  string    `json:"thing"`
	FreeAt time.Time `json:"free_at"` // from when on another may claim it
	At     time.Time `json:"at"`
}

func (Claimed) claimEvent()  {}
func (Released) claimEvent() {}

// Claim is what a name's events leave.
type Claim struct {
	Thing    string // who has it, or had it last; empty: nobody ever
	Since    time.Time
	Released bool
	FreeAt   time.Time
}

// Evolve returns c as e left it.
func (c Claim) Evolve(e Event) Claim {
	switch e := e.(type) {
	case Claimed:
		c = Claim{Thing: e.Thing, Since: e.At}
	case Released:
		c.Released, c.FreeAt = true, e.FreeAt
	}
	return c
}

// ErrTaken is the refusal of a name that another thing has.
var ErrTaken = &domain.Error{Kind: domain.Conflict, Code: "slug_taken",
	Detail: "Another one has this name."}

// Patience is how long a claim whose thing does not exist is honored: its maker may be between
// claiming and creating.
const Patience = 60 * time.Second

// Take decides that thing has the name. Abandoned says that the thing which has it does not exist,
// or has another name by now.
func (c Claim) Take(thing string, abandoned bool, at time.Time) ([]Event, error) {
	if c.Thing == thing && !c.Released {
		return nil, nil
	}
	free := c.Thing == "" || c.Thing == thing ||
		c.Released && !at.Before(c.FreeAt) ||
		abandoned && at.Sub(c.Since) >= Patience
	if !free {
		return nil, ErrTaken
	}
	return []Event{Claimed{Thing: thing, At: at}}, nil
}

// Release decides that thing lets go of the name, which is free for others from freeAt on.
func (c Claim) Release(thing string, freeAt, at time.Time) ([]Event, error) {
	if c.Thing != thing || c.Released {
		return nil, nil
	}
	return []Event{Released{Thing: thing, FreeAt: freeAt, At: at}}, nil
}
