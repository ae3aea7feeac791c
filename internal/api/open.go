package api

import (
	"encoding/json"
	"net/http"

	"github.com/go-chi/chi/v5"

	"prelude/internal/api/docs"
)

// open adds the routes that need no key.
func (s *Server) open(mux *chi.Mux) {
	s.probes(mux)
	mux.Get("/openapi.json", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		if _, err := w.Write(s.Document()); err != nil {
			s.Logger.Debug("an answer was not taken", "error", err)
		}
	})
	mux.Handle("/docs/errors", docs.Errors(codes))
	mux.Handle("/docs", docs.Handler("/openapi.json"))
	mux.Handle("/docs/*", docs.Handler("/openapi.json"))
}

func (s *Server) json(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.Logger.Debug("an answer was not taken", "error", err)
	}
}

// Document is the OpenAPI 3.1 document.
func (s *Server) Document() []byte {
	if s.document == nil {
		panic("the document is asked for before the routes are built") // a mistake of the wiring
	}
	return s.document
}

// codes are all codes of errors, for the documents.
var codes = []docs.Code{
	{Code: "context_length_exceeded", Status: 400, Meaning: "It does not fit the model's window (OpenAI routes)."},
	{Code: "malformed", Status: 400, Meaning: "The body is missing, or is not JSON in UTF-8."},
	{Code: "unauthenticated", Status: 401, Meaning: "There is no valid API key."},
	{Code: "forbidden", Status: 403, Meaning: "Your role does not allow it; policy names the rule."},
	{Code: "not_found", Status: 404, Meaning: "There is no such thing, or it is not yours to see."},
	{Code: "model_not_found", Status: 404, Meaning: "No model or preset of yours has this name (OpenAI routes)."},
	{Code: "method_not_allowed", Status: 405, Meaning: "The route does not take this method."},
	{Code: "timeout", Status: 408, Meaning: "The body did not arrive in time."},
	{Code: "cancelled", Status: 409, Meaning: "The reply was cancelled (OpenAI routes)."},
	{Code: "conflict", Status: 409, Meaning: "Others were changing the thing at this moment."},
	{Code: "content_changed", Status: 409, Meaning: "The draft is not the one whose content_hash was sent."},
	{Code: "deleted", Status: 409, Meaning: "The thing is deleted: restore it first."},
	{Code: "erased", Status: 409, Meaning: "The texts were erased: nothing can be added."},
	{Code: "reply_under_way", Status: 409, Meaning: "A reply is under way; ref is its id."},
	{Code: "secret_shown_once", Status: 409, Meaning: "The API key was issued before and shown then."},
	{Code: "still_parked", Status: 409, Meaning: "The stream still cannot be applied; detail says why."},
	{Code: "slug_taken", Status: 409, Meaning: "Another one has this name."},
	{Code: "precondition_failed", Status: 412, Meaning: "It has changed since; ETag is what it is now."},
	{Code: "too_large", Status: 413, Meaning: "The body is larger than the route takes."},
	{Code: "unsupported_media_type", Status: 415, Meaning: "The body must be application/json."},
	{Code: "context_full", Status: 422, Meaning: "It does not fit the model's window; detail has the numbers."},
	{Code: "idempotency_key_reused", Status: 422, Meaning: "The Idempotency-Key was sent with another body."},
	{Code: "invalid", Status: 422, Meaning: "A field breaks a rule; errors names each."},
	{Code: "not_published", Status: 422, Meaning: "The preset has no version yet."},
	{Code: "preset_locked", Status: 422, Meaning: "The preset takes no system messages besides its own."},
	{Code: "required", Status: 422, Meaning: "A field must not be empty."},
	{Code: "selector_not_allowed", Status: 422, Meaning: "A name in a path has no selector."},
	{Code: "undeclared_variable", Status: 422, Meaning: "A variable was sent that the preset does not declare."},
	{Code: "unknown_model", Status: 422, Meaning: "No route has this name."},
	{Code: "unknown_preset", Status: 422, Meaning: "The preset that the body names is not there, or not yours to use."},
	{Code: "unknown_user", Status: 422, Meaning: "The org has no such user."},
	{Code: "unknown_version", Status: 422, Meaning: "The preset has no such version."},
	{Code: "unsupported_parameter", Status: 422, Meaning: "The parameter is not supported (OpenAI routes)."},
	{Code: "precondition_required", Status: 428, Meaning: "Send the ETag that you read in If-Match."},
	{Code: "upstream_refused", Status: 424, Meaning: "The model's server refused the request; 400 or 422 where " +
		"the request is why."},
	{Code: "internal", Status: 500, Meaning: "Something is wrong on our side; instance finds it in the log."},
	{Code: "upstream_error", Status: 502, Meaning: "The model's server failed."},
	{Code: "upstream_garbage", Status: 502, Meaning: "The model's server answered what cannot be read."},
	{Code: "upstream_cut", Status: 502, Meaning: "The model's answer was cut off."},
	{Code: "interrupted", Status: 503, Meaning: "The server was stopped while the reply was made."},
	{Code: "lost", Status: 503, Meaning: "The server ended while the reply was made."},
	{Code: "unavailable", Status: 503, Meaning: "A part of the server is away; retry_after says when to ask again."},
	{Code: "upstream_rate_limited", Status: 503, Meaning: "The model's server takes no more requests now."},
	{Code: "upstream_timeout", Status: 504, Meaning: "The model's server took too long."},
}
