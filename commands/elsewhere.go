package commands

import (
	"context"

	"prelude/domain"
	"prelude/domain/completion"
	"prelude/domain/session"
	"prelude/internal/eventlog"
)

// MadeBy says which process makes a reply of the caller's, of a session, or without one, of a completion, and until
// when; false: it has ended, or is another's.
func (h Sessions) MadeBy(ctx context.Context, who domain.Principal, id domain.SessionID, reply domain.ReplyID,
) (session.UnderWay, bool, error) {
	if id == "" {
		f, err := load[completion.Completion, completion.Event](ctx, h.Engine,
			eventlog.CompletionStream(who.Org, reply), true)
		c := f.State
		return session.UnderWay{Reply: reply, Producer: c.Producer, Until: c.Until},
			err == nil && c.Reply == reply && c.User == who.User && !c.Ended, err
	}
	f, err := load[session.Session, session.Event](ctx, h.Engine, eventlog.SessionStream(who.Org, id), true)
	u := f.State.UnderWay
	if err != nil || u == nil || u.Reply != reply || f.State.Owner != who.User {
		return session.UnderWay{}, false, err
	}
	return *u, true, nil
}

// Cancel ends a reply of the caller's, of a session, or without one, of a completion: by the process that makes it,
// or where that is not reached, in the log, from which that process learns it. One that has ended stays as it is.
func (h Sessions) Cancel(ctx context.Context, id domain.SessionID, reply domain.ReplyID, meta Meta) error {
	if r := h.Hub.Find(reply); r != nil && r.Org == meta.By.Org && r.Owner == meta.By.User {
		_, err := h.Hub.Cancel(ctx, r, meta.By.User)
		return err
	}
	if done, err := h.cancelAt(ctx, id, reply, meta.By); done || err != nil {
		return err
	}
	end := session.End{Reply: reply, Cancelled: true, By: meta.By.User}
	if id == "" {
		return h.cancelCompletion(ctx, end, meta)
	}
	_, err := h.change(ctx, id, meta.Step("cancel"), func(s session.Session, _ *Meta) ([]session.Event, error) {
		return s.End(end, h.Now())
	})
	return err
}

// cancelAt asks the process that makes a reply to end it. That it cannot be reached is no error.
func (h Sessions) cancelAt(ctx context.Context, id domain.SessionID, reply domain.ReplyID, by domain.Principal,
) (done bool, err error) {
	u, running, err := h.MadeBy(ctx, by, id, reply)
	if err != nil || !running || h.CancelAt == nil || u.Producer.Instance == h.Producer.Instance {
		return false, err
	}
	if err := h.CancelAt(ctx, u.Producer, reply, by.User); err != nil {
		h.Logger.Warn("a reply is cancelled in the log, for its producer was not reached", "reply", reply, "error", err)
		return false, nil
	}
	return true, nil
}

func (h Sessions) cancelCompletion(ctx context.Context, end session.End, meta Meta) error {
	_, err := transact(ctx, h.Engine, eventlog.CompletionStream(meta.By.Org, end.Reply), meta.Step("cancel"),
		func(c completion.Completion, _ *Meta) ([]completion.Event, error) {
			if c.User != meta.By.User {
				return nil, domain.ErrNotFound
			}
			return c.End(end, h.Now())
		})
	return err
}

// Cancel ends a reply that this process makes, as of a user, and waits for its end, which may be another.
// ErrUnrecorded: the log has none yet; the reply is under way until it does.
func (h *Hub) Cancel(ctx context.Context, r *Run, by domain.UserID) (Ending, error) {
	r.cancel(cancelledBy{by})
	ctx, cancel := context.WithTimeoutCause(ctx, h.Patience, ErrUnrecorded)
	defer cancel()
	return r.Wait(ctx)
}
