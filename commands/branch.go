package commands

import (
	"context"
	"slices"

	"prelude/domain"
	"prelude/domain/receipt"
	"prelude/domain/session"
	"prelude/internal/authz"
	"prelude/internal/eventlog"
)

// BranchSession asks for a session that goes on where another stands, or stood.
type BranchSession struct {
	Session domain.SessionID
	Through string  // the id of the last message or reply to take; empty: the newest
	Title   *string // nil: that of the other
}

// Branch handles [BranchSession]. It takes the newest messages that fit: the model's window, what one event may
// hold, and how many a request may hold.
func (h Sessions) Branch(ctx context.Context, cmd BranchSession, meta Meta) (Session, error) {
	from, err := h.mine(ctx, meta.By, cmd.Session)
	if err != nil {
		return Session{}, err
	}
	if from.ExpiredAt != nil {
		return Session{}, domain.ErrErased
	}
	if from.DeletedAt != nil {
		return Session{}, domain.ErrDeleted
	}
	if meta.rule, err = authz.May(meta.By, authz.StartSession, authz.Thing{Org: meta.By.Org}); err != nil {
		return Session{}, err
	}
	id := domain.SessionID(meta.derive(domain.SessionPrefix, 0))
	return transact(ctx, h.Engine, eventlog.SessionStream(meta.By.Org, id), meta.Step("branch").creating(),
		func(s session.Session, m *Meta) ([]session.Event, error) {
			if s.Exists() {
				return nil, nil
			}
			b, err := h.branch(ctx, from, id, cmd, *m)
			if err != nil {
				return nil, err
			}
			events, err := s.Branch(b, h.Now())
			if err != nil || len(events) == 0 {
				return nil, err
			}
			return events, h.ensureSession(ctx, b.New)
		})
}

// branch gathers what a branch begins with.
func (h Sessions) branch(ctx context.Context, from session.Session, id domain.SessionID, cmd BranchSession,
	m Meta) (session.Branch, error) {
	b := session.Branch{From: from.ID, Through: int64(from.Events) - 1,
		New: session.New{ID: id, Org: from.Org, Owner: m.By.User, Preset: from.Preset, Model: from.Model}}
	opened, err := h.Log.OpenSecret(ctx, eventlog.SessionStream(from.Org, from.ID), "title", from.Title)
	if err != nil {
		return b, err
	}
	if b.Title = opened.Text; cmd.Title != nil {
		b.Title = *cmd.Title
	}
	values, err := h.variablesOf(ctx, from)
	if err != nil {
		return b, err
	}
	b.Variables = encodeValues(values)
	t, err := h.resolve(ctx, from, PostMessage{}, m.By)
	if err != nil {
		return b, err
	}
	t.plan.Refuse = false
	err = eventlog.Unchanged(ctx, func(bool) error { return h.carry(ctx, &b, t.plan, cmd.Through, m) })
	return b, err
}

// carry takes what was said, newest first, until no more fits.
func (h Sessions) carry(ctx context.Context, b *session.Branch, plan receipt.Plan, through string, m Meta) error {
	room, err := receipt.Start(plan)
	if err != nil {
		return err
	}
	b.Said, b.LeftOut = nil, false
	stream := eventlog.SessionStream(b.Org, b.From)
	found, bytes := through == "", 0
	err = h.backwards(ctx, stream, eventlog.Revision(b.Through), func(s said) (bool, error) {
		if found = found || s.Source.ID == through; !found {
			return true, nil
		}
		more, err := room.Add(s.Piece)
		if bytes += len(s.Text); err != nil || !more || bytes > session.MaxCarried {
			b.LeftOut = true
			return false, err
		}
		prefix := domain.MessagePrefix
		if s.author == "" {
			prefix = domain.ReplyPrefix
		}
		b.Said = append(b.Said, session.Said{ID: m.derive(prefix, uint64(len(b.Said))), Origin: s.Source.ID,
			Author: s.author, Model: s.model, Text: s.Text, Written: s.at})
		return true, nil
	})
	if err == nil && !found {
		err = session.ErrNoMessage
	}
	slices.Reverse(b.Said)
	return err
}
