package eventstore

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// health is what the last answers said of the store, by what was asked for: appends may be refused while reads go on.
// It tells the log of an outage: at its beginning, when somebody has to know, and at its end.
type health struct {
	logger *slog.Logger

	mu      sync.Mutex
	faults  [calls]error // the last fault; nil: it works, as far as is known
	unwell  atomic.Bool  // one of them is there; asked without the lock, with every answer
	since   time.Time    // of the outage; zero: there is none
	failed  int          // calls that were given up in it
	alarmed bool         // the outage was logged as an error
	closed  bool
	overdue *time.Timer

	refusing atomic.Int64 // subscriptions that wait because the store refused them
}

// call is a kind of call that can fail by itself.
type call int

const (
	connecting call = iota
	appending
	reading
	following // a subscription
	calls
)

// alarmAfter is how long an outage that hurts nobody lasts until it is logged as an error.
const alarmAfter = 30 * time.Second

// bad notes a fault of the store. The first begins an outage.
func (h *health) bad(c call, why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	h.faults[c] = why
	h.unwell.Store(true)
	if h.since.IsZero() {
		h.since, h.failed, h.alarmed = time.Now(), 0, false
		h.logger.Warn("the event store is away", "reason", why.Error())
		h.overdue = time.AfterFunc(alarmAfter, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.alarm()
		})
	}
	if r := ReasonOf(why); r != nil && r.Lasting {
		h.alarm()
	}
}

// alarm says once in an outage that somebody has to know of it. The lock must be held.
func (h *health) alarm() {
	why := h.fault()
	if h.alarmed || h.since.IsZero() || why == nil {
		return
	}
	h.alarmed = true
	var remedy string
	if r := ReasonOf(why); r != nil {
		remedy = r.Remedy
	}
	h.logger.Error("the event store stays away", "reason", why.Error(), "remedy", remedy)
}

// fault is what is wrong; nil: nothing. The lock must be held.
func (h *health) fault() error {
	for _, why := range h.faults {
		if why != nil {
			return why
		}
	}
	return nil
}

// good notes that a kind of call works. When all do, the outage is over.
func (h *health) good(c call) {
	if !h.unwell.Load() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.faults[c] == nil {
		return
	}
	h.faults[c] = nil
	if h.fault() != nil {
		return
	}
	h.unwell.Store(false)
	h.overdue.Stop()
	h.logger.Info("the event store is back", "seconds", time.Since(h.since).Seconds(), "failed_calls", h.failed)
	h.since = time.Time{}
}

// gaveUp notes a call that was given up because of the store.
func (h *health) gaveUp() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.since.IsZero() {
		return
	}
	h.failed++
	h.alarm()
}

// stop ends the watch over an outage: the store is being closed.
func (h *health) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.overdue != nil {
		h.overdue.Stop()
	}
	h.closed, h.since = true, time.Time{}
}

// State is what is known of the store without asking it.
type State struct {
	Role   Role
	Since  time.Time // of the outage; zero: there is none
	Reason error     // of the outage
}

// State gives the role of the node that calls go to, and what is wrong, as the last answers said it.
func (s *Store) State() State {
	s.health.mu.Lock()
	state := State{Since: s.health.since, Reason: s.health.fault()}
	s.health.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if state.Role = None; s.current != nil {
		state.Role = s.current.role
	}
	return state
}
