package api

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"prelude/commands"
	"prelude/domain"
	"prelude/domain/session"
)

type chatIn struct {
	Command
	Session string `header:"Prelude-Session" doc:"ses_…: post the last user message there, as a turn"`
	RawBody []byte `contentType:"application/json"`
}

// chatOut is the answer of a completion. Its body is written by hand: a stream, or whole.
type chatOut struct {
	Session  string `header:"Prelude-Session"`
	Reply    string `header:"Prelude-Reply"`
	Preset   string `header:"Prelude-Preset"`
	Replayed string `header:"Idempotency-Replayed"`
	Position string `header:"Prelude-Position"`
	Body     func(huma.Context)
}

// completeChat answers an OpenAI client. Hanging up does not stop the reply.
func (s *Server) completeChat(ctx context.Context, in *chatIn) (*chatOut, error) {
	r, err := readChat(in.RawBody)
	if err != nil {
		return nil, err
	}
	out := &chatOut{Session: in.Session}
	reply, err := s.beginChat(ctx, in, r, out)
	if err != nil {
		return nil, err
	}
	src, err := s.source(ctx, in.Who, reply)
	if err != nil {
		return nil, err
	}
	c := chat{s: s, src: src, r: r}
	if in.Session != "" {
		c.r.Model = answered(src.body())
	}
	if p := src.body().Preset; p != nil {
		out.Preset = p.ID + "@v" + strconv.Itoa(p.Version)
	}
	out.Reply = string(reply)
	// The header is held until there is something to say, so that a model that fails at once is a status.
	first, err := c.first(ctx)
	if err != nil {
		return nil, err
	}
	if r.Stream {
		out.Body = func(hc huma.Context) { c.stream(hc, first) }
		return out, nil
	}
	return out, c.whole(ctx, out)
}

// beginChat starts the reply: of a session, or by itself.
func (s *Server) beginChat(ctx context.Context, in *chatIn, r chatRequest, out *chatOut,
) (domain.ReplyID, error) {
	if in.Session != "" {
		return s.postChat(ctx, in, r, out)
	}
	cmd, err := r.command()
	if err != nil {
		return "", err
	}
	done, err := s.Sessions.Complete(ctx, cmd, in.meta(in.RawBody))
	out.Position, out.Replayed = s.noted(in.Who, done.Position), replayed(done.Replayed)
	return done.Reply, modelNotFound(err)
}

// postChat posts the last message of the user's into a session. What the session says answers, with its settings,
// whatever model the client had to name; the answer names it.
func (s *Server) postChat(ctx context.Context, in *chatIn, r chatRequest, out *chatOut,
) (domain.ReplyID, error) {
	content, err := r.lastUser()
	if err != nil {
		return "", err
	}
	if _, _, err := r.settings(); err != nil {
		return "", err
	}
	if v := r.Rest["tools"]; present(v) && string(v) != "[]" {
		return "", unsupported("tools")
	}
	cmd := commands.PostMessage{Session: domain.SessionID(in.Session), Content: content}
	if r.Preset != nil {
		cmd.Variables = r.Preset.Variables
	}
	posted, err := s.Sessions.Post(ctx, cmd, in.meta(in.RawBody))
	out.Position, out.Replayed = s.noted(in.Who, posted.Position), replayed(posted.Replayed)
	return posted.Reply, err
}

// answered names what answers: in a session that is not what the client asked for.
func answered(b messageBody) string {
	if b.Preset == nil {
		return b.Model
	}
	return presetPrefix + b.Preset.Name + "@v" + strconv.Itoa(b.Preset.Version)
}

// chat is a reply on its way to an OpenAI client.
type chat struct {
	s   *Server
	src source
	r   chatRequest
}

// first waits for the first text, or the end. A reply that failed before is an error of its own status.
func (c chat) first(ctx context.Context) (commands.Progress, error) {
	ctx, cancel := c.s.within(ctx, c.src)
	defer cancel()
	p, err := c.src.next(ctx, nil, 0, 0)
	if err == nil && p.End != nil {
		err = upstreamProblem(c.src.body(), len(p.Text)+len(p.Pieces) > 0 && c.r.Stream)
	}
	return p, err
}

