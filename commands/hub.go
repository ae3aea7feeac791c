package commands

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"prelude/domain"
)

// Hub holds the replies that this process makes, and for a while those that it made, so that anyone who may
// can follow them. Who follows may leave: the reply goes on.
type Hub struct {
	Logger  *slog.Logger
	mu      sync.Mutex
	replies map[domain.ReplyID]*Run
	known   chan struct{}          // closed when another reply is made known; nil: nobody waits
	closed  bool                   // what begins is ended at once
	shut    bool                   // what begins is not made at all: the log may be closed
	expects map[domain.ReplyID]int // replies whose start is being appended
	making  int                    // replies that are being made
	idle    chan struct{}          // closed when none is; nil: nobody waits
	free    func(time.Duration, func()) *time.Timer

	// Recording says how the end of a reply is tried to be recorded again, until the log has one.
	Recording Retry
	// Attempt is how long one such attempt may take.
	Attempt time.Duration
	// Patience is how long whoever waits for a reply's end, which is due, waits for it to be recorded.
	Patience  time.Duration
	recording context.Context // ends when the process stops and no end is recorded any more
	giveUp    context.CancelCauseFunc
	overdue   overdue
}

// NewHub returns an empty hub.
func NewHub(logger *slog.Logger) *Hub {
	h := &Hub{Logger: logger, replies: map[domain.ReplyID]*Run{}, expects: map[domain.ReplyID]int{},
		free: time.AfterFunc, Attempt: 5 * time.Second, Patience: 10 * time.Second,
		Recording: Retry{First: 100 * time.Millisecond, Most: time.Second}}
	h.recording, h.giveUp = context.WithCancelCause(context.Background())
	return h
}

// keepEnded is how long an ended reply stays in the hub: until the views surely have it.
const keepEnded = time.Minute

// The causes for which a reply is ended early.
var errShutdown = errors.New("the process is stopping")

// cancelledBy is the cause of a reply that somebody cancelled.
type cancelledBy struct{ user domain.UserID }

func (cancelledBy) Error() string { return "the reply was cancelled" }

// Find gives a reply that this process makes or has just made.
func (h *Hub) Find(id domain.ReplyID) *Run {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.replies[id]
}

// Await waits until this process makes a reply, or has just made it: between its start in the log and its
// being known here lies a moment. Nil: the context ended first.
func (h *Hub) Await(ctx context.Context, id domain.ReplyID) *Run {
	for {
		h.mu.Lock()
		r := h.replies[id]
		if h.known == nil {
			h.known = make(chan struct{})
		}
		known := h.known
		h.mu.Unlock()
		if r != nil {
			return r
		}
		select {
		case <-known:
		case <-ctx.Done():
			return nil
		}
	}
}

// start makes a reply known, and makes it in a goroutine that the hub waits for. After Close nobody makes it: the next
// start of the process closes it in the log.
func (h *Hub) start(r *Run, work func(context.Context, *Run) (Ending, error)) {
	ctx, cancel := context.WithCancelCause(context.Background())
	r.cancel = cancel
	h.mu.Lock()
	h.replies[r.Reply] = r
	if h.known != nil {
		close(h.known)
		h.known = nil
	}
	shut := h.shut
	if !shut {
		h.making++
	}
	if h.closed {
		cancel(errShutdown)
	}
	h.mu.Unlock()
	if shut {
		r.abandon(ErrUnrecorded)
		return
	}
	go func() {
		defer h.made()
		defer cancel(nil)
		end, err := work(ctx, r)
		switch {
		case err == nil:
			r.finish(end)
			h.free(keepEnded, func() { h.forget(r) })
		case h.recording.Err() != nil: // this process may not say how it ended: the next start does
			r.abandon(ErrUnrecorded)
		default: // nobody makes it any more, and whoever finds that out may close it
			h.forget(r)
			r.abandon(ErrUnrecorded)
		}
	}()
}

func (h *Hub) forget(r *Run) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.replies, r.Reply)
}

// made notes that a reply's end is settled.
func (h *Hub) made() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.making--; h.making == 0 && h.idle != nil {
		close(h.idle)
		h.idle = nil
	}
}

// quiet is closed when no reply is being made.
func (h *Hub) quiet() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.idle == nil {
		h.idle = make(chan struct{})
	}
	idle := h.idle
	if h.making == 0 {
		close(idle)
		h.idle = nil
	}
	return idle
}

// Drain takes no new replies, gives those under way some time to end by themselves, ends the rest as
// interrupted, and waits until all ends are in the log, or until the context ends.
func (h *Hub) Drain(ctx context.Context, patience time.Duration) error {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	done := h.quiet()
	select {
	case <-done:
		return nil
	case <-time.After(patience):
	case <-ctx.Done():
	}
	h.interrupt()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close ends what is under way as interrupted, waits as Drain does, and from then on nothing is made: a request
// that outlives its connection may still come to its reply, when the log is being closed. With its context it gives up
// the ends that are not recorded yet: nobody is told of them.
func (h *Hub) Close(ctx context.Context) error {
	for {
		err := h.Drain(ctx, 0)
		h.mu.Lock()
		idle := h.making == 0
		h.shut = h.shut || idle || err != nil
		h.mu.Unlock()
		if idle {
			return nil
		}
		if err != nil {
			h.giveUp(ErrUnrecorded)
			return err
		}
	}
}

func (h *Hub) interrupt() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.replies {
		r.cancel(errShutdown)
	}
}

// Erased ends the replies to a person who was erased: nobody may follow them, nor keep them.
func (h *Hub) Erased(o domain.OrgID, user domain.UserID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.replies {
		if r.Org == o && r.Owner == user {
			r.cancel(cancelledBy{})
		}
	}
}

// Busy counts the replies that are under way.
func (h *Hub) Busy() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, r := range h.replies {
		if _, ended := r.Ended(); !ended {
			n++
		}
	}
	return n
}
