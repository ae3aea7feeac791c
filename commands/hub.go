package commands

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"prelude/domain"
	"prelude/domain/receipt"
	"prelude/domain/session"
	"prelude/internal/eventlog"
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
}

// NewHub returns an empty hub.
func NewHub(logger *slog.Logger) *Hub {
	return &Hub{Logger: logger, replies: map[domain.ReplyID]*Run{}, expects: map[domain.ReplyID]int{},
		free: time.AfterFunc}
}

// keepEnded is how long an ended reply stays in the hub: until the views surely have it.
const keepEnded = time.Minute

// Run is a reply that is being made, or was made just now, by this process.
type Run struct {
	Reply     domain.ReplyID
	Org       domain.OrgID
	Owner     domain.UserID
	Session   domain.SessionID // empty: a completion
	Message   domain.MessageID
	Preset    *session.PresetVersion
	Model     string
	StartedAt time.Time
	Position  eventlog.Position // of its start

	cancel context.CancelCauseFunc
	mu     sync.Mutex
	text   []byte
	tools  []Chunk // chunks with tool calls, for OpenAI clients
	end    *Ending
	wake   chan struct{} // closed at the next change; nil: nobody waits
	over   chan struct{} // closed at the end; nil: nobody waits for that alone
}

// Ending is how a reply ended.
type Ending struct {
	Status    string // completed, failed, cancelled
	Finish    string
	Usage     receipt.Usage
	Cost      int64
	Code      string
	Detail    string
	Retryable bool
	Position  eventlog.Position // 0: the end could not be recorded
	At        time.Time
}

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

// start makes a reply known, and makes it in a goroutine that the hub waits for. After Close it ends the reply
// here alone: the next start of the process closes it in the log.
func (h *Hub) start(r *Run, work func(context.Context, *Run) Ending) {
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
		r.finish(ending(failure(ctx, nil), 0, time.Now()))
		return
	}
	go func() {
		defer h.made()
		defer cancel(nil)
		r.finish(work(ctx, r))
		h.free(keepEnded, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			delete(h.replies, r.Reply)
		})
	}()
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
// that outlives its connection may still come to its reply, when the log is being closed.
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

// add appends to the text and wakes who waits. It says how many bytes there are.
func (r *Run) add(c Chunk) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text = append(r.text, c.Text...)
	if c.ToolCalls != nil {
		r.tools = append(r.tools, c)
	}
	r.signal()
	return len(r.text)
}

func (r *Run) signal() {
	if r.wake != nil {
		close(r.wake)
		r.wake = nil
	}
}

func (r *Run) finish(e Ending) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end = &e
	if r.over != nil {
		close(r.over)
	}
	r.signal()
}

// Ended says how the reply ended, if it has.
func (r *Run) Ended() (Ending, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.end == nil {
		return Ending{}, false
	}
	return *r.end, true
}

// Text is what there is so far.
func (r *Run) Text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return string(r.text)
}

// Progress is what a follower has not seen yet.
type Progress struct {
	Text  []byte  // not to be changed
	Tools []Chunk // after the first that were seen
	End   *Ending // the last there is
}

// Next waits until there is text after the first from bytes, or tool calls after the first seen ones, or the
// end. It ends with the context.
func (r *Run) Next(ctx context.Context, from, seen int) (Progress, error) {
	for {
		p, more := r.Look(from, seen)
		if more == nil {
			return p, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return Progress{}, context.Cause(ctx)
		}
	}
}

// Peek is all there is now, and whether the reply has ended.
func (r *Run) Peek() (Progress, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Progress{Text: r.text[:len(r.text):len(r.text)], Tools: r.tools[:len(r.tools):len(r.tools)],
		End: r.end}, r.end != nil
}

// Look gives what Next waits for, or, where there is none of it yet, what is closed when there may be.
func (r *Run) Look(from, seen int) (p Progress, more <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.End = r.end
	if from < len(r.text) {
		p.Text = r.text[from:len(r.text):len(r.text)]
	}
	if seen < len(r.tools) {
		p.Tools = r.tools[seen:len(r.tools):len(r.tools)]
	}
	if p.Text != nil || p.Tools != nil || p.End != nil {
		return p, nil
	}
	if r.wake == nil {
		r.wake = make(chan struct{})
	}
	return p, r.wake
}

// Wait waits for the end, and for nothing before it.
func (r *Run) Wait(ctx context.Context) (Ending, error) {
	r.mu.Lock()
	if r.over == nil {
		r.over = make(chan struct{})
		if r.end != nil {
			close(r.over)
		}
	}
	over := r.over
	r.mu.Unlock()
	select {
	case <-over:
	case <-ctx.Done():
	}
	if end, ended := r.Ended(); ended {
		return end, nil // also to who cannot wait any more
	}
	return Ending{}, context.Cause(ctx)
}
