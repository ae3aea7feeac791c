package session

import (
	"time"

	"prelude/domain"
)

// Expired ended the session because nothing had happened in it for as long as the org keeps texts. Its
// keys are destroyed; that it was, when, and by which preset stays.
type Expired struct {
	Days int       `json:"retention_days"` // the org's policy then
	At   time.Time `json:"at"`
}

func (Expired) sessionEvent() {}

// Expire decides that the session has ended if the last that happened in it lies before a time. What
// is under way is no reason to wait: nothing takes that long.
func (s Session) Expire(before time.Time, days int, at time.Time) ([]Event, error) {
	switch {
	case !s.Exists():
		return nil, domain.ErrNotFound
	case s.ExpiredAt != nil || !s.UpdatedAt.Before(before):
		return nil, nil
	}
	return []Event{Expired{Days: days, At: at}}, nil
}
