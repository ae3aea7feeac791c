package commands

import (
	"context"
	"time"

	"prelude/domain"
	"prelude/domain/completion"
	"prelude/domain/session"
	"prelude/internal/eventlog"
)

// grace is how long after its time-out a reply without an end is still thought to be under way.
const grace = 30 * time.Second

// expect says that the start of a reply is being appended, until the returned function is called: by then the hub
// makes it, or nobody does.
func (h *Hub) expect(id domain.ReplyID) (settled func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.expects[id]++
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.expects[id]--; h.expects[id] == 0 {
			delete(h.expects, id)
		}
	}
}

// makes says whether this process makes a reply, or is about to.
func (h *Hub) makes(id domain.ReplyID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.expects[id] > 0 {
		return true
	}
	r := h.replies[id]
	if r == nil {
		return false
	}
	_, ended := r.Ended()
	return !ended
}

// gone says whether nobody makes a reply any more: its producer was this instance before it was started anew, or is
// this process, which does not make it; or is another that is known to be gone; or it is silent beyond its own
// time-out. What this process makes it also ends, however late: in an outage of the log it has the text still.
func (h Sessions) gone(reply domain.ReplyID, p session.Producer, until time.Time) bool {
	here := p.Instance == h.Producer.Instance
	switch {
	case p == h.Producer:
		return !h.Hub.makes(reply)
	case here && p.Boot < h.Producer.Boot, h.Now().After(until.Add(grace)):
		return true
	}
	return !here && h.Gone != nil && h.Gone(p)
}

// lost says whether a session's reply is under way that nobody makes any more.
func (h Sessions) lost(s session.Session) bool {
	u := s.UnderWay
	return u != nil && h.gone(u.Reply, u.Producer, u.Until)
}

// lostBy is who records that a reply is lost.
func lostBy(o domain.OrgID) Meta {
	return Meta{By: domain.Principal{Org: o, Job: "lost"}, Command: newCommand()}.Step("lost")
}

// CloseLost ends a session's reply that nobody makes any more.
func (h Sessions) CloseLost(ctx context.Context, o domain.OrgID, id domain.SessionID, reply domain.ReplyID,
) (Session, error) {
	return transact(ctx, h.Engine, eventlog.SessionStream(o, id), lostBy(o),
		func(s session.Session, _ *Meta) ([]session.Event, error) {
			return s.End(session.Lost(reply), h.Now())
		})
}

// CloseLostCompletion ends a completion that nobody makes any more.
func (h Sessions) CloseLostCompletion(ctx context.Context, o domain.OrgID, reply domain.ReplyID,
) (Left[completion.Completion], error) {
	return transact(ctx, h.Engine, eventlog.CompletionStream(o, reply), lostBy(o),
		func(c completion.Completion, _ *Meta) ([]completion.Event, error) {
			return c.End(session.Lost(reply), h.Now())
		})
}

// Recover ends a reply if nobody makes it any more; of a session, or without one, of a completion. It gives the
// position of the end; 0: the reply is under way, or has ended before.
func (h Sessions) Recover(ctx context.Context, o domain.OrgID, id domain.SessionID, reply domain.ReplyID,
) (eventlog.Position, error) {
	if id == "" {
		f, err := load[completion.Completion, completion.Event](ctx, h.Engine,
			eventlog.CompletionStream(o, reply), true)
		if c := f.State; err != nil || c.Ended || !h.gone(reply, c.Producer, c.Until) {
			return 0, err
		}
		left, err := h.CloseLostCompletion(ctx, o, reply)
		return left.Position, err
	}
	f, err := load[session.Session, session.Event](ctx, h.Engine, eventlog.SessionStream(o, id), true)
	if err != nil || !h.lost(f.State) || f.State.UnderWay.Reply != reply {
		return 0, err
	}
	left, err := h.CloseLost(ctx, o, id, reply)
	return left.Position, err
}
