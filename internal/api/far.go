package api

import (
	"context"
	"errors"
	"io"
	"time"
	"unicode/utf8"

	"prelude/domain"
	"prelude/internal/eventlog"
)

// followFar follows a reply that is running and not made here: its text through the process that makes it, if one is
// known, and its end from the views. Where that process is not reached, all of it comes from the views when it has
// ended.
func (s *Server) followFar(ctx context.Context, w *events, src *source, from int) {
	m := src.ended
	if from == fromStart {
		w.send(offsetID(m.ID, 0), "reply.started", startedData{text(string(m.Session)),
			text(string(m.Message)), m.ID, usedOf(m.Preset), m.Model, s.token(m.Position)})
	}
	at := max(from, 0)
	err := error(nil)
	if src.far != nil {
		err = s.relay(ctx, w, src, &at)
	}
	if err != nil && !errors.Is(err, errStopping) && ctx.Err() == nil {
		s.Logger.Warn("a reply comes from the log alone, for its producer is not reached", "reply", m.ID, "error", err)
	}
	if s.farEnd(ctx, src, w) == nil && !w.gone {
		s.reached(src.who.User, src.ended.EndedPos)
		s.followEnded(w, src.ended, at)
	}
}

// relay hands on what the producer sends; at is moved past it.
func (s *Server) relay(ctx context.Context, w *events, src *source, at *int) error {
	if s.Relay == nil {
		return errFar
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	body, err := s.Relay.Stream(ctx, *src.far, domain.ReplyID(src.ended.ID), *at)
	if err != nil {
		return err
	}
	pieces := make(chan piece)
	go func() {
		defer close(pieces)
		defer func() { _ = body.Close() }() // it was read to its end, or nobody wants the rest
		pump(ctx, body, pieces)
	}()
	defer func() {
		cancel()
		for range pieces {
			continue // drained, so that the goroutine can end
		}
	}()
	for {
		select {
		case p, more := <-pieces:
			if !more || p.err != nil {
				return p.err
			}
			*at += len(p.text)
			if whole := characters(p.text); len(whole) > 0 {
				w.delta(offsetID(src.ended.ID, *at), whole)
			}
		case <-w.beat.C:
			w.comment(keepAlive)
			if s.farEnded(ctx, src) {
				return nil // and the connection has not said so
			}
		case <-s.Stopping:
			return errStopping
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if w.gone {
			return nil
		}
	}
}

var errStopping = errors.New("the process is stopping")

// piece is some text in whole characters, or why there is no more.
type piece struct {
	text []byte
	err  error
}

// pump reads text as it comes and cuts it between characters.
func pump(ctx context.Context, from io.Reader, to chan<- piece) {
	buffer, held := make([]byte, 32<<10), 0
	for {
		n, err := from.Read(buffer[held:])
		n += held
		whole := wholeIn(buffer[:n])
		if whole > 0 {
			select {
			case to <- piece{text: append([]byte(nil), buffer[:whole]...)}:
			case <-ctx.Done():
				return
			}
		}
		held = copy(buffer, buffer[whole:n])
		switch {
		case errors.Is(err, io.EOF):
			return
		case err != nil:
			select {
			case to <- piece{err: errors.Join(errFar, err)}:
			case <-ctx.Done():
			}
			return
		}
	}
}

// wholeIn is how many bytes of text lie before a character whose end is still to come.
func wholeIn(b []byte) int {
	for back := 1; back < utf8.UTFMax && back <= len(b); back++ {
		if last := b[len(b)-back:]; utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				return len(b) - back
			}
			break
		}
	}
	return len(b)
}

// The pauses between questions whether a reply that is made elsewhere has ended.
const (
	farFirst = 20 * time.Millisecond
	farMost  = time.Second
)

// farEnd waits until the views have the end of a reply that is not made here, and notes it. With w it keeps that open.
func (s *Server) farEnd(ctx context.Context, src *source, w *events) error {
	var beat <-chan time.Time
	if w != nil {
		beat = w.beat.C
	}
	for pause := farFirst; !s.farEnded(ctx, src); pause = min(2*pause, farMost) {
		select {
		case <-time.After(pause):
		case <-beat:
			if w.comment(keepAlive); w.gone {
				return errGone
			}
		case <-s.Stopping:
			return errStopping
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// farEnded asks the views whether the reply has ended, and closes one whose producer is gone.
func (s *Server) farEnded(ctx context.Context, src *source) bool {
	id := domain.ReplyID(src.ended.ID)
	m, err := s.Read.Reply(ctx, src.who, id)
	if err == nil && m.Status == "running" {
		var at eventlog.Position
		if at, err = s.closeLost(ctx, src.who, m); err == nil && at > 0 {
			s.Progress.Wait(ctx, viewsReader, at)
			m, err = s.Read.Reply(ctx, src.who, id)
		}
	}
	if err != nil || m.Status == "running" {
		if err != nil && !errors.Is(err, domain.ErrNotFound) && ctx.Err() == nil {
			s.Logger.Warn("whether a reply has ended is not known", "reply", id, "error", err)
		}
		return false
	}
	src.ended, src.far = &m, nil
	return true
}
