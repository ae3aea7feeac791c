package search

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/opensearch-project/opensearch-go/v4"
)

// fault is an answer that is no success: the server's, or of none. It has no text of the answer,
// which may quote the question or a preset.
type fault struct {
	status int    // 0: there was no answer
	kind   string // OpenSearch's name for it, or ours
	cause  error  // of a failed connection
}

func (f *fault) Error() string {
	if f.status == 0 {
		return fmt.Sprintf("no answer from OpenSearch: %s", f.kind)
	}
	return fmt.Sprintf("OpenSearch answers %d %s", f.status, f.kind)
}

func (f *fault) Unwrap() error { return f.cause }

// diagnose makes a fault of what the client reports. It reports a bad answer in a dozen ways.
func diagnose(resp *opensearch.Response, err error) *fault {
	f := &fault{kind: "failed"}
	if resp != nil {
		f.status = resp.StatusCode
	}
	var refused *opensearch.StructError
	switch {
	case errors.As(err, &refused):
		f.status, f.kind = refused.Status, refused.Err.Type
	case errors.Is(err, opensearch.ErrJSONUnmarshalBody), errors.Is(err, opensearch.ErrReadBody):
		f.status, f.kind = max(f.status, http.StatusBadGateway), "unreadable"
	case f.status == 0:
		f.cause = err
		f.kind = "connection failed"
		if errors.Is(err, context.DeadlineExceeded) {
			f.kind = "timeout"
		}
	case f.status < http.StatusMultipleChoices:
		f.status, f.kind = http.StatusBadGateway, "incomplete"
	}
	return f
}

// ours says that the question was wrong, not the server: asking another one would not help.
func (f *fault) ours() bool { return f.status == http.StatusBadRequest }
