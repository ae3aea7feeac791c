package api

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"prelude/commands"
	"prelude/domain"
	"prelude/domain/receipt"
	"prelude/domain/session"
	"prelude/internal/eventlog"
	"prelude/readmodels"
)

// streamed answers with a body that is written as it comes.
type streamed struct {
	Location string `header:"Location"`
	Position string `header:"Prelude-Position"`
	Replayed string `header:"Idempotency-Replayed"`
	Body     func(huma.Context)
}

// source is a reply wherever it is: made by this process, or in the views, or in those and made by another process.
// One that is running in the views, and made by none that is known, may have ended: the views will tell.
type source struct {
	run   *commands.Run
	ended *readmodels.Message
	far   *session.Producer
	until time.Time // of one in the views that is running: when its producer gives the model up
	who   domain.Principal
}

// running says that the reply was running when it was found, and is not made here.
func (src *source) running() bool { return src.run == nil && src.ended.Status == "running" }

// source finds a reply of the caller's: first among those that this process makes.
func (s *Server) source(ctx context.Context, who domain.Principal, id domain.ReplyID) (*source, error) {
	if r := s.Sessions.Hub.Find(id); r != nil && r.Org == who.Org && r.Owner == who.User {
		return &source{run: r}, nil
	}
	m, err := s.replyAtEnd(ctx, who, id)
	if err != nil {
		return nil, err
	}
	if m.Status != "running" {
		return &source{ended: &m}, nil
	}
	under, running, err := s.madeBy(ctx, who, m)
	src := &source{ended: &m, until: under.Until, who: who}
	switch {
	case err == nil:
	case ctx.Err() == nil && away(err):
		return s.unread(ctx, src)
	default:
		return nil, err
	}
	mine := !running || under.Producer.Instance == s.Sessions.Producer.Instance
	if mine {
		// It was started a moment ago, or has ended and the view does not know yet.
		soon, cancel := context.WithTimeout(ctx, waitOwn)
		defer cancel()
		if r := s.Sessions.Hub.Await(soon, id); r != nil {
			return &source{run: r}, nil
		}
	}
	closed, err := s.closeLost(ctx, who, m)
	if err != nil {
		return nil, err
	}
	if !mine && closed == 0 {
		src.far = &under.Producer
		return src, nil
	}
	s.atEnd(ctx, viewsReader)
	m, err = s.Read.Reply(ctx, who, id)
	return src, err
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
func (s *Server) unread(ctx context.Context, src *source) (*source, error) {
	src.until = src.ended.Until
	if src.ended.Producer.Instance != s.Sessions.Producer.Instance {
		src.far = &src.ended.Producer
	} else if r := s.Sessions.Hub.Find(domain.ReplyID(src.ended.ID)); r != nil {
		return &source{run: r}, nil
	}
	return src, context.Cause(ctx)
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

func (src *source) body() messageBody {
	if src.run != nil {
		return runBody(src.run)
	}
	return messageOf(*src.ended)
}

// over waits for the reply's end, and remembers where it stands for the caller's next question.
func (s *Server) over(ctx context.Context, src *source) error {
	ctx, cancel := s.within(ctx, src)
	defer cancel()
	switch {
	case src.running():
		return s.farEnd(ctx, src, nil)
	case src.run == nil:
		return nil
	}
	end, err := src.run.Wait(ctx)
	if err == nil {
		s.reached(src.run.Owner, end.Position)
	}
	return err
}

// within bounds the wait for a whole answer: the model is given up in time, but an outage of the store, in which the
// reply's end cannot be recorded, may go on. The reply does too; whoever repeats the request gets it.
func (s *Server) within(ctx context.Context, src *source) (context.Context, context.CancelFunc) {
	until := src.until
	if src.run != nil {
		until = src.run.Until
	}
	if until.IsZero() {
		return context.WithCancel(ctx)
	}
	ctx, stop := context.WithTimeoutCause(ctx, max(until.Sub(s.Sessions.Now()), 0)+s.Sessions.Hub.Patience,
		commands.ErrUnrecorded)
	if src.run == nil {
		return ctx, stop
	}
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-src.run.Due(): // the model has said all: only the end's record is waited for
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

// endedAt is where the reply's end stands; 0: it has not ended.
func (src *source) endedAt() eventlog.Position {
	if src.run == nil {
		return src.ended.EndedPos
	}
	end, _ := src.run.Ended()
	return end.Position
}

// The data of a stream's events.
type (
	startedData struct {
		Session  *string     `json:"session"`
		Message  *string     `json:"message"`
		Reply    string      `json:"reply"`
		Preset   *usedPreset `json:"preset"`
		Model    string      `json:"model"`
		Position string      `json:"position"`
	}
	completedData struct {
		Reply     string        `json:"reply"`
		TextBytes int           `json:"text_bytes"`
		Finish    string        `json:"finish_reason"`
		Usage     receipt.Usage `json:"usage"`
		Cost      int64         `json:"cost_micros"`
		Model     string        `json:"model"`
		Position  string        `json:"position"`
		Withheld  string        `json:"withheld,omitempty"`
	}
	failedData struct {
		Reply     string `json:"reply"`
		Code      string `json:"code"`
		Detail    string `json:"detail"`
		Retryable bool   `json:"retryable"`
		Partial   int    `json:"partial_bytes"`
		Withheld  string `json:"withheld,omitempty"`
	}
	cancelledData struct {
		Reply    string `json:"reply"`
		Partial  int    `json:"partial_bytes"`
		Withheld string `json:"withheld,omitempty"`
	}
)

// fromStart follows a reply with the event of its start; 0 is after that.
const fromStart = -1

// follow writes a reply's events after an offset in bytes, to its end. Who reads may leave: the reply goes on. Whose
// key is revoked has to.
func (s *Server) follow(src *source, from int) func(huma.Context) {
	return func(hc huma.Context) {
		w := s.eventStream(hc)
		defer w.close()
		ctx, done := s.Authn.While(hc.Context(), keyOfRequest(hc.Context()))
		defer done()
		switch {
		case src.run != nil:
			s.followRun(ctx, w, src.run, from)
		case src.running():
			s.followFar(ctx, w, src, from)
		default:
			s.followEnded(w, src.ended, from)
		}
	}
}

func offsetID(reply string, offset int) string { return reply + ":" + strconv.Itoa(offset) }

func (s *Server) followRun(ctx context.Context, w *events, r *commands.Run, from int) {
	id := string(r.Reply)
	if from == fromStart {
		w.send(offsetID(id, 0), "reply.started", startedData{text(string(r.Session)),
			text(string(r.Message)), id, usedOf(r.Preset), r.Model, s.token(r.Position)})
	}
	for at := max(from, 0); !w.gone; {
		p, err := w.next(ctx, r, at, noTools)
		if err != nil || w.gone {
			return
		}
		if len(p.Text) > 0 {
			at += len(p.Text)
			// Where there was no text yet when it was asked for, the offset may lie inside a character.
			if whole := characters(p.Text); len(whole) > 0 {
				w.delta(offsetID(id, at), whole)
			}
			continue
		}
		if p.End != nil {
			s.reached(r.Owner, p.End.Position)
			s.sendEnd(w, runBody(r), p.End.Position)
			return
		}
	}
}

// characters is text from the first beginning of a character on.
func characters(text []byte) []byte {
	for len(text) > 0 && !utf8.RuneStart(text[0]) {
		text = text[1:]
	}
	return text
}

func (s *Server) followEnded(w *events, m *readmodels.Message, from int) {
	if from == fromStart {
		w.send(offsetID(m.ID, 0), "reply.started", startedData{text(string(m.Session)),
			text(string(m.Message)), m.ID, usedOf(m.Preset), m.Model, s.token(m.Position)})
	}
	if all, at := m.Text.Text, max(from, 0); at < len(all) {
		w.delta(offsetID(m.ID, len(all)), []byte(all[at:]))
	}
	s.sendEnd(w, messageOf(*m), m.EndedPos)
}

// sendEnd writes the last event of a reply.
func (s *Server) sendEnd(w *events, b messageBody, at eventlog.Position) {
	id := offsetID(b.ID, b.TextBytes)
	switch {
	case b.Status == "cancelled":
		w.send(id, "reply.cancelled", cancelledData{b.ID, b.TextBytes, b.Withheld})
	case b.Error != nil:
		w.send(id, "reply.failed", failedData{b.ID, b.Error.Code, b.Error.Detail, b.Error.Retryable,
			b.TextBytes, b.Withheld})
	default:
		d := completedData{Reply: b.ID, TextBytes: b.TextBytes, Cost: b.CostMicros, Model: b.Model,
			Position: s.token(at), Withheld: b.Withheld}
		if b.Finish != nil {
			d.Finish = *b.Finish
		}
		if b.Usage != nil {
			d.Usage = *b.Usage
		}
		w.send(id, "reply.completed", d)
	}
}

// startAt is where to resume: after Last-Event-ID, else after so many bytes, else from the start.
func (src *source) startAt(last string, after *int) (int, error) {
	from, field := fromStart, "query.starting_after"
	switch {
	case last != "":
		field = "header.Last-Event-ID"
		reply, offset, _ := strings.Cut(last, ":")
		n, err := strconv.ParseUint(offset, 10, 31)
		if err != nil {
			return 0, bad("header.Last-Event-ID", "offset", "must be the id of an event of this stream")
		}
		if reply != src.id() {
			return 0, bad("header.Last-Event-ID", "reply", "is of another reply")
		}
		from = int(n)
	case after != nil:
		from = *after
	}
	if all := src.text(); from > 0 && from < len(all) && !utf8.RuneStart(all[from]) {
		return 0, bad(field, "character", "lies inside a character")
	}
	return from, nil
}

func (src *source) id() string {
	if src.run != nil {
		return string(src.run.Reply)
	}
	return src.ended.ID
}

func (src *source) text() string {
	if src.run != nil {
		return src.run.Text()
	}
	return src.ended.Text.Text
}
