// Package llm asks models: the built-in demo, and any server that speaks OpenAI's chat completions.
// It implements commands.Models. It asks once: whoever calls it decides on retries, fallbacks and
// queues. What a provider says in an error stays here; the reply alone is passed on.
package llm

import (
	"cmp"
	"context"
	"iter"
	"log/slog"
	"strings"
	"time"
	"unicode"

	"prelude/commands"
)

const (
	demoName   = "demo"
	openAI     = "openai/"
	maxName    = 256 // bytes of a model's name
	demoWindow = 8_192
)

// Timeouts bound one reply. Zero means the default.
type Timeouts struct {
	Connect       time.Duration // dial and TLS handshake, each; 5 s
	FirstToken    time.Duration // from the request to the first piece of the reply; 60 s
	BetweenTokens time.Duration // from one piece to the next; 30 s
	Total         time.Duration // the whole reply; 10 min
}

// Config says which models there are.
type Config struct {
	BaseURL      string // of an OpenAI-compatible server, with its /v1; empty: only the demo
	APIKey       string // may be empty: vLLM and Ollama need none
	WindowTokens int    // of the openai/ routes, input and output together; 0: 128,000
	Timeouts     Timeouts
	Logger       *slog.Logger // told about servers that cannot be reached; nil: the default logger
}

// Router knows the routes and asks the models behind them. It implements [commands.Models].
type Router struct {
	limits Timeouts
	window int
	server *server // nil: only the demo
}

var _ commands.Models = (*Router)(nil)

// New returns a Router for cfg. It connects to nothing.
func New(cfg Config) *Router {
	t := cfg.Timeouts
	r := &Router{
		limits: Timeouts{
			Connect:       cmp.Or(t.Connect, 5*time.Second),
			FirstToken:    cmp.Or(t.FirstToken, time.Minute),
			BetweenTokens: cmp.Or(t.BetweenTokens, 30*time.Second),
			Total:         cmp.Or(t.Total, 10*time.Minute),
		},
		window: cmp.Or(cfg.WindowTokens, 128_000),
	}
	if cfg.BaseURL != "" {
		r.server = newServer(cfg, r.limits)
	}
	return r
}

// Route finds a route by its name: demo, or openai/ and any model where there is a server to ask.
// Whether the server has that model shows when it is asked.
func (r *Router) Route(name string) (commands.Route, bool) {
	if name == demoName {
		return r.demo(), true
	}
	model, ok := strings.CutPrefix(name, openAI)
	if !ok || r.server == nil || !nameable(model) {
		return commands.Route{}, false
	}
	return commands.Route{
		Name: name, Target: name, OwnedBy: "openai", WindowTokens: r.window, Total: r.limits.Total,
	}, true
}

// Routes lists the routes that have a name of their own: the demo.
func (r *Router) Routes() []commands.Route { return []commands.Route{r.demo()} }

// Stream asks the model behind route and gives its reply piece by piece. See [commands.Models].
func (r *Router) Stream(
	ctx context.Context, route commands.Route, req commands.ModelRequest,
) iter.Seq2[commands.Chunk, error] {
	limits := r.limits
	limits.Total = cmp.Or(route.Total, limits.Total)
	if model, ok := strings.CutPrefix(route.Target, openAI); ok && r.server != nil {
		return r.server.stream(ctx, limits, model, req)
	}
	if route.Target == demoName {
		return streamDemo(ctx, limits, req)
	}
	return func(yield func(commands.Chunk, error) bool) {
		yield(commands.Chunk{}, broken("No server is set up for this model.", false))
	}
}

// Close closes the connections that no reply is using.
func (r *Router) Close() {
	if r.server != nil {
		r.server.client.CloseIdleConnections()
	}
}

func (r *Router) demo() commands.Route {
	return commands.Route{
		Name: demoName, Target: demoName, OwnedBy: "prelude", WindowTokens: demoWindow,
		Total: r.limits.Total,
	}
}

// nameable reports whether model can be the name of a model: whatever a provider may have come up
// with, but not empty, not endless, not white space or control characters.
func nameable(model string) bool {
	odd := func(c rune) bool {
		return !unicode.IsPrint(c) || c == ' ' || c == unicode.ReplacementChar
	}
	return model != "" && len(model) <= maxName && !strings.ContainsFunc(model, odd)
}
