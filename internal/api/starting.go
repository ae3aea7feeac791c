package api

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/go-chi/chi/v5"
)

// Starting answers while the server is being built: that the process lives, that it is not ready and why, and to all
// else that the same request is to be sent again.
func Starting(version string, health func(context.Context) Health, logger *slog.Logger) http.Handler {
	s := &Server{Version: version, Health: health, Logger: logger}
	mux := chi.NewMux()
	mux.Use(s.observe)
	s.probes(mux)
	later := func(w http.ResponseWriter, r *http.Request) {
		s.write(w, r, unavailable("The server is starting."))
	}
	mux.NotFound(later)
	mux.MethodNotAllowed(later)
	return mux
}

// probes adds the routes that ask how this instance is.
func (s *Server) probes(mux *chi.Mux) {
	mux.Get("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		s.json(w, http.StatusOK, map[string]string{"status": "ok", "version": s.Version})
	})
	mux.Get("/readyz", s.readyz)
}
