package api

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5"

	"prelude/domain"
)

// seen is what is known of a request while it is served.
type seen struct {
	id   string
	who  domain.Principal
	code string // of the problem that it was answered with
	away error  // why the event store did not answer it
}

type seenKey struct{}

func requestID(ctx context.Context) string {
	if s, ok := ctx.Value(seenKey{}).(*seen); ok {
		return s.id
	}
	return ""
}

// keyOfRequest is the API key that a request was sent with.
func keyOfRequest(ctx context.Context) domain.APIKeyID {
	if s, ok := ctx.Value(seenKey{}).(*seen); ok {
		return s.who.Key
	}
	return ""
}

// observe gives each request its id, catches panics, and logs one line when the request is over.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sn := &seen{id: saneID(r.Header.Get("X-Request-Id"))}
		w.Header().Set("X-Request-Id", sn.id)
		rec := &recorder{ResponseWriter: w, status: http.StatusOK}
		began := time.Now()
		r = r.WithContext(context.WithValue(r.Context(), seenKey{}, sn))
		defer func() {
			cause := recover()
			if cause != nil && cause != http.ErrAbortHandler { //nolint:errorlint // as net/http does
				s.Logger.Error("a handler panicked", "request_id", sn.id, "cause", cause)
				if !rec.wrote {
					s.write(rec, r, problem(http.StatusInternalServerError, "internal", "Something is wrong on our side."))
				}
			}
			s.line(r, rec, sn, time.Since(began))
		}()
		next.ServeHTTP(rec, r)
	})
}

func (s *Server) line(r *http.Request, rec *recorder, sn *seen, took time.Duration) {
	route := chi.RouteContext(r.Context()).RoutePattern()
	if route == "" {
		route = "none"
	}
	level, attrs := slog.LevelInfo, []slog.Attr{
		slog.String("method", method(r.Method)), slog.String("route", route), slog.Int("status", rec.status),
		slog.Float64("duration_ms", float64(took.Microseconds())/1000), slog.Int64("bytes", rec.bytes),
		slog.String("org", string(sn.who.Org)), slog.String("key", string(sn.who.Key)),
		slog.String("request_id", sn.id)}
	if sn.code != "" {
		attrs = append(attrs, slog.String("code", sn.code))
	}
	if sn.away != nil {
		level, attrs = slog.LevelWarn, append(attrs, slog.Any("error", sn.away))
	}
	s.Logger.LogAttrs(r.Context(), level, "request", attrs...)
}

// method keeps what a client may invent out of the log.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodHead, http.MethodOptions:
		return m
	}
	return "other"
}

// saneID takes a request id that a client sent, if it is short and plain, and else makes one.
func saneID(id string) string {
	if len(id) > 0 && len(id) <= 128 && strings.Trim(id,
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:") == "" {
		return id
	}
	return "req_" + strings.ToLower(rand.Text())
}

// recorder notes the status and size of an answer.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
	wrote  bool
}

// WriteHeader notes the first status.
func (r *recorder) WriteHeader(status int) {
	if !r.wrote {
		r.status, r.wrote = status, true
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	r.wrote = true
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// authenticate tells who sends the request, before anything else is looked at.
func (s *Server) authenticate(ctx huma.Context, next func(huma.Context)) {
	who, err := s.Authn.Authenticate(ctx.Context(), ctx.Header("Authorization"))
	if err != nil {
		s.refuse(ctx, err)
		return
	}
	if sn, ok := ctx.Context().Value(seenKey{}).(*seen); ok {
		sn.who = who
	}
	next(ctx)
}

// refuse writes an error from a middleware of huma.
func (s *Server) refuse(ctx huma.Context, err error) {
	e := s.failed(ctx.Context(), ctx.URL().Path, err)
	if h, ok := e.(huma.HeadersError); ok {
		for name := range h.GetHeaders() {
			ctx.SetHeader(name, h.GetHeaders().Get(name))
		}
	}
	contentType := "application/json"
	if f, ok := e.(huma.ContentTypeFilter); ok {
		contentType = f.ContentType(contentType)
	}
	ctx.SetHeader("Content-Type", contentType)
	ctx.SetStatus(e.GetStatus())
	if err := format.Marshal(ctx.BodyWriter(), e); err != nil {
		s.Logger.Debug("an answer was not taken", "error", err)
	}
}
