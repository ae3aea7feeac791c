package api

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"prelude/commands"
	"prelude/domain"
	"prelude/domain/answer"
	"prelude/domain/preset"
	"prelude/domain/receipt"
	"prelude/domain/session"
	"prelude/readmodels"
)

// messageBody is a message, or with the role assistant a reply.
type messageBody struct {
	ID       string  `json:"id"`
	Role     string  `json:"role" enum:"user,assistant"`
	Session  *string `json:"session,omitempty"`
	Message  *string `json:"message,omitempty"`
	Author   *string `json:"author,omitempty"`
	Content  *string `json:"content"`
	Withheld string  `json:"withheld,omitempty" enum:"erased,rights,unstored,deleted"`
	At       Time    `json:"at"`
	Reply    *string `json:"reply,omitempty"`
	*replyPart
}

// replyPart is what only replies have.
type replyPart struct {
	Status     string         `json:"status" enum:"running,completed,failed,cancelled"`
	Parts      []partBody     `json:"parts" nullable:"false" doc:"all that the model said, in order; content is its text alone"`
	TextBytes  int            `json:"text_bytes"`
	Finish     *string        `json:"finish_reason"`
	Error      *replyError    `json:"error"`
	Preset     *usedPreset    `json:"preset"`
	Model      string         `json:"model"`
	Usage      *receipt.Usage `json:"usage"`
	CostMicros int64          `json:"cost_micros"`
	EndedAt    *Time          `json:"ended_at"`
	Stale      bool           `json:"stale,omitempty"`
}

// partBody is one part of what a model said.
type partBody struct {
	Kind  string  `json:"kind" enum:"text,reasoning,refusal,tool_call,image,audio,other"`
	Text  *string `json:"text,omitempty" doc:"of a text, reasoning, a refusal"`
	Value any     `json:"value,omitempty" doc:"of what is no text, as the provider gave it"`
}

func partsOf(text string, parts []answer.Part) []partBody {
	all := answer.Whole(text, parts)
	bodies := make([]partBody, len(all))
	for i, p := range all {
		bodies[i].Kind = string(p.Kind)
		if v := partValue(p); p.Value == nil {
			bodies[i].Text = &all[i].Text
		} else {
			bodies[i].Value = v
		}
	}
	return bodies
}

type replyError struct {
	Code      string `json:"code"`
	Detail    string `json:"detail"`
	Retryable bool   `json:"retryable"`
	upstream  int    // the HTTP status with which the model's server refused; 0: it did not
	after     int    // the seconds after which it wants to be asked again; 0: it did not say
}

type usedPreset struct {
	ID      string `json:"id"`
	Version int    `json:"version"`
	Name    string `json:"name"`
}

func usedOf(p *session.PresetVersion) *usedPreset {
	if p == nil {
		return nil
	}
	return &usedPreset{string(p.ID), p.Version, p.Name}
}

func messageOf(m readmodels.Message) messageBody {
	b := messageBody{ID: m.ID, Role: m.Role, At: Time{m.At}}
	content := m.Text.Text
	b.Content = &content
	if m.Text.Gone {
		b.Content, b.Withheld = nil, erased
	}
	if m.Role == "user" {
		b.Author, b.Reply = text(string(m.Author)), text(string(m.Reply))
		return b
	}
	b.Session, b.Message = text(string(m.Session)), text(string(m.Message))
	b.replyPart = &replyPart{Status: m.Status, Parts: partsOf(m.Text.Text, m.Said), TextBytes: m.Length,
		Finish: text(m.Finish),
		Preset: usedOf(m.Preset), Model: m.Model, Usage: m.Usage, CostMicros: m.Cost,
		EndedAt: timeOf(m.EndedAt)}
	if m.Code != "" {
		b.Error = &replyError{m.Code, m.Detail, m.Retryable, m.Upstream, m.RetryAfter}
	}
	return b
}

// runBody is a reply that this process makes or has just made.
func runBody(r *commands.Run) messageBody {
	content := r.Text()
	b := messageBody{ID: string(r.Reply), Role: "assistant", Session: text(string(r.Session)),
		Message: text(string(r.Message)), Content: &content, At: Time{r.StartedAt},
		replyPart: &replyPart{Status: "running", Parts: partsOf(content, r.Parts()), TextBytes: len(content),
			Preset: usedOf(r.Preset),
			Model:  r.Model}}
	if e, ended := r.Ended(); ended {
		usage := e.Usage
		b.Status, b.Finish, b.Usage, b.CostMicros = e.Status, text(e.Finish), &usage, e.Cost
		b.EndedAt = &Time{e.At}
		if e.Code != "" {
			b.Error = &replyError{e.Code, e.Detail, e.Retryable, e.Upstream, e.RetryAfter}
		}
	}
	return b
}

