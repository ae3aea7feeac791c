package commands

import (
	"context"
	"fmt"
	"sync"
	"time"

	"prelude/domain"
	"prelude/domain/answer"
	"prelude/domain/receipt"
	"prelude/domain/session"
	"prelude/internal/eventlog"
)

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
	Until     time.Time         // when the model is given up
	Position  eventlog.Position // of its start

	cancel  context.CancelCauseFunc
	mu      sync.Mutex
	text    []byte
	pieces  []answer.Piece // of what is no text
	end     *Ending
	err     error         // why nobody here will hear of its end; nil: they will
	pending bool          // it is made, and its end could not be recorded yet
	due     chan struct{} // closed when its end cannot be recorded yet; nil: nobody waits for that
	wake    chan struct{} // closed at the next change; nil: nobody waits
	over    chan struct{} // closed at the end; nil: nobody waits for that alone
}

// Ending is how a reply ended, as the log has it.
type Ending struct {
	Status     string // completed, failed, cancelled
	Finish     string
	Usage      receipt.Usage
	Cost       int64
	Code       string
	Detail     string
	Retryable  bool
	Upstream   int // the HTTP status with which the model's server refused; 0: it did not
	RetryAfter int // seconds; 0: it did not say
	Length     int // of the text that is stored, in bytes
	Position   eventlog.Position
	At         time.Time
	textLost   bool // the log has nothing of what was made here
}

// ErrUnrecorded: the log has no end of a reply yet, and this process cannot tell which it will be.
var ErrUnrecorded = fmt.Errorf("a reply's end is not recorded: %w", eventlog.ErrUnavailable)

// Add appends to what was said and wakes who waits.
func (r *Run) Add(c Chunk) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range c.Pieces {
		p.At = len(r.text)
		r.pieces = append(r.pieces, p)
	}
	r.text = append(r.text, c.Text...)
	r.signal()
}

func (r *Run) signal() {
	if r.wake != nil {
		close(r.wake)
		r.wake = nil
	}
}

// finish tells the end. Where the log kept nothing of what was made, neither does the reply: whoever resumes gets what
// is stored.
func (r *Run) finish(e Ending) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.textLost {
		r.text, r.pieces = nil, nil
	}
	r.end = &e
	r.settled()
}

// abandon lets those go who wait for an end of which this process will not tell.
func (r *Run) abandon(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = why
	r.settled()
}

func (r *Run) settled() {
	if r.over != nil {
		close(r.over)
	}
	r.signal()
}

// wait notes that the reply is made and its end cannot be recorded yet, and wakes who follows it.
func (r *Run) wait() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.due != nil && !r.pending {
		close(r.due)
	}
	r.pending = true
	r.signal()
}

// Due is closed when the reply is made and its end could not be recorded at once.
func (r *Run) Due() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.due == nil {
		r.due = make(chan struct{})
		if r.pending {
			close(r.due)
		}
	}
	return r.due
}

// Pending says that the reply is made, and waits for its end to be recorded.
func (r *Run) Pending() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pending && r.end == nil
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

// Parts are the parts that are no text, as far as they have come.
func (r *Run) Parts() []answer.Part {
	r.mu.Lock()
	defer r.mu.Unlock()
	var d answer.Draft
	for _, p := range r.pieces {
		d.Add(p)
	}
	return d.Parts()
}

// Progress is what a follower has not seen yet.
type Progress struct {
	Text   []byte         // not to be changed
	Pieces []answer.Piece // after the first that were seen
	End    *Ending        // the last there is
}

// Chunks are the same in the order in which it was said, after so many bytes of text.
func (p Progress) Chunks(at int) []Chunk {
	var chunks []Chunk
	text := p.Text
	for _, piece := range p.Pieces {
		if n := min(piece.At-at, len(text)); n > 0 {
			chunks = append(chunks, Chunk{Text: string(text[:n])})
			text, at = text[n:], at+n
		}
		chunks = append(chunks, Chunk{Pieces: []answer.Piece{piece}})
	}
	if len(text) > 0 {
		chunks = append(chunks, Chunk{Text: string(text)})
	}
	return chunks
}

// Next waits until there is text after the first from bytes, or pieces after the first seen ones, or the
// end. It ends with the context. Errors: the context's, ErrUnrecorded.
func (r *Run) Next(ctx context.Context, from, seen int) (Progress, error) {
	for {
		p, more, err := r.Look(from, seen)
		if more == nil {
			return p, err
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
	return Progress{Text: r.text[:len(r.text):len(r.text)], Pieces: r.pieces[:len(r.pieces):len(r.pieces)],
		End: r.end}, r.end != nil
}

// Look gives what Next waits for, or, where there is none of it yet, what is closed when there may be. ErrUnrecorded:
// there will be nothing more.
func (r *Run) Look(from, seen int) (p Progress, more <-chan struct{}, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.End = r.end
	if from < len(r.text) {
		p.Text = r.text[from:len(r.text):len(r.text)]
	}
	if seen < len(r.pieces) {
		p.Pieces = r.pieces[seen:len(r.pieces):len(r.pieces)]
	}
	switch {
	case p.Text != nil || p.Pieces != nil || p.End != nil:
		return p, nil, nil
	case r.err != nil:
		return p, nil, r.err
	}
	if r.wake == nil {
		r.wake = make(chan struct{})
	}
	return p, r.wake, nil
}

// Wait waits for the end, and for nothing before it. Errors: the context's, ErrUnrecorded.
func (r *Run) Wait(ctx context.Context) (Ending, error) {
	r.mu.Lock()
	if r.over == nil {
		r.over = make(chan struct{})
		if r.end != nil || r.err != nil {
			close(r.over)
		}
	}
	over := r.over
	r.mu.Unlock()
	select {
	case <-over:
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.end != nil:
		return *r.end, nil // also to who cannot wait any more
	case r.err != nil:
		return Ending{}, r.err
	}
	return Ending{}, context.Cause(ctx)
}
