package llm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"prelude/domain/receipt"
)

// say is a piece as servers send it.
func say(text string) string {
	content, _ := json.Marshal(text)
	return event(`{"content":`+string(content)+`}`, "null")
}

func event(delta, finish string) string {
	const head = `data: {"id":"c-1","object":"chat.completion.chunk","created":1,"choices":`
	return head + `[{"index":0,"delta":` + delta + `,"finish_reason":` + finish + "}]}\n\n"
}

const (
	role = `data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}` +
		"\n\n"
	usual = `data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}` + "\n\n"
	end   = "data: [DONE]\n\n"
)

var stop = event(`{}`, `"stop"`)

func TestServerIsAsked(t *testing.T) {
	t.Parallel()
	var got map[string]any
	var header http.Header
	r := served(t, Timeouts{}, func(w http.ResponseWriter, req *http.Request) {
		header = req.Header
		if req.Method != http.MethodPost || req.URL.Path != "/v1/chat/completions" {
			t.Errorf("got %s %s", req.Method, req.URL)
		}
		if err := json.NewDecoder(req.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, say("hi")+stop+end)
	})
	hot, req := 0.5, asking("a “b” \u2028")
	req.Settings = receipt.Settings{
		Temperature: &hot, TopP: &hot, MaxOutputTokens: 7,
		Stop: []string{"x"}, ResponseFormat: "json",
	}
	req.Messages = append(req.Messages, receipt.Message{
		Role: "user", Content: "see", Raw: json.RawMessage(`{"role":"user","content":[{"new":1}]}`),
	})
	req.Extra = map[string]json.RawMessage{
		"seed": json.RawMessage("7"), "stream": json.RawMessage("false"),
		"max_completion_tokens": json.RawMessage("9999"), "model": json.RawMessage(`"other"`),
		"stream_options": json.RawMessage(`{"include_usage":false,"include_obfuscation":false}`),
		"tools":          json.RawMessage(`[{"type":"function"}]`),
	}
	listen(t, ask(t.Context(), r, "openai/org/m", req)).says(t, "hi", "stop")
	want := map[string]any{
		"model": "org/m", "stream": true, "temperature": 0.5, "top_p": 0.5, "max_tokens": 7.0,
		"stop": []any{"x"}, "response_format": map[string]any{"type": "json_object"}, "seed": 7.0,
		"tools":          []any{map[string]any{"type": "function"}},
		"stream_options": map[string]any{"include_usage": true, "include_obfuscation": false},
		"messages": []any{
			map[string]any{"role": "user", "content": "a “b” \u2028"},
			map[string]any{"role": "user", "content": []any{map[string]any{"new": 1.0}}},
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if header.Get("Authorization") != "Bearer sk-key" {
		t.Errorf("got headers %v", header)
	}
}

func TestLimitOfOpenAIItself(t *testing.T) {
	t.Parallel()
	for base, name := range map[string]string{
		"https://api.openai.com/v1":             "max_completion_tokens",
		"https://eu.api.openai.com/v1":          "max_completion_tokens",
		"https://x.openai.azure.com/openai/v1/": "max_completion_tokens",
		"https://notopenai.com/v1":              "max_tokens",
		"http://localhost:11434/v1":             "max_tokens",
	} {
		s := New(Config{BaseURL: base}).server
		body := string(encode("m", receipt.Request{
			Settings: receipt.Settings{MaxOutputTokens: 5},
			Extra:    map[string]json.RawMessage{"max_tokens": json.RawMessage("9")},
		}, s.newer))
		if !strings.Contains(body, `"`+name+`":5`) || strings.Contains(body, "9") {
			t.Errorf("%s: got %s", base, body)
		}
	}
}

// What a server says when it refuses is read for two things, told apart by its code, its kind and the words that servers
// have for a request that is too long. It is logged by its codes, and none of its words is.
func TestServerRefuses_and_says_why(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]struct {
		status    int
		code      string
		retryable bool
	}{
		`{"error":{"message":"secret","code":"context_length_exceeded"}}`:                    {400, codeFull, false},
		`{"error":{"message":"This model's maximum context length is 8192 tokens, secret"}}`: {400, codeFull, false},
		`{"object":"error","message":"prompt is too long: secret"}`:                          {400, codeFull, false},
		`{"error":"the request exceeds the available context size, secret"}`:                 {500, codeFull, false},
		`{"detail":{"message":"context window of secret"}}`:                                  {422, codeFull, false},
		`{"error":{"message":"secret","type":"insufficient_quota"}}`:                         {429, codeRateLimited, false},
		`{"error":{"message":"secret","code":"billing_hard_limit_reached"}}`:                 {429, codeRateLimited, false},
		`{"error":{"message":"secret","code":"rate_limit_exceeded"}}`:                        {429, codeRateLimited, true},
		`{"error":{"message":"secret","code":"a secret of somebody"}}`:                       {401, codeRefused, false},
		`<html>secret</html>`: {403, codeRefused, false},
		``:                    {400, codeRefused, false},
	} {
		var logs bytes.Buffer
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(want.status)
			_, _ = io.WriteString(w, body)
		}))
		r := New(Config{BaseURL: s.URL + "/v1", Logger: slog.New(slog.NewTextHandler(&logs, nil))})
		e := listen(t, ask(t.Context(), r, "openai/m", asking("hi"))).failure(t, want.code, want.retryable)
		if e.Status != want.status {
			t.Errorf("%s: the status is %d", body, e.Status)
		}
		if text := logs.String(); strings.Contains(text, "secret") || !strings.Contains(text, fmt.Sprint("status=", want.status)) {
			t.Errorf("%s is logged as %s", body, text)
		}
		r.Close()
		s.Close()
	}
}