// upstreamProblem is the status of a reply that did not complete; shown says that a part of it can be sent still.
func upstreamProblem(b messageBody, shown bool) error {
	if shown || b.Status == "completed" || b.Status == "running" {
		return nil
	}
	if b.Error == nil {
		return problem(http.StatusConflict, "cancelled", "The reply was cancelled.")
	}
	p := problem(upstreamStatus(b.Error), b.Error.Code, b.Error.Detail)
	if !b.Error.Retryable {
		p.headers.Set("X-Should-Retry", "false")
	}
	wait := b.Error.after
	switch {
	case p.Status >= http.StatusInternalServerError:
		// Some clients repeat without asking, and at once where nothing is said.
		if wait <= 0 || wait > mostRetryAfter {
			wait = retryUnavailable
		}
		p.RetryAfter = wait
		p.headers.Set("Retry-After", strconv.Itoa(wait))
	case p.Status == http.StatusTooManyRequests && wait > 0 && b.EndedAt != nil:
		p.ResetsAt = &Time{b.EndedAt.Add(time.Duration(wait) * time.Second)}
	}
	return p
}

// mostRetryAfter is how long, in seconds, a client is told to wait: some would sleep for hours.
const mostRetryAfter = 60

// upstreamStatus is the status that tells of a failure. What no repeat mends has one that no client repeats.
func upstreamStatus(e *replyError) int {
	switch e.Code {
	case "upstream_timeout":
		return http.StatusGatewayTimeout
	case "upstream_rate_limited":
		if !e.Retryable && e.upstream != 0 {
			return http.StatusTooManyRequests
		}
		return http.StatusServiceUnavailable
	case "interrupted", "lost":
		return http.StatusServiceUnavailable
	case "context_full":
		return http.StatusUnprocessableEntity // in OpenAI's envelope it is another
	case "upstream_refused":
		switch e.upstream {
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
			return http.StatusBadRequest
		case http.StatusUnprocessableEntity:
			return http.StatusUnprocessableEntity
		}
		return http.StatusFailedDependency // the operator's matter
	case "upstream_error":
		if e.upstream == http.StatusServiceUnavailable {
			return http.StatusServiceUnavailable
		}
	}
	return http.StatusBadGateway
}

// head is what every answer and chunk carries.
func (c chat) head(object string) map[string]any {
	b := c.src.body()
	return map[string]any{"id": "chatcmpl-" + b.ID, "object": object, "created": b.At.Unix(),
		"model": c.r.Model, "system_fingerprint": fingerprint(c.src.preset(), b.Model)}
}

// fingerprint names what answers: the preset's content and the model.
func fingerprint(p *session.PresetVersion, model string) string {
	if p == nil {
		return "prelude-" + strings.ReplaceAll(model, "/", "-")
	}
	return "prelude-" + p.Hash.ETag()[:12]
}

// whole answers when the reply is over.
func (c chat) whole(ctx context.Context, out *chatOut) error {
	if err := c.s.over(ctx, c.src); err != nil {
		return err
	}
	b := c.src.body()
	if err := upstreamProblem(b, false); err != nil {
		return err
	}
	answer := c.head("chat.completion")
	out.Position = c.s.token(c.src.endedAt())
	message, choice, beside := openAIMessage(c.src.text(), c.src.parts())
	maps.Copy(answer, beside)
	maps.Copy(choice, map[string]any{"index": 0, "message": message, "finish_reason": b.Finish})
	if _, said := choice["logprobs"]; !said {
		choice["logprobs"] = nil
	}
	if b.Content == nil {
		message["content"] = nil // it was erased
	}
	answer["choices"], answer["usage"] = []any{choice}, usageOpenAI(b)
	out.Body = func(hc huma.Context) {
		hc.SetHeader("Content-Type", "application/json")
		hc.SetStatus(http.StatusOK)
		if err := format.Marshal(hc.BodyWriter(), answer); err != nil {
			c.s.Logger.Debug("an answer was not taken", "error", err)
		}
	}
	return nil
}

// usageOpenAI is a reply's usage, with the provider's other numbers as it gave them.
func usageOpenAI(b messageBody) map[string]any {
	if b.Usage == nil {
		return nil
	}
	all := map[string]any{}
	var details map[string]json.RawMessage
	if json.Unmarshal(b.Usage.Details, &details) == nil { // none: nothing was given
		for name, v := range details {
			all[name] = v
		}
	}
	all["prompt_tokens"], all["completion_tokens"] = b.Usage.InputTokens, b.Usage.OutputTokens
	all["total_tokens"] = b.Usage.InputTokens + b.Usage.OutputTokens
	return all
}

const chatBodyBytes = 8 << 20
