package api

import "net/http"

// openAIError is the envelope of errors on the OpenAI routes.
type openAIError struct {
	Body   openAIErrorBody `json:"error"`
	status int
	p      *Problem
}

type openAIErrorBody struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Code    string  `json:"code"`
	Param   *string `json:"param"`
	// As in a problem.
	Ref      string `json:"ref,omitempty"`
	ResetsAt *Time  `json:"resets_at,omitempty"`
}

func (e *openAIError) Error() string { return e.Body.Code }

// GetStatus is the HTTP status.
func (e *openAIError) GetStatus() int { return e.status }

// GetHeaders are sent with the answer.
func (e *openAIError) GetHeaders() http.Header { return e.p.headers }

// ContentType is plain JSON, as OpenAI's clients expect.
func (e *openAIError) ContentType(string) string { return "application/json" }

// toOpenAI puts a problem into OpenAI's envelope: the same code, the first field as param.
func toOpenAI(p *Problem) *openAIError {
	e := &openAIError{status: p.Status, p: p, Body: openAIErrorBody{
		Message: p.Detail, Type: openAIType(p.Status), Code: p.Code, Ref: p.Ref, ResetsAt: p.ResetsAt}}
	if p.Code == "context_full" {
		// What OpenAI's clients know: they make the conversation shorter.
		e.status, e.Body.Code = http.StatusBadRequest, "context_length_exceeded"
	}
	for i, f := range p.Errors {
		if i == 0 {
			name := f.Field
			e.Body.Param = &name
		}
		if f.Detail != p.Detail {
			e.Body.Message += " " + f.Field + " " + f.Detail + "."
		}
	}
	return e
}

func openAIType(status int) string {
	switch {
	case status == 401:
		return "authentication_error"
	case status == 403:
		return "permission_error"
	case status == 404:
		return "not_found_error"
	case status == 429:
		return "rate_limit_error"
	case status >= 500:
		return "api_error"
	}
	return "invalid_request_error"
}
