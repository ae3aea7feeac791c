package llm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"prelude/commands"
)

// The codes of a reply that failed, as api.md lists them.
const (
	codeTimeout     = "upstream_timeout"
	codeRateLimited = "upstream_rate_limited"
	codeError       = "upstream_error"
	codeGarbage     = "upstream_garbage"
	codeCut         = "upstream_cut"
	codeRefused     = "upstream_refused"
	codeFull        = "context_full"
)

// maxRetryAfter bounds what a server may ask for; nobody waits longer.
const maxRetryAfter = 24 * time.Hour

// The constructors below take whether the reply had begun, as started, or whether to try again, as
// retry. What has begun is never worth another try by itself: its beginning has been read.

func timeout(detail string, retry bool) *commands.UpstreamError {
	return &commands.UpstreamError{Code: codeTimeout, Detail: detail, Retryable: retry}
}

func broken(detail string, retry bool) *commands.UpstreamError {
	return &commands.UpstreamError{Code: codeError, Detail: detail, Retryable: retry}
}

func garbage() *commands.UpstreamError {
	return &commands.UpstreamError{
		Code: codeGarbage, Detail: "The model's server sent what is not a reply.",
	}
}

func cut(started bool) *commands.UpstreamError {
	return &commands.UpstreamError{
		Code: codeCut, Detail: "The model's server ended the reply in the middle.",
		Retryable: !started,
	}
}

// silent is the fault of a server that sent nothing for too long.
func silent(started bool, limits Timeouts) *commands.UpstreamError {
	if started {
		return timeout(fmt.Sprintf("The model fell silent for %v.", limits.BetweenTokens), false)
	}
	return timeout(fmt.Sprintf("The model did not begin within %v.", limits.FirstToken), true)
}

// endless is the fault of a reply that took longer than all of it may.
func endless(started bool, limits Timeouts) *commands.UpstreamError {
	return timeout(fmt.Sprintf("The model took longer than %v.", limits.Total), !started)
}

func rateLimited(after time.Duration, started bool) *commands.UpstreamError {
	return &commands.UpstreamError{
		Code: codeRateLimited, Detail: "The model's server takes no more requests for now.",
		Retryable: !started, RetryAfter: after,
	}
}

// refused is the fault behind a status that is not a success. Of what the server says with it only its code and its
// kind are read: whether the request is too long, or is paid for no more.
func refused(status int, header http.Header, said refusal, started bool, now time.Time) *commands.UpstreamError {
	after := retryAfter(header.Get("Retry-After"), now)
	e := broken(fmt.Sprintf("The model's server answered with status %d.", status), false)
	e.Status = status
	switch {
	case said.full():
		e.Code, e.Detail = codeFull, "The request does not fit the model's context length, its server says."
	case status == http.StatusTooManyRequests:
		e = rateLimited(after, started)
		if e.Status = status; said.unpaid() || after > mostWait {
			e.Retryable = false
		}
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly:
		e.Code, e.Retryable = codeTimeout, !started
	case status >= 500:
		e.Retryable, e.RetryAfter = !started, after
	case status >= 400:
		e.Code = codeRefused
		e.Detail = fmt.Sprintf("The model's server refused the request with status %d.", status)
	}
	return e
}

// mostWait is how long a client waits that is told to come again; whoever has to wait longer is told so at once.
const mostWait = time.Minute

// refusal is what a server says when it refuses.
type refusal struct{ code, kind, message string }

// readRefusal reads the body of a refusal, in OpenAI's form or in a like one.
func readRefusal(body []byte) (r refusal) {
	all := fields(body)
	for _, name := range []string{"error", "detail"} {
		if inner := fields(all[name]); inner != nil {
			all = inner
		} else if text := plain(all[name]); text != "" {
			r.message = text
		}
	}
	r.code, r.kind = plain(all["code"]), plain(all["type"])
	if text := plain(all["message"]); text != "" {
		r.message = text
	}
	return r
}

// full says that the request does not fit the model's window.
func (r refusal) full() bool {
	text := strings.ToLower(r.message)
	return r.code == "context_length_exceeded" || slices.ContainsFunc([]string{"maximum context length", "context length",
		"context window", "context size", "prompt is too long", "too many tokens"}, func(sign string) bool {
		return strings.Contains(text, sign)
	})
}

// unpaid says that no waiting helps.
func (r refusal) unpaid() bool {
	return slices.ContainsFunc([]string{r.code, r.kind}, func(word string) bool {
		return word == "insufficient_quota" || word == "billing_hard_limit_reached" || word == "billing_not_active"
	})
}

// word is a code as it may stand in a log: what is none may quote a person.
func word(text string) string {
	if len(text) > 64 || strings.ContainsFunc(text, func(c rune) bool {
		return c != '_' && c != '-' && c != '.' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9')
	}) {
		return "?"
	}
	return text
}

// reported is the fault that a server describes in the middle of a reply. Only whether it is about
// rates is read from the description.
func reported(description []byte, started bool) *commands.UpstreamError {
	v := jsontext.Value(bytes.Clone(description))
	_ = v.Compact(lenient) // for want of which it is read as it is
	d := strings.ToLower(string(v))
	signs := []string{`"rate_limit`, `"code":429`, `"code":"429"`, `"too_many_requests`}
	for _, sign := range signs {
		if strings.Contains(d, sign) {
			return rateLimited(0, started)
		}
	}
	return broken("The model's server broke off with an error.", !started)
}

// retryAfter reads the header of that name: seconds, or an HTTP date. Zero: not said, or past.
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	wait := time.Duration(0)
	if seconds, err := strconv.ParseFloat(value, 64); err == nil {
		wait = time.Duration(min(max(seconds, 0), maxRetryAfter.Seconds()) * float64(time.Second))
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}

// verdict turns what ended a reply into an error of the port: the cause of ctx if it is over, else
// err.
func verdict(ctx context.Context, err error, started bool, limits Timeouts) error {
	var known *commands.UpstreamError
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, errTotal):
		return endless(started, limits)
	case errors.Is(cause, errSilent):
		return silent(started, limits)
	case cause != nil:
		return cause
	case errors.As(err, &known):
		return known
	}
	return cut(started)
}
