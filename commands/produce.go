package commands

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"prelude/domain"
	"prelude/domain/answer"
	"prelude/domain/receipt"
	"prelude/domain/session"
)

func newCommand() uuid.UUID { return uuid.New() }

// produce makes a reply in the background: it asks the model, gathers the text, and records the end.
func (h Sessions) produce(r *Run, t turn, end ender) {
	h.Hub.start(r, func(ctx context.Context, r *Run) (Ending, error) {
		e := h.converse(ctx, r, t)
		e.Reply = r.Reply
		return h.Hub.record(r, e, h.Now(), end)
	})
}

// converse asks the model and follows it to the end, whichever that is.
func (h Sessions) converse(ctx context.Context, r *Run, t turn) session.End {
	req := ModelRequest{Request: t.assembly.Request}
	if t.preset != nil {
		req.Preset = t.preset.Name
	}
	var e session.End
	var used *receipt.Usage
	left, spoken := room{bytes: session.MaxReply}, 0
	for chunk, err := range h.Models.Stream(ctx, t.route, req) {
		if err != nil {
			e = failure(ctx, err)
			break
		}
		if chunk.Usage != nil {
			used = chunk.Usage
		}
		if chunk.Finish != "" {
			e.Finish = chunk.Finish
		}
		if chunk.Text == "" && chunk.Pieces == nil {
			continue
		}
		said, whole := left.take(chunk)
		spoken += said.size()
		if r.Add(said); !whole {
			e.Finish = "length"
			break
		}
	}
	e.Text, e.Parts = r.Text(), answer.Encode(r.Parts())
	e.Usage = usage(used, t, spoken)
	return e
}

// room is what there is still for a reply: all that is said is one event.
type room struct {
	bytes int
	parts int // that have begun
}

// take is as much of a chunk as there is room for.
func (r *room) take(c Chunk) (said Chunk, whole bool) {
	for i, p := range c.Pieces {
		n := p.Size(p.Part >= r.parts)
		if n > r.bytes {
			c.Pieces, c.Text = c.Pieces[:i], ""
			return c, false
		}
		r.bytes -= n
		r.parts = max(r.parts, p.Part+1)
	}
	whole = len(c.Text) <= r.bytes
	c.Text = session.Cut(c.Text, r.bytes)
	r.bytes -= len(c.Text)
	return c, whole
}

// size is how many bytes a model has said.
func (c Chunk) size() int {
	n := len(c.Text)
	for _, p := range c.Pieces {
		n += len(p.Text) + len(p.Value)
	}
	return n
}

// usage is what the provider counted, else an estimate.
func usage(said *receipt.Usage, t turn, bytes int) receipt.Usage {
	if said != nil {
		return *said
	}
	return receipt.Usage{InputTokens: t.assembly.Window.Used, OutputTokens: receipt.Tokens(bytes)}
}

// failure is how a reply ends that ends early.
func failure(ctx context.Context, err error) session.End {
	var by cancelledBy
	if cause := context.Cause(ctx); errors.As(cause, &by) {
		return session.End{Cancelled: true, By: by.user}
	} else if errors.Is(cause, errShutdown) {
		return session.End{Code: "interrupted", Retryable: true,
			Detail: "The process that made the reply was stopped."}
	}
	var up *UpstreamError
	if errors.As(err, &up) {
		return session.End{Code: up.Code, Detail: up.Detail, Upstream: up.Status,
			Retryable:  up.Retryable || passing(up.Code) && up.Status == 0,
			RetryAfter: int((up.RetryAfter + time.Second - 1) / time.Second)}
	}
	return session.End{Code: "upstream_error", Detail: "The model could not be asked.", Retryable: true}
}

// passing says that a failure may not come again: a person may ask once more, even where a part of the reply
// was there already and the model must not be asked again by itself.
func passing(code string) bool {
	return code == "upstream_cut" || code == "upstream_timeout" || code == "upstream_rate_limited"
}

// Ended tells the hub that a reply's end was recorded, perhaps by another: its producer stops. The live
// subscription calls it.
func (h *Hub) Ended(reply domain.ReplyID) {
	if r := h.Find(reply); r != nil {
		if _, ended := r.Ended(); !ended {
			r.cancel(cancelledBy{})
		}
	}
}
