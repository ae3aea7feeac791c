package readmodels

import (
	"context"
	"fmt"

	"prelude/domain"
	"prelude/domain/session"
	"prelude/internal/authz"
	"prelude/internal/eventlog"
)

// Session is a session as it is, or as it was. Its title and variables are open.
type Session struct {
	session.Session
	AsOf *Point
}

func seeSession(who domain.Principal, s session.Session) error {
	if !s.Exists() {
		return domain.ErrNotFound
	}
	_, err := authz.May(who, authz.UseSession, authz.Thing{Org: s.Org, Owner: s.Owner})
	return err
}

// Session answers with a session of the caller's.
func (r *Reader) Session(ctx context.Context, who domain.Principal, id domain.SessionID) (Session, error) {
	var rows []stateRow
	err := r.ask(ctx, who.Org, func(b *batch) {
		b.Queue(`SELECT state, pos FROM views.sessions WHERE org = $1 AND id = $2`, who.Org, id).
			Query(scan(&rows))
	})
	if _, err := one(rows, wrap("ask for a session", err)); err != nil {
		return Session{}, err
	}
	sessions, err := decode[session.Session](rows)
	if err != nil {
		return Session{}, err
	}
	if err := seeSession(who, sessions[0]); err != nil {
		return Session{}, err
	}
	opened, err := r.OpenSessions(ctx, sessions)
	if err != nil {
		return Session{}, err
	}
	return Session{Session: opened[0]}, nil
}

// OpenSessions opens the titles and variables of sessions, with one question to the vault.
func (r *Reader) OpenSessions(ctx context.Context, sessions []session.Session) ([]session.Session, error) {
	sealed := make([]eventlog.Sealed, 0, 2*len(sessions))
	for _, s := range sessions {
		stream := eventlog.SessionStream(s.Org, s.ID)
		sealed = append(sealed, eventlog.Sealed{Stream: stream, Field: "title", Secret: s.Title},
			eventlog.Sealed{Stream: stream, Field: "variables", Secret: s.Variables})
	}
	if err := r.Log.OpenAll(ctx, sealed); err != nil {
		return nil, err
	}
	for i := range sessions {
		sessions[i].Title, sessions[i].Variables = sealed[2*i].Secret, sealed[2*i+1].Secret
	}
	return sessions, nil
}

// SessionAsOf answers with a session as it was. Rights, and what is erased, are today's.
func (r *Reader) SessionAsOf(ctx context.Context, who domain.Principal, id domain.SessionID, as AsOf,
) (Session, error) {
	if _, err := r.Session(ctx, who, id); err != nil {
		return Session{}, err
	}
	records, at, err := r.prefix(ctx, eventlog.SessionStream(who.Org, id), as)
	return Session{fold[session.Session, session.Event](records), &at}, err
}

// Sessions lists the caller's sessions. Status active, deleted, or empty: active.
func (r *Reader) Sessions(ctx context.Context, who domain.Principal, status string, p Page,
) (List[session.Session], error) {
	if _, err := authz.May(who, authz.StartSession, authz.Thing{Org: who.Org}); err != nil {
		return List[session.Session]{}, err
	}
	from, err := p.cursor()
	if err != nil {
		return List[session.Session]{}, err
	}
	if status == "" {
		status = "active"
	}
	compare, direction := p.order()
	var rows []stateRow
	err = r.ask(ctx, who.Org, func(b *batch) {
		b.Queue(fmt.Sprintf(`SELECT state, pos FROM views.sessions
			WHERE org = $1 AND owner = $2 AND status = $3 AND (created_at, id) %s ($4, $5)
			ORDER BY created_at %s, id %[2]s LIMIT $6`, compare, direction),
			who.Org, who.User, status, from.At, from.ID, p.Limit+1).Query(scan(&rows))
	})
	if err != nil {
		return List[session.Session]{}, wrap("list sessions", err)
	}
	sessions, err := decode[session.Session](rows)
	if err != nil {
		return List[session.Session]{}, err
	}
	l := list(sessions, p.Limit, func(s session.Session) cursor {
		return cursor{At: s.CreatedAt, ID: string(s.ID)}
	})
	l.Data, err = r.OpenSessions(ctx, l.Data)
	return l, err
}
