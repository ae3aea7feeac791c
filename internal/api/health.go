package api

import (
	"net/http"
	"time"
)

// Health is how this instance is: the answer of /readyz, of which the shape is in the contract.
type Health struct {
	Status     string         `json:"status"` // ready, degraded, not_ready
	Wrong      []WrongPart    `json:"wrong"`
	Readers    []ReaderHealth `json:"readers"`
	EventStore StoreHealth    `json:"event_store"`
}

// WrongPart is a part that does not work, since when, and why, in words for people and without secrets.
type WrongPart struct {
	Part   string `json:"part"` // server, event_store, database, readers, search
	Reason string `json:"reason"`
	Since  Time   `json:"since"`
	// Fatal says that this instance cannot answer because of it.
	Fatal bool `json:"-"`
}

// ReaderHealth is how a reader of the log is.
type ReaderHealth struct {
	Name   string  `json:"name"`
	State  string  `json:"state"`  // following, waiting, stalled, stopped
	Behind int     `json:"behind"` // events that it has not applied; at most 1,000 are counted
	Since  *Time   `json:"since"`  // since when it is not following
	Why    *string `json:"why"`
}

// StoreHealth is the role of the event store's node that this instance uses: leader, follower, none.
type StoreHealth struct {
	State string `json:"state"`
}

// Judge sets the status that follows from what is wrong.
func (h *Health) Judge() {
	h.Status = "ready"
	for _, w := range h.Wrong {
		if w.Fatal {
			h.Status = "not_ready"
			return
		}
		h.Status = "degraded"
	}
}

// NewTime is t as answers show it.
func NewTime(t time.Time) Time { return Time{t} }

// readyz says whether this instance can answer, and if not, which parts are the reason. It asks none of them, so it
// answers at once however they hang.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	h := s.Health(r.Context())
	status := http.StatusOK
	if h.Status == "not_ready" {
		status = http.StatusServiceUnavailable
	}
	s.json(w, status, h)
}
