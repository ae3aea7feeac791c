package commands

import (
	"context"
	"iter"
	"time"

	"prelude/domain"
	"prelude/domain/answer"
	"prelude/domain/receipt"
)

// Route is where requests for a model go.
type Route struct {
	Name         string        // as presets and clients name it: demo, openai/gpt-5
	Target       string        // what answers: demo, or the provider and its own name of the model
	OwnedBy      string        // prelude, or the provider
	WindowTokens int           // input and output together
	Total        time.Duration // the longest that a reply may take
}

// Chunk is a piece of a reply as it arrives. The last ones may carry the finish and the usage without a text.
type Chunk struct {
	Pieces []answer.Piece `json:"pieces,omitempty"` // of what is no text; said before Text
	Text   string         `json:"text,omitempty"`
	Finish string         `json:"-"` // stop, length, tool_calls, content_filter
	Usage  *receipt.Usage `json:"-"`
}

// ModelRequest is a request and what a model may be told about it besides.
type ModelRequest struct {
	receipt.Request
	Preset string // the name of the preset, for the demo
}

// Models is the port to what answers. internal/llm implements it.
type Models interface {
	// Route finds a route by its name; false: there is no such model.
	Route(name string) (Route, bool)
	// Routes lists the routes that have a name of their own.
	Routes() []Route
	// Stream asks a model and gives its reply piece by piece, valid UTF-8 each. It ends by itself at the route's
	// time-outs, or with the context. Its errors are *UpstreamError, or the context's cause. A reply that
	// ends without an error has had a chunk with a Finish.
	Stream(ctx context.Context, route Route, req ModelRequest) iter.Seq2[Chunk, error]
}

// ErrUnknownModel is the refusal of a model that no route has.
var ErrUnknownModel = &domain.Error{Kind: domain.Invalid, Code: "unknown_model",
	Detail: "No route has this name."}

// UpstreamError says how a model failed.
type UpstreamError struct {
	// Code is upstream_timeout, upstream_rate_limited, upstream_error, upstream_garbage, upstream_cut, upstream_refused or
	// context_full.
	Code       string
	Detail     string // one sentence of ours; never the provider's text
	Retryable  bool
	RetryAfter time.Duration // 0: not said
	Status     int           // the HTTP status of the server's refusal; 0: it did not refuse
}

func (e *UpstreamError) Error() string { return e.Code + ": " + e.Detail }
