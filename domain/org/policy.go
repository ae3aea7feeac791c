package org

import (
	"fmt"
	"time"

	"prelude/domain"
)

// MaxRetention is the most days that a policy can say: a hundred years.
const MaxRetention = 36_500

// PolicySet changed what holds for all in the org.
type PolicySet struct {
	RetentionDays int           `json:"retention_days"` // of a session after what last happened in it; 0: for ever
	By            domain.UserID `json:"by,omitempty"`
	At            time.Time     `json:"at"`
}

func (PolicySet) orgEvent() {}

// Policy is what holds for all in the org.
type Policy struct {
	RetentionDays int       // 0: texts are kept
	GoneBefore    time.Time // what earlier policies had destroyed by the time they ended stays so
}

func (p Policy) evolve(e PolicySet) Policy {
	if before, ok := p.Expires(e.At); ok {
		p.GoneBefore = before
	}
	p.RetentionDays = e.RetentionDays
	return p
}

// Expires is the time before which the last must have happened in a session for its texts to be destroyed;
// false: none are, and none ever were.
func (p Policy) Expires(now time.Time) (before time.Time, ok bool) {
	before = p.GoneBefore
	if p.RetentionDays > 0 {
		if kept := now.AddDate(0, 0, -p.RetentionDays); kept.After(before) {
			before = kept
		}
	}
	return before, !before.IsZero()
}

// SetRetention decides for how many days the texts of sessions and completions are kept; 0: for ever.
// More days bring nothing back.
func (o Org) SetRetention(days int, by domain.UserID, at time.Time) ([]Event, error) {
	if o.ID == "" {
		return nil, domain.ErrNotFound
	}
	if days < 0 || days > MaxRetention {
		var f domain.Faults
		f.Add("retention_days", "range", fmt.Sprintf("must be 0 to %d", MaxRetention))
		return nil, f.Err()
	}
	if days == o.Policy.RetentionDays {
		return nil, nil
	}
	return []Event{PolicySet{RetentionDays: days, By: by, At: at}}, nil
}
