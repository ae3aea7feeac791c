package api

import (
	"context"
	"errors"
	"time"

	"prelude/commands"
	"prelude/domain"
	"prelude/domain/answer"
	"prelude/domain/session"
	"prelude/internal/eventlog"
	"prelude/readmodels"
)

// source is a reply wherever it is: made by this process ([local]), by another ([remote]), or ended and in the views
// ([stored]).
type source interface {
	id() string
	// body is the reply as far as it is known.
	body() messageBody
	preset() *session.PresetVersion
	// text and parts are as much as is known of it, and position that of the reply's start.
	text() string
	parts() []answer.Part
	position() eventlog.Position
	// endedAt is where the reply's end stands; 0: it has not ended.
	endedAt() eventlog.Position
	// next waits until something was said after so many bytes of text and so many pieces, or for the end, which comes by
	// itself. Where it waits, w is kept open; nil: there is none.
	next(ctx context.Context, w *events, at, seen int) (commands.Progress, error)
	// wait waits for the end.
	wait(ctx context.Context) error
	// until is when the model is given up; zero: the reply has ended.
	until() time.Time
}

// source finds a reply of the caller's: first among those that this process makes.
func (s *Server) source(ctx context.Context, who domain.Principal, id domain.ReplyID) (source, error) {
	if r := s.Sessions.Hub.Find(id); r != nil && r.Org == who.Org && r.Owner == who.User {
		return local{s, r}, nil
	}
	m, err := s.replyAtEnd(ctx, who, id)
	if err != nil {
		return nil, err
	}
	if m.Status != "running" {
		return stored{m}, nil
	}
	under, running, err := s.madeBy(ctx, who, m)
	far := &remote{s: s, asked: ctx, who: who, known: m, gives: under.Until}
	switch {
	case err == nil:
	case ctx.Err() == nil && away(err):
		return s.unread(ctx, far)
	default:
		return nil, err
	}
	mine := !running || under.Producer.Instance == s.Sessions.Producer.Instance
	if mine {
		// It was started a moment ago, or has ended and the view does not know yet.
		soon, cancel := context.WithTimeout(ctx, waitOwn)
		defer cancel()
		if r := s.Sessions.Hub.Await(soon, id); r != nil {
			return local{s, r}, nil
		}
	}
	closed, err := s.closeLost(ctx, who, m)
	if err != nil {
		return nil, err
	}
	if !mine && closed == 0 {
		far.producer = &under.Producer
		return far, nil
	}
	s.atEnd(ctx, viewsReader)
	m, err = s.Read.Reply(ctx, who, id)
	if err == nil && m.Status != "running" {
		return stored{m}, nil
	}
	far.known = m
	return far, err
}

// waitLog is how long the log is waited for where the views can say enough without it.
const waitLog = time.Second

// madeBy asks the log who makes a reply that is running in the views.
func (s *Server) madeBy(ctx context.Context, who domain.Principal, m readmodels.Message,
) (session.UnderWay, bool, error) {
	soon, cancel := context.WithTimeout(ctx, waitLog)
	defer cancel()
	return s.Sessions.MadeBy(soon, who, m.Session, domain.ReplyID(m.ID))
}

// unread is a reply that is running in the views, of which the log does not tell now: in an outage of the store it is
// running, and can be followed where the views say that it is made.
func (s *Server) unread(ctx context.Context, far *remote) (source, error) {
	far.gives = far.known.Until
	if far.known.Producer.Instance != s.Sessions.Producer.Instance {
		far.producer = &far.known.Producer
	} else if r := s.Sessions.Hub.Find(domain.ReplyID(far.known.ID)); r != nil {
		return local{s, r}, nil
	}
	return far, context.Cause(ctx)
}

// closeLost closes a reply that nobody makes any more, and gives the position of its end; 0: somebody makes it, it has
// ended, or the log cannot tell soon.
func (s *Server) closeLost(ctx context.Context, who domain.Principal, m readmodels.Message) (eventlog.Position, error) {
	soon, cancel := context.WithTimeout(ctx, waitLog)
	defer cancel()
	at, err := s.Sessions.Recover(soon, who.Org, m.Session, domain.ReplyID(m.ID))
	if ctx.Err() == nil && (away(err) || errors.Is(err, commands.ErrMoved)) {
		return 0, nil // it is closed later, or by whoever was met there
	}
	return at, err
}

// away says that the event store did not answer, or not in time.
func away(err error) bool {
	return errors.Is(err, eventlog.ErrUnavailable) || errors.Is(err, eventlog.ErrChanged) ||
		errors.Is(err, context.DeadlineExceeded)
}

