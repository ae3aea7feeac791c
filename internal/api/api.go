// Package api is the HTTP surface: it reads requests, gives commands and asks questions, and writes answers.
// It decides nothing: who may and what is consistent is decided where the state is.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"
	"github.com/maypok86/otter/v2"

	"prelude/commands"
	"prelude/domain"
	"prelude/internal/authn"
	"prelude/internal/eventlog"
	"prelude/readmodels"
)

// Progress is the port to how far the readers have come.
type Progress interface {
	// At is how far a reader has come.
	At(reader string) eventlog.Position
	// Wait waits until a reader has reached a position; false: the context ended first.
	Wait(ctx context.Context, reader string, want eventlog.Position) bool
}

// The readers that answers wait for.
const (
	rightsReader = "rights"
	viewsReader  = "views"
	indexReader  = "index"
)

// Server serves the HTTP surface.
type Server struct {
	Presets  commands.Presets
	Sessions commands.Sessions
	Users    commands.Users
	APIKeys  commands.APIKeys
	Vault    commands.Eraser
	Read     *readmodels.Reader
	Authn    *authn.Authenticator
	Progress Progress
	Relay    *Relay
	Readers  Readers
	Log      *eventlog.Log
	LogID    string
	Version  string
	Health   func(ctx context.Context) Health // how this instance is; it answers within 0.1 s
	Stopping <-chan struct{}                  // closed when streams are to end
	Logger   *slog.Logger
	last     *otter.Cache[domain.UserID, eventlog.Position]
	api      huma.API
	document []byte
}

// Handler builds the routes.
func (s *Server) Handler() http.Handler {
	s.last = otter.Must(&otter.Options[domain.UserID, eventlog.Position]{MaximumSize: 10_000,
		ExpiryCalculator: otter.ExpiryWriting[domain.UserID, eventlog.Position](time.Minute)})
	mux := chi.NewMux()
	mux.Use(s.observe, wholeModel)
	mux.NotFound(func(w http.ResponseWriter, r *http.Request) {
		s.write(w, r, problem(http.StatusNotFound, "not_found", "There is no such route."))
	})
	mux.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", allowed(mux, r))
		s.write(w, r, problem(http.StatusMethodNotAllowed, "method_not_allowed",
			"This route does not take this method."))
	})
	s.api = humachi.New(mux, config())
	s.routes()
	s.open(mux)
	s.internal(mux)
	return mux
}

// allowed lists the methods that a path takes.
func allowed(mux *chi.Mux, r *http.Request) string {
	path := r.URL.RawPath
	if path == "" {
		path = r.URL.Path
	}
	var all []string
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		if mux.Match(chi.NewRouteContext(), m, path) {
			all = append(all, m)
		}
	}
	return strings.Join(all, ", ")
}

func config() huma.Config {
	c := huma.DefaultConfig("Prelude", "1")
	c.CreateHooks = nil // no $schema in bodies
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = "", "", ""
	c.Formats = map[string]huma.Format{"application/json": format, "json": format}
	c.NoFormatFallback = false
	c.RejectUnknownQueryParameters = true
	c.Info.Description = "A chat backend whose unit of reuse is the preset: a named, versioned system prompt."
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"key": {Type: "http", Scheme: "bearer", Description: "An API key."}}
	c.Security = []map[string][]string{{"key": {}}}
	return c
}

func init() {
	// huma's own errors would repeat what was sent. Both are globals of huma.
	huma.NewErrorWithContext = func(ctx huma.Context, status int, msg string, errs ...error) huma.StatusError {
		p := humaProblem(status, msg, errs...)
		for name := range p.headers {
			ctx.SetHeader(name, p.headers.Get(name))
		}
		return enveloped(ctx.Context(), ctx.URL().Path, p)
	}
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		return humaProblem(status, msg, errs...)
	}
	huma.ValidateStrictCasing = true
}

// enveloped is a problem in the envelope of the route it is for.
func enveloped(ctx context.Context, path string, p *Problem) huma.StatusError {
	c := *p
	if s, ok := ctx.Value(seenKey{}).(*seen); ok {
		c.Instance = s.id
	}
	if openAIPath(path) {
		return toOpenAI(&c)
	}
	return &c
}

// write answers outside of huma.
func (s *Server) write(w http.ResponseWriter, r *http.Request, p *Problem) {
	e := enveloped(r.Context(), r.URL.Path, p)
	for name, values := range p.headers {
		w.Header()[name] = values
	}
	contentType := "application/json"
	if f, ok := e.(huma.ContentTypeFilter); ok {
		contentType = f.ContentType(contentType)
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(p.Status)
	if err := json.NewEncoder(w).Encode(e); err != nil {
		s.Logger.Debug("an answer was not taken", "error", err)
	}
}

// failed turns a handler's error into the answer, and logs a fault once. That the event store is away is logged once
// for all requests, where it is noticed: each has it on its own line alone.
func (s *Server) failed(ctx context.Context, path string, err error) huma.StatusError {
	p, fault := toProblem(err)
	sn, _ := ctx.Value(seenKey{}).(*seen)
	if sn != nil {
		sn.code = p.Code
	}
	switch {
	case !fault || ctx.Err() != nil: // where the client has left, that is no fault of ours
	case sn != nil && (errors.Is(err, eventlog.ErrUnavailable) || errors.Is(err, eventlog.ErrChanged)):
		sn.away = err
	default:
		s.Logger.Error("a request failed", "request_id", requestID(ctx), "error", err)
	}
	return enveloped(ctx, path, p)
}
