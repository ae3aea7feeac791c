package llm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
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

// refused is the fault behind a status that is not a success.
func refused(status int, header http.Header, started bool, now time.Time) *commands.UpstreamError {
	after := retryAfter(header.Get("Retry-After"), now)
	if status == http.StatusTooManyRequests {
		return rateLimited(after, started)
	}
	e := broken(fmt.Sprintf("The model's server answered with status %d.", status), false)
	if status >= 500 {
		e.Retryable, e.RetryAfter = !started, after
	}
	return e
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