// replyAtEnd asks the views, once more when they have reached the log's end: the reply may have begun just now.
func (s *Server) replyAtEnd(ctx context.Context, who domain.Principal, id domain.ReplyID,
) (readmodels.Message, error) {
	m, err := s.Read.Reply(ctx, who, id)
	if !errors.Is(err, domain.ErrNotFound) || !domain.ValidID(domain.ReplyPrefix, string(id)) {
		return m, err
	}
	s.atEnd(ctx, viewsReader)
	return s.Read.Reply(ctx, who, id)
}

// atEnd waits, for a moment, until a reader has reached the log's end of now.
func (s *Server) atEnd(ctx context.Context, reader string) {
	s.reachEnd(ctx, reader, waitOwn)
}

// KnowsRights waits until all is known of rights that has happened; false: it was not in time.
func (s *Server) KnowsRights(ctx context.Context) bool {
	return s.reachEnd(ctx, rightsReader, waitAsked)
}

func (s *Server) reachEnd(ctx context.Context, reader string, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	head, err := s.Log.Head(ctx)
	return err == nil && s.Progress.Wait(ctx, reader, head)
}

// over waits for the reply's end, and remembers where it stands for the caller's next question.
func (s *Server) over(ctx context.Context, src source) error {
	ctx, cancel := s.within(ctx, src)
	defer cancel()
	return src.wait(ctx)
}

// within bounds the wait for a whole answer: the model is given up in time, but an outage of the store, in which the
// reply's end cannot be recorded, may go on. The reply does too; whoever repeats the request gets it.
func (s *Server) within(ctx context.Context, src source) (context.Context, context.CancelFunc) {
	until := src.until()
	if until.IsZero() {
		return context.WithCancel(ctx)
	}
	ctx, stop := context.WithTimeoutCause(ctx, max(until.Sub(s.Sessions.Now()), 0)+s.Sessions.Hub.Patience,
		commands.ErrUnrecorded)
	l, here := src.(local)
	if !here {
		return ctx, stop
	}
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-l.run.Due(): // the model has said all: only the end's record is waited for
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(s.Sessions.Hub.Patience):
			cancel(commands.ErrUnrecorded)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil); stop() }
}

// local is a reply that this process makes or has just made.
type local struct {
	s   *Server
	run *commands.Run
}

func (l local) id() string                     { return string(l.run.Reply) }
func (l local) body() messageBody              { return runBody(l.run) }
func (l local) preset() *session.PresetVersion { return l.run.Preset }
func (l local) text() string                   { return l.run.Text() }
func (l local) parts() []answer.Part           { return l.run.Parts() }
func (l local) position() eventlog.Position    { return l.run.Position }
func (l local) until() time.Time               { return l.run.Until }

func (l local) endedAt() eventlog.Position {
	end, _ := l.run.Ended()
	return end.Position
}

func (l local) next(ctx context.Context, w *events, at, seen int) (p commands.Progress, err error) {
	if w == nil {
		p, err = l.run.Next(ctx, at, seen)
	} else {
		p, err = w.next(ctx, l.run, at, seen)
	}
	if p.End != nil {
		l.s.reached(l.run.Owner, p.End.Position)
	}
	return p, err
}

func (l local) wait(ctx context.Context) error {
	end, err := l.run.Wait(ctx)
	if err == nil {
		l.s.reached(l.run.Owner, end.Position)
	}
	return err
}

// stored is a reply that has ended, as the views have it.
type stored struct{ m readmodels.Message }

func (e stored) id() string                     { return e.m.ID }
func (e stored) body() messageBody              { return messageOf(e.m) }
func (e stored) preset() *session.PresetVersion { return e.m.Preset }
func (e stored) text() string                   { return e.m.Text.Text }
func (e stored) parts() []answer.Part           { return e.m.Said }
func (e stored) position() eventlog.Position    { return e.m.Position }
func (e stored) until() time.Time               { return time.Time{} }
func (e stored) endedAt() eventlog.Position     { return e.m.EndedPos }
func (e stored) wait(context.Context) error     { return nil }

func (e stored) next(_ context.Context, _ *events, at, seen int) (commands.Progress, error) {
	return said(e.m.Text.Text, answer.Pieces(e.m.Said), at, seen), nil
}

// said is what there is after so much of a reply that has ended.
func said(text string, pieces []answer.Piece, at, seen int) commands.Progress {
	p := commands.Progress{End: &commands.Ending{}}
	if at < len(text) {
		p.Text = []byte(text[at:])
	}
	if seen < len(pieces) {
		p.Pieces = pieces[seen:]
	}
	return p
}