type listMessagesIn struct {
	Query
	Paging
	ID string `path:"id"`
}

func (s *Server) listMessages(ctx context.Context, in *listMessagesIn) (*listed[messageBody], error) {
	stale, err := s.wait(ctx, in.Query, viewsReader)
	if err != nil {
		return nil, err
	}
	l, err := s.Read.Messages(ctx, in.Who, domain.SessionID(in.ID), in.page(true))
	if err != nil {
		return nil, err
	}
	bodies := make([]messageBody, len(l.Data))
	for i, m := range l.Data {
		bodies[i] = messageOf(m)
	}
	return page(bodies, l.HasMore, l.Next, stale), nil
}

type postMessageIn struct {
	Command
	ID     string `path:"id"`
	Accept string `header:"Accept" doc:"text/event-stream: as it comes; else the answer is whole"`
	Body   struct {
		Content   string        `json:"content" doc:"at most 256 KiB" example:"Hello"`
		Model     string        `json:"model,omitempty"`
		Variables preset.Values `json:"variables,omitempty"`
	}
	RawBody []byte
}

type turnBody struct {
	Message messageBody `json:"message"`
	Reply   messageBody `json:"reply"`
}

// postMessage posts and then streams the reply, or waits for its end.
func (s *Server) postMessage(ctx context.Context, in *postMessageIn) (*streamed, error) {
	posted, err := s.Sessions.Post(ctx, commands.PostMessage{Session: domain.SessionID(in.ID),
		Content: in.Body.Content, Model: in.Body.Model, Variables: in.Body.Variables}, in.meta(in.RawBody))
	if err != nil {
		return nil, err
	}
	out := &streamed{Position: s.noted(in.Who, posted.Position), Replayed: replayed(posted.Replayed)}
	src, err := s.source(ctx, in.Who, posted.Reply)
	if err != nil {
		return nil, err
	}
	if wantsStream(in.Accept) {
		out.Body = s.follow(src, fromStart)
		return out, nil
	}
	if err := s.over(ctx, src); err != nil {
		return nil, err
	}
	body, err := s.turn(ctx, in, posted, src)
	if err != nil {
		return nil, err
	}
	out.Position = s.noted(in.Who, src.endedAt())
	out.Location = "/v1/replies/" + string(posted.Reply)
	out.Body = func(hc huma.Context) {
		hc.SetHeader("Content-Type", "application/json")
		hc.SetStatus(http.StatusCreated)
		if err := format.Marshal(hc.BodyWriter(), body); err != nil {
			s.Logger.Debug("an answer was not taken", "error", err)
		}
	}
	return out, nil
}

// turn is the answer of a turn that is over.
func (s *Server) turn(ctx context.Context, in *postMessageIn, posted commands.Posted, src source,
) (turnBody, error) {
	if l, here := src.(local); here && !posted.Replayed {
		return turnBody{Reply: src.body(), Message: messageBody{ID: string(posted.Message), Role: "user",
			Author: text(string(in.Who.User)), Content: &in.Body.Content, At: Time{l.run.StartedAt},
			Reply: text(string(posted.Reply))}}, nil
	}
	m, err := s.Read.Message(ctx, in.Who, posted.Message)
	if errors.Is(err, domain.ErrNotFound) {
		s.reachEnd(ctx, viewsReader, waitAsked) // a repeat may be faster than the view
		m, err = s.Read.Message(ctx, in.Who, posted.Message)
	}
	if errors.Is(err, domain.ErrNotFound) {
		return turnBody{}, unavailable("The view has not the message yet.")
	}
	if err != nil {
		return turnBody{}, err
	}
	return turnBody{Message: messageOf(m), Reply: src.body()}, nil
}

func wantsStream(accept string) bool { return strings.Contains(accept, "text/event-stream") }

type previewIn struct {
	Query
	ID string `path:"id"`
}

func (s *Server) previewContext(ctx context.Context, in *previewIn) (*bodyOnly[receiptBody], error) {
	p, err := s.Sessions.Preview(ctx, in.Who, domain.SessionID(in.ID))
	if err != nil {
		return nil, err
	}
	return &bodyOnly[receiptBody]{previewOf(p)}, nil
}
