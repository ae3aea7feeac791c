package commands

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"prelude/domain"
	"prelude/domain/completion"
	"prelude/domain/session"
	"prelude/internal/eventlog"
)

// ender tries to record how a reply ended, and gives the end that the log has then: this one, or the one that was
// there before. It may be asked again, for it is the same step.
type ender func(ctx context.Context, r *Run, e session.End, at time.Time) (Ending, error)

// refusals is how often in a row the log may refuse a reply's end before that is given up: no waiting mends it.
const refusals = 5

// record tries to record how a reply ended, until the log has an end of it, and gives that one. Until then nobody is
// told of any: an outage passes, and another process may have ended the reply meanwhile. It gives up when the process
// stops, or where the log refuses each end.
func (h *Hub) record(r *Run, e session.End, at time.Time, end ender) (Ending, error) {
	erased, refused := false, 0
	for tries := h.Recording.begin(h.recording); ; {
		ctx, cancel := context.WithTimeout(h.recording, h.Attempt)
		got, err := end(ctx, r, e, at)
		cancel()
		switch {
		case err == nil:
			h.overdue.end(h, r)
			got.textLost = got.textLost || erased
			return got, nil
		case errors.Is(err, domain.ErrErased) && !erased: // while it was made: that it was, is kept
			e.Text, e.Parts, erased = "", "", true
			continue
		}
		if refused++; !refusing(err) {
			refused = 0
		}
		h.overdue.begin(h, r, err)
		if refused == refusals || !tries.wait(h.recording) {
			h.overdue.giveUp(h, r, err)
			return Ending{}, err
		}
	}
}

// errNoEnd: a stream knows nothing of a reply that it began, for it was deleted or cut.
var errNoEnd = errors.New("the log has neither the reply's beginning nor its end")

// refusing says that an end was refused, rather than that the log, or the vault, was away.
func refusing(err error) bool {
	var refusal *domain.Error
	return errors.Is(err, errNoEnd) || errors.Is(err, eventlog.ErrGone) ||
		errors.As(err, &refusal) && !errors.Is(err, ErrMoved)
}

// causeOf names what kept a reply's end from being recorded, without the words of any error.
func causeOf(err error) string {
	var refusal *domain.Error
	switch {
	case errors.Is(err, eventlog.ErrUnavailable):
		return "the event store does not answer"
	case errors.Is(err, eventlog.ErrChanged):
		return "the stream changed while it was read"
	case errors.Is(err, eventlog.ErrGone):
		return "the stream was deleted for good"
	case errors.Is(err, errNoEnd):
		return errNoEnd.Error()
	case errors.As(err, &refusal):
		return refusal.Code
	}
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return fmt.Sprintf("%T", err)
}

// overdue are the replies whose ends could not be recorded yet. An outage strikes all of them: it is logged when it
// begins and when it is over, not for each.
type overdue struct {
	mu       sync.Mutex
	replies  map[*Run]bool
	since    time.Time
	recorded int
}

func (o *overdue) begin(h *Hub, r *Run, err error) {
	r.wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.replies == nil {
		o.replies, o.since, o.recorded = map[*Run]bool{}, time.Now(), 0
		h.Logger.Error("the ends of replies cannot be recorded yet", "reply", r.Reply, "cause", causeOf(err))
	}
	o.replies[r] = true
}

func (o *overdue) end(h *Hub, r *Run) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.replies[r] {
		return
	}
	o.recorded++
	o.drop(h, r)
}

func (o *overdue) giveUp(h *Hub, r *Run, err error) {
	h.Logger.Error("a reply's end is not recorded", "reply", r.Reply, "cause", causeOf(err))
	o.mu.Lock()
	defer o.mu.Unlock()
	o.drop(h, r)
}

func (o *overdue) drop(h *Hub, r *Run) {
	if delete(o.replies, r); len(o.replies) > 0 {
		return
	}
	o.replies = nil
	if o.recorded > 0 {
		h.Logger.Info("the ends of replies are recorded", "replies", o.recorded,
			"duration_ms", time.Since(o.since).Milliseconds())
	}
}

