package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"prelude/commands"
	"prelude/domain"
	"prelude/internal/authn"
	"prelude/internal/eventlog"
	"prelude/readmodels"
)

// Problem is an error answer: RFC 9457.
type Problem struct {
	Type       string         `json:"type" example:"/docs/errors#slug_taken"`
	Title      string         `json:"title" example:"Conflict"`
	Status     int            `json:"status" example:"409"`
	Detail     string         `json:"detail" example:"Another one has this name."`
	Instance   string         `json:"instance" doc:"the request's id" example:"req_7x"`
	Code       string         `json:"code" example:"slug_taken"`
	Errors     []ProblemField `json:"errors,omitempty"`
	Policy     string         `json:"policy,omitempty" doc:"the rule that refused"`
	RetryAfter int            `json:"retry_after,omitempty" doc:"seconds"`
	ResetsAt   *Time          `json:"resets_at,omitempty" doc:"when a repeat may succeed, where that is long from now"`
	Ref        string         `json:"ref,omitempty" doc:"the id of what is in the way"`
	headers    http.Header
}

// ProblemField is one fault of a request.
type ProblemField struct {
	Field  string `json:"field" example:"settings.temperature"`
	Code   string `json:"code" example:"range"`
	Detail string `json:"detail" example:"must be 0 to 2"`
}

func (p *Problem) Error() string { return p.Code }

// GetStatus is the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders are sent with the answer.
func (p *Problem) GetHeaders() http.Header { return p.headers }

// ContentType is that of problem documents.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

func problem(status int, code, detail string) *Problem {
	p := &Problem{Type: "/docs/errors#" + code, Title: http.StatusText(status), Status: status,
		Code: code, Detail: detail, headers: http.Header{}}
	if status < http.StatusInternalServerError && status != http.StatusRequestTimeout {
		// The SDKs of OpenAI repeat a 409 otherwise.
		p.headers.Set("X-Should-Retry", "false")
	}
	return p
}

// statuses are the statuses of refusals.
var statuses = map[domain.Kind]int{
	domain.Invalid: http.StatusUnprocessableEntity, domain.NotFound: http.StatusNotFound,
	domain.Forbidden: http.StatusForbidden, domain.Conflict: http.StatusConflict,
	domain.Stale: http.StatusPreconditionFailed, domain.Required: http.StatusPreconditionRequired,
	domain.TooLarge: http.StatusRequestEntityTooLarge,
}

const retryUnavailable = 2 // seconds

// toProblem turns an error into the answer: it is the only place that does. A fault shows nothing of its cause;
// whoever calls logs it.
func toProblem(err error) (p *Problem, fault bool) {
	var refusal *domain.Error
	var given *Problem
	switch {
	case errors.As(err, &given):
		return given, false
	case errors.As(err, &refusal):
		return refused(refusal), false
	case errors.Is(err, authn.ErrUnauthenticated):
		p = problem(http.StatusUnauthorized, "unauthenticated", "A valid API key is needed: Authorization: Bearer …")
		p.headers.Set("WWW-Authenticate", "Bearer")
		return p, false
	case errors.Is(err, authn.ErrBehind):
		return unavailable("Whether the API key is valid is not known yet."), false
	case errors.Is(err, commands.ErrUnrecorded):
		return unavailable("The reply's end is not recorded yet: the event store does not answer. The reply is kept; " +
			"a repeat with the same Idempotency-Key gives it."), true
	case errors.Is(err, errStopping):
		return unavailable("The server is stopping."), false
	case errors.Is(err, eventlog.ErrChanged):
		return unavailable("What was asked for changed while it was read."), true
	case errors.Is(err, eventlog.ErrUnavailable):
		return unavailable("The event store does not answer; nothing was lost, and nothing was acknowledged."), true
	case errors.Is(err, context.DeadlineExceeded):
		return unavailable("It took too long."), true
	}
	if readmodels.Down(err) {
		return unavailable("The database does not answer."), true
	}
	return problem(http.StatusInternalServerError, "internal", "Something is wrong on our side."), true
}

func unavailable(detail string) *Problem {
	p := problem(http.StatusServiceUnavailable, "unavailable", detail)
	p.RetryAfter = retryUnavailable
	p.headers.Set("Retry-After", strconv.Itoa(retryUnavailable))
	return p
}

func refused(e *domain.Error) *Problem {
	p := problem(statuses[e.Kind], e.Code, e.Detail)
	p.Policy, p.Ref = e.Rule, e.Ref
	for _, f := range e.Fields {
		p.Errors = append(p.Errors, ProblemField{Field: f.Name, Code: f.Code, Detail: f.Detail})
	}
	if errors.Is(e, commands.ErrMoved) {
		p.headers.Del("X-Should-Retry") // a repeat may succeed
	}
	if e.ETag != "" {
		p.headers.Set("ETag", `"`+e.ETag+`"`)
	}
	return p
}

// humaProblem makes the answer for what huma itself refuses: parameters and bodies.
func humaProblem(status int, msg string, errs ...error) *Problem {
	switch status {
	case http.StatusRequestEntityTooLarge:
		return problem(status, "too_large", "The body is larger than this route takes.")
	case http.StatusUnsupportedMediaType:
		return unsupportedMedia()
	case http.StatusNotAcceptable:
		return problem(status, "not_acceptable", "Answers are JSON.")
	case http.StatusBadRequest:
		return problem(status, malformed, "The body is missing or is not JSON in UTF-8.")
	case http.StatusRequestTimeout:
		return problem(status, "timeout", "The body did not arrive in time.")
	case http.StatusInternalServerError:
		return problem(status, "internal", "Something is wrong on our side.")
	}
	p := problem(http.StatusUnprocessableEntity, "invalid", "The request breaks a rule.")
	for _, err := range errs {
		var given *Problem
		if errors.As(err, &given) {
			return given
		}
		f := humaField(err)
		if f.Code == malformed {
			return problem(http.StatusBadRequest, malformed, f.Detail)
		}
		p.Errors = append(p.Errors, f)
	}
	return p
}

func humaField(err error) ProblemField {
	var d huma.ErrorDetailer
	if !errors.As(err, &d) {
		return ProblemField{Field: "request", Code: "invalid", Detail: "breaks a rule"}
	}
	detail := d.ErrorDetail()
	if f, ok := parseFault(detail.Message); ok {
		return ProblemField(f)
	}
	field, code := detail.Location, "invalid"
	if strings.Contains(detail.Message, "unknown query parameter") {
		code = "unknown_filter"
		if _, name, _ := strings.Cut(field, "."); !plainName.MatchString(name) {
			field = "query.?"
		}
	}
	return ProblemField{Field: field, Code: code, Detail: detail.Message}
}
