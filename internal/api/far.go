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

// remote is a reply that is running and not made here: what it says comes through the process that makes it, if one
// is known, and its end from the views. Where that process is not reached, all of it comes from the views when it has
// ended. One that is made by none that is known may have ended: the views will tell.
type remote struct {
	s        *Server
	who      domain.Principal
	known    readmodels.Message
	producer *session.Producer
	gives    time.Time // when its producer gives the model up

	asked  context.Context //nolint:containedctx // of the request: its producer is heard as long as that lasts
	mirror *commands.Run   // what came; nil: nobody has asked for any yet
	relay  <-chan error    // why no more comes; closed at the reply's end
	heard  []answer.Piece
	ended  bool
}

func (r *remote) id() string                     { return r.known.ID }
func (r *remote) body() messageBody              { return messageOf(r.known) }
func (r *remote) preset() *session.PresetVersion { return r.known.Preset }
func (r *remote) text() string                   { return r.known.Text.Text }
func (r *remote) parts() []answer.Part           { return r.known.Said }
func (r *remote) position() eventlog.Position    { return r.known.Position }
func (r *remote) endedAt() eventlog.Position     { return r.known.EndedPos }

func (r *remote) until() time.Time {
	if r.ended {
		return time.Time{}
	}
	return r.gives
}

func (r *remote) wait(ctx context.Context) error { return r.end(ctx, nil) }

// next gives what the producer has said, then what the views have besides.
func (r *remote) next(ctx context.Context, w *events, at, seen int) (commands.Progress, error) {
	if r.mirror == nil {
		r.listen(r.asked)
	}
	for !r.ended {
		p, more, _ := r.mirror.Look(at, seen) // nobody ends it
		if more == nil {
			r.heard = append(r.heard, p.Pieces...)
			return p, nil
		}
		var beat <-chan time.Time
		if w != nil {
			beat = w.beat.C
		}
		select {
		case <-more:
		case err := <-r.relay:
			if err != nil && ctx.Err() == nil {
				r.s.Logger.Warn("a reply comes from the log alone, for its producer is not reached", "reply", r.known.ID,
					"error", err)
			}
			if err := r.end(ctx, w); err != nil {
				return commands.Progress{}, err
			}
		case <-beat:
			if w.comment(keepAlive); w.gone {
				return commands.Progress{}, errGone
			}
			r.hasEnded(ctx) // and the connection has not said so
		case <-r.s.Stopping:
			return commands.Progress{}, errStopping
		case <-ctx.Done():
			return commands.Progress{}, context.Cause(ctx)
		}
	}
	return said(r.known.Text.Text, append(r.heard, answer.Rest(r.known.Said, r.heard)...), at, seen), nil
}

// listen begins to hear what the producer says. It ends with the context.
func (r *remote) listen(ctx context.Context) {
	r.mirror = &commands.Run{Reply: domain.ReplyID(r.known.ID)}
	ends := make(chan error, 1)
	r.relay = ends
	if r.producer == nil || r.s.Relay == nil {
		ends <- nil
		return
	}
	go func() { ends <- r.s.Relay.Follow(ctx, *r.producer, domain.ReplyID(r.known.ID), r.mirror.Add) }()
}

var errStopping = errors.New("the process is stopping")

// The pauses between questions whether a reply that is made elsewhere has ended.
const (
	farFirst = 20 * time.Millisecond
	farMost  = time.Second
)

// end waits until the views have the reply's end, and notes it. With w it keeps that open.
func (r *remote) end(ctx context.Context, w *events) error {
	var beat <-chan time.Time
	if w != nil {
		beat = w.beat.C
	}
	for pause := farFirst; !r.hasEnded(ctx); pause = min(2*pause, farMost) {
		select {
		case <-time.After(pause):
		case <-beat:
			if w.comment(keepAlive); w.gone {
				return errGone
			}
		case <-r.s.Stopping:
			return errStopping
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// hasEnded asks the views whether the reply has ended, and closes one whose producer is gone.
func (r *remote) hasEnded(ctx context.Context) bool {
	if r.ended {
		return true
	}
	id := domain.ReplyID(r.known.ID)
	m, err := r.s.Read.Reply(ctx, r.who, id)
	if err == nil && m.Status == "running" {
		var at eventlog.Position
		if at, err = r.s.closeLost(ctx, r.who, m); err == nil && at > 0 {
			r.s.Progress.Wait(ctx, viewsReader, at)
			m, err = r.s.Read.Reply(ctx, r.who, id)
		}
	}
	if err != nil || m.Status == "running" {
		if err != nil && !errors.Is(err, domain.ErrNotFound) && ctx.Err() == nil {
			r.s.Logger.Warn("whether a reply has ended is not known", "reply", id, "error", err)
		}
		return false
	}
	r.known, r.ended = m, true
	r.s.reached(r.who.User, m.EndedPos)
	return true
}