// endTurn records the end of a turn's reply.
func (h Sessions) endTurn(meta Meta) ender {
	meta = meta.Step("end")
	meta.Repeatable, meta.IfMatch = false, nil
	return func(ctx context.Context, r *Run, e session.End, at time.Time) (Ending, error) {
		stream := eventlog.SessionStream(r.Org, r.Session)
		var ours any
		left, err := transact(ctx, h.Engine, stream, meta, func(s session.Session, _ *Meta) ([]session.Event, error) {
			events, err := s.End(e, at)
			ours = first(events)
			return events, err
		})
		return h.endOf(ctx, stream, r.Reply, meta, ours, left.Position, err)
	}
}

// endCompletion records the end of a completion's reply.
func (h Sessions) endCompletion(meta Meta) ender {
	meta = meta.Step("end")
	meta.Repeatable = false
	return func(ctx context.Context, r *Run, e session.End, at time.Time) (Ending, error) {
		stream := eventlog.CompletionStream(r.Org, r.Reply)
		var ours any
		left, err := transact(ctx, h.Engine, stream, meta,
			func(c completion.Completion, _ *Meta) ([]completion.Event, error) {
				events, err := c.End(e, at)
				ours = first(events)
				return events, err
			})
		return h.endOf(ctx, stream, r.Reply, meta, ours, left.Position, err)
	}
}

// first is the first of the events that were decided; nil: none was.
func first[E any](events []E) any {
	if len(events) == 0 {
		return nil
	}
	return events[0]
}

// endOf is the end of a reply as the log has it: ours, which was appended just now, or else the one that was there.
func (e *Engine) endOf(ctx context.Context, stream eventlog.Stream, reply domain.ReplyID, meta Meta, ours any,
	at eventlog.Position, err error) (end Ending, _ error) {
	if err != nil {
		return Ending{}, err
	}
	if ours != nil {
		end, _ = ending(ours, reply)
		end.Position = at
		return end, nil
	}
	err = eventlog.Unchanged(ctx, func(bool) (err error) {
		end, err = e.recorded(ctx, stream, reply, meta)
		return err
	})
	return end, err
}

// recorded reads the end of a reply that has one.
func (e *Engine) recorded(ctx context.Context, stream eventlog.Stream, reply domain.ReplyID, meta Meta,
) (Ending, error) {
	for rec, err := range e.Log.ReadOnly(ctx, stream, eventlog.Last, eventlog.Backwards, replyEvents) {
		if err != nil {
			return Ending{}, err
		}
		if end, ended := ending(rec.Event, reply); ended {
			// An attempt of this step may have been taken, and its answer lost.
			end.Position, end.textLost = rec.Position, rec.Meta.Step != meta.stepID()
			return end, nil
		}
		if began, ok := rec.Event.(session.ReplyStarted); ok && began.Reply == reply {
			break
		}
	}
	return Ending{}, errNoEnd
}

// replyEvents are the events that begin and end replies.
var replyEvents = []any{session.ReplyStarted{}, session.ReplyCompleted{}, session.ReplyFailed{},
	session.ReplyCancelled{}, completion.Ended{}}

// ending is the end of a reply that an event tells; false: it tells of none, or of another's.
func ending(event any, reply domain.ReplyID) (Ending, bool) {
	switch e := event.(type) {
	case session.ReplyCompleted:
		return Ending{Status: "completed", Finish: e.Finish, Usage: e.Usage, Cost: e.Cost, Length: e.Length,
			At: e.At}, e.Reply == reply
	case session.ReplyFailed:
		return Ending{Status: "failed", Usage: e.Usage, Code: e.Code, Detail: e.Detail, Retryable: e.Retryable,
			Upstream: e.Upstream, RetryAfter: e.RetryAfter, Length: e.Length, At: e.At}, e.Reply == reply
	case session.ReplyCancelled:
		return Ending{Status: "cancelled", Usage: e.Usage, Length: e.Length, At: e.At}, e.Reply == reply
	case completion.Ended:
		return Ending{Status: e.Status, Finish: e.Finish, Usage: e.Usage, Cost: e.Cost, Code: e.Code, Detail: e.Detail,
			Retryable: e.Retryable, Upstream: e.Upstream, RetryAfter: e.RetryAfter, Length: e.Length, At: e.At}, true
	}
	return Ending{}, false
}
