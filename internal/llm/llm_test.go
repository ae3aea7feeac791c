package llm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"

	"prelude/commands"
	"prelude/domain/answer"
	"prelude/domain/receipt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// heard is a reply put together again.
type heard struct {
	text   string
	pieces int // with a text
	finish string
	said   answer.Draft // besides the text
	usage  *receipt.Usage
	err    error
}

func listen(t *testing.T, reply iter.Seq2[commands.Chunk, error]) heard {
	t.Helper()
	var h heard
	for chunk, err := range reply {
		if h.err != nil {
			t.Error("a chunk after the error")
		}
		if !utf8.ValidString(chunk.Text) {
			t.Errorf("chunk %q is not UTF-8", chunk.Text)
		}
		if chunk.Text != "" {
			h.pieces++
		}
		for _, p := range chunk.Pieces {
			p.At = len(h.text)
			h.said.Add(p)
		}
		h.text += chunk.Text
		if chunk.Finish != "" {
			h.finish = chunk.Finish
		}
		if chunk.Usage != nil {
			h.usage = chunk.Usage
		}
		h.err = err
	}
	if h.err == nil && h.finish == "" {
		t.Error("a reply without a finish and without an error")
	}
	return h
}

// fails checks that h failed with code, and that nothing the server said is in the error.
// fails expects the reply to end with an error of a code.
func (h heard) fails(t *testing.T, code string, retryable bool) {
	t.Helper()
	_ = h.failure(t, code, retryable)
}

// failure is fails, and gives the error.
func (h heard) failure(t *testing.T, code string, retryable bool) *commands.UpstreamError {
	t.Helper()
	var e *commands.UpstreamError
	if !errors.As(h.err, &e) {
		t.Fatalf("got %v after %q, want %s", h.err, h.text, code)
	}
	if e.Code != code || e.Retryable != retryable {
		t.Errorf("got %s, retryable %v; want %s, %v", e.Code, e.Retryable, code, retryable)
	}
	if strings.Contains(e.Error(), "secret") {
		t.Errorf("the error quotes the server: %v", e)
	}
	return e
}

func (h heard) says(t *testing.T, text, finish string) {
	t.Helper()
	if h.err != nil || h.text != text || h.finish != finish {
		t.Errorf("got %q, %q, %v; want %q, %q", h.text, h.finish, h.err, text, finish)
	}
}

// served returns a router in front of a server that answers with handle.
func served(t *testing.T, limits Timeouts, handle http.HandlerFunc) *Router {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		// A server notices that its client has left only once it has read the request.
		body, _ := io.ReadAll(req.Body)
		req.Body = io.NopCloser(bytes.NewReader(body))
		handle(w, req)
	}))
	t.Cleanup(s.Close)
	return routed(t, s.URL+"/v1", limits)
}

func routed(t *testing.T, base string, limits Timeouts) *Router {
	t.Helper()
	r := New(Config{
		BaseURL: base, APIKey: "sk-key", Timeouts: limits,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	t.Cleanup(r.Close)
	return r
}

// hear returns the reply of a server that answers with body.
func hear(t *testing.T, body string) heard {
	t.Helper()
	r := served(t, Timeouts{}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, body)
	})
	return listen(t, ask(t.Context(), r, "openai/m", asking("hi")))
}

func asking(content string) commands.ModelRequest {
	messages := []receipt.Message{{Role: "user", Content: content}}
	return commands.ModelRequest{Request: receipt.Request{Model: "m", Messages: messages}}
}

func ask(
	ctx context.Context, r *Router, name string, req commands.ModelRequest,
) iter.Seq2[commands.Chunk, error] {
	route, _ := r.Route(name)
	return r.Stream(ctx, route, req)
}

func TestRoute(t *testing.T) {
	t.Parallel()
	alone, both := New(Config{}), New(Config{BaseURL: "http://localhost:1/v1", WindowTokens: 4096})
	for _, c := range []struct {
		name    string
		router  *Router
		known   bool
		ownedBy string
		window  int
	}{
		{"demo", alone, true, "prelude", 8192},
		{"openai/gpt-5", alone, false, "", 0},
		{"openai/gpt-5", both, true, "openai", 4096},
		{"openai/meta-llama/Llama-3.1-8B:free", both, true, "openai", 4096},
		{"openai/", both, false, "", 0},
		{"openai/a b", both, false, "", 0},
		{"openai/a\n", both, false, "", 0},
		{"openai/" + strings.Repeat("a", 300), both, false, "", 0},
		{"gpt-5", both, false, "", 0},
		{"", both, false, "", 0},
	} {
		route, ok := c.router.Route(c.name)
		if ok != c.known || route.OwnedBy != c.ownedBy || route.WindowTokens != c.window {
			t.Errorf("route %q: got %+v, %v", c.name, route, ok)
		}
		if ok && (route.Name != c.name || route.Target != c.name || route.Total != 10*time.Minute) {
			t.Errorf("route %q: got %+v", c.name, route)
		}
	}
	if all := both.Routes(); len(all) != 1 || all[0].Name != "demo" {
		t.Errorf("got routes %+v", all)
	}
}

func TestStreamOfARouteThatIsGone(t *testing.T) {
	t.Parallel()
	gone := commands.Route{Name: "openai/m", Target: "openai/m"}
	listen(t, New(Config{}).Stream(t.Context(), gone, asking("hi"))).fails(t, codeError, false)
}
