package api

import (
	"context"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"prelude/domain/answer"
	"prelude/domain/receipt"
	"prelude/internal/eventlog"
)

// streamed answers with a body that is written as it comes.
type streamed struct {
	Location string `header:"Location"`
	Position string `header:"Prelude-Position"`
	Replayed string `header:"Idempotency-Replayed"`
	Body     func(huma.Context)
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
	partData struct {
		Kind  string `json:"kind" enum:"reasoning,refusal,tool_call,image,audio,other"`
		Value any    `json:"value"`
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

// place is where in a reply somebody is: after so many bytes of text, and so many parts that are none; -1 parts: all
// that were said before the text there.
type place struct{ bytes, parts int }

// fromStart follows a reply with the event of its start; 0 bytes are after that.
var fromStart = place{-1, 0}

// follow writes a reply's events after a place, to its end. Who reads may leave: the reply goes on. Whose key is
// revoked has to.
func (s *Server) follow(src source, from place) func(huma.Context) {
	return func(hc huma.Context) {
		w := s.eventStream(hc)
		defer w.close()
		ctx, done := s.Authn.While(hc.Context(), keyOfRequest(hc.Context()))
		defer done()
		if from == fromStart {
			b := src.body()
			w.send(offsetID(b.ID, 0), "reply.started", startedData{b.Session, b.Message, b.ID, b.Preset, b.Model,
				s.token(src.position())})
		}
		f := follower{w: w, id: src.id(), at: max(from.bytes, 0), from: from}
		if f.follow(ctx, src) {
			s.sendEnd(w, src.body(), src.endedAt())
		}
	}
}

func offsetID(reply string, offset int) string { return reply + ":" + strconv.Itoa(offset) }

func partID(reply string, offset, parts int) string {
	return offsetID(reply, offset) + "." + strconv.Itoa(parts)
}

// follower writes what a reply says as it is said: text at once, each part that is none when nothing more can come of
// it.
type follower struct {
	w     *events
	id    string
	at    int // bytes of text that were written, or are not wanted
	from  place
	draft answer.Draft
	seen  int // pieces
	parts int // that were written, or are not wanted
}

// follow writes all to the end; false: nobody listens any more, or nobody knows more.
func (f *follower) follow(ctx context.Context, src source) bool {
	for !f.w.gone {
		p, err := src.next(ctx, f.w, f.at, f.seen)
		if err != nil || f.w.gone {
			return false
		}
		for _, piece := range p.Pieces {
			if piece.At > f.at {
				p.Text = f.text(p.Text, piece.At)
			}
			f.draft.Add(piece)
			f.seen++
			f.said(false)
		}
		ends := p.End != nil && len(p.Text) == 0 && len(p.Pieces) == 0
		f.text(p.Text, f.at+len(p.Text))
		if ends {
			f.said(true)
			return !f.w.gone
		}
	}
	return false
}

// text writes as much of a text as leads to a place in the whole, and gives the rest. Where there was no text yet
// when it was asked for, the place to begin may lie inside a character.
func (f *follower) text(text []byte, to int) (rest []byte) {
	n := min(to-f.at, len(text))
	if n <= 0 {
		return text
	}
	if f.seen > 0 {
		f.saidBefore(f.at + n)
	}
	f.at += n
	if whole := characters(text[:n]); len(whole) > 0 {
		f.w.delta(offsetID(f.id, f.at), whole)
	}
	return text[n:]
}

func (f *follower) saidBefore(textBytes int) { f.write(f.draft.Said(textBytes, false)) }

// said writes the parts to which nothing can be added.
func (f *follower) said(ended bool) { f.write(f.draft.Said(f.at, ended)) }

func (f *follower) write(parts []answer.Part) {
	for ; f.parts < len(parts); f.parts++ {
		p := parts[f.parts]
		if f.from.parts >= 0 && f.parts < f.from.parts || f.from.parts < 0 && p.At < f.from.bytes {
			continue
		}
		f.w.send(partID(f.id, f.at, f.parts+1), "reply.part", partData{string(p.Kind), partValue(p)})
	}
}

// partValue is what a part is, to a client: its text, or its value.
func partValue(p answer.Part) any {
	switch {
	case p.Value == nil:
		return p.Text
	case p.Kind == answer.Other:
		return map[string]any{p.Name: p.Value}
	}
	return p.Value
}

// characters is text from the first beginning of a character on.
func characters(text []byte) []byte {
	for len(text) > 0 && !utf8.RuneStart(text[0]) {
		text = text[1:]
	}
	return text
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
func startAt(src source, last string, after *int) (place, error) {
	from, field := fromStart, "query.starting_after"
	switch {
	case last != "":
		field = "header.Last-Event-ID"
		reply, offset, _ := strings.Cut(last, ":")
		offset, parts, counted := strings.Cut(offset, ".")
		n, err := strconv.ParseUint(offset, 10, 31)
		k, partsErr := strconv.ParseUint(parts, 10, 31)
		if err != nil || counted && partsErr != nil {
			return from, bad("header.Last-Event-ID", "offset", "must be the id of an event of this stream")
		}
		if reply != src.id() {
			return from, bad("header.Last-Event-ID", "reply", "is of another reply")
		}
		if from = (place{int(n), -1}); counted {
			from.parts = int(k)
		}
	case after != nil:
		from = place{*after, -1}
	}
	if all := src.text(); from.bytes > 0 && from.bytes < len(all) && !utf8.RuneStart(all[from.bytes]) {
		return from, bad(field, "character", "lies inside a character")
	}
	return from, nil
}