func TestServerRefuses(t *testing.T) {
	t.Parallel()
	date := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	for _, c := range []struct {
		status    int
		after     string
		code      string
		retryable bool
		wait      time.Duration
	}{
		{429, "7", codeRateLimited, true, 7 * time.Second},
		{429, "0.5", codeRateLimited, true, time.Second / 2},
		{429, date(time.Hour), codeRateLimited, false, time.Hour},
		{429, date(-time.Hour), codeRateLimited, true, 0},
		{429, "", codeRateLimited, true, 0},
		{429, "soon", codeRateLimited, true, 0},
		{429, "1e300", codeRateLimited, false, maxRetryAfter},
		{429, "NaN", codeRateLimited, true, 0},
		{500, "", codeError, true, 0},
		{502, "", codeError, true, 0},
		{503, "3", codeError, true, 3 * time.Second},
		{400, "", codeRefused, false, 0},
		{401, "3", codeRefused, false, 0},
		{404, "", codeRefused, false, 0},
		{422, "", codeRefused, false, 0},
		{408, "", codeTimeout, true, 0},
		{529, "9", codeError, true, 9 * time.Second},
		{307, "", codeError, false, 0},
	} {
		t.Run(fmt.Sprintf("%d %s", c.status, c.after), func(t *testing.T) {
			t.Parallel()
			r := served(t, Timeouts{}, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "/v1/elsewhere")
				w.Header().Set("Retry-After", c.after)
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, `{"error":{"message":"secret"}}`)
			})
			h := listen(t, ask(t.Context(), r, "openai/m", asking("hi")))
			e := h.failure(t, c.code, c.retryable)
			if off := c.wait - e.RetryAfter; off < 0 || off > time.Minute {
				t.Errorf("got Retry-After %v, want %v", e.RetryAfter, c.wait)
			}
		})
	}
}

func TestServerIsNotReached(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(nil)
	gone.Close()
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		r := routed(t, gone.URL, Timeouts{})
		listen(t, ask(t.Context(), r, "openai/m", asking("hi"))).fails(t, codeError, true)
	})
	t.Run("the address is none", func(t *testing.T) {
		t.Parallel()
		r := routed(t, "http://[secret", Timeouts{})
		listen(t, ask(t.Context(), r, "openai/m", asking("hi"))).fails(t, codeError, false)
	})
	t.Run("the certificate is not trusted", func(t *testing.T) {
		t.Parallel()
		s := httptest.NewUnstartedServer(nil)
		s.Config.ErrorLog = quiet
		s.StartTLS()
		defer s.Close()
		r := routed(t, s.URL, Timeouts{})
		listen(t, ask(t.Context(), r, "openai/m", asking("hi"))).fails(t, codeError, false)
	})
	t.Run("it speaks something else", func(t *testing.T) {
		t.Parallel()
		r := routed(t, speaking(t, "220 secret ready\r\n"), Timeouts{})
		listen(t, ask(t.Context(), r, "openai/m", asking("hi"))).fails(t, codeError, true)
	})
	t.Run("it hangs up at once", func(t *testing.T) {
		t.Parallel()
		r := routed(t, speaking(t, ""), Timeouts{})
		listen(t, ask(t.Context(), r, "openai/m", asking("hi"))).fails(t, codeCut, true)
	})
}

// speaking answers one connection with words, whatever it is asked, and hangs up.
func speaking(t *testing.T, words string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-gone })
	go func() {
		defer close(gone)
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = c.Read(make([]byte, 64<<10))
		_, _ = io.WriteString(c, words)
		_ = c.Close()
	}()
	return "http://" + l.Addr().String()
}

func TestLogSaysWhyAServerIsNotReached(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(nil)
	gone.Close()
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	r := New(Config{BaseURL: gone.URL + "/secret", APIKey: "sk-secret", Logger: logger})
	listen(t, ask(t.Context(), r, "openai/m", asking("secret"))).fails(t, codeError, true)
	if !strings.Contains(log.String(), "refused") || strings.Contains(log.String(), "secret") {
		t.Errorf("got %s", &log)
	}
}
