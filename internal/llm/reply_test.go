package llm

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"prelude/domain/receipt"
)

var quiet = log.New(io.Discard, "", 0)

func TestReply(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("lóng ", 1<<18)
	whole := say("Hel") + say("lo")
	const call = `{"tool_calls":[{"index":0,"id":"x","function":{"arguments":"{\"a\""}}]}`
	for name, c := range map[string]struct{ body, text, finish string }{
		"usual":                   {role + whole + stop + usual + end, "Hello", "stop"},
		"without usage":           {role + whole + stop + end, "Hello", "stop"},
		"without an end":          {whole + stop, "Hello", "stop"},
		"without a finish":        {whole + end, "Hello", "stop"},
		"no end of the last line": {whole + "data: [DONE]", "Hello", "stop"},
		"no end of the last data": {whole + strings.TrimSpace(stop), "Hello", "stop"},
		"no text":                 {role + stop + end, "", "stop"},
		"CRLF": {
			strings.ReplaceAll(whole+stop+end, "\n", "\r\n"), "Hello", "stop",
		},
		"no space after data": {
			strings.ReplaceAll(whole+stop+end, "data: ", "data:"), "Hello", "stop",
		},
		"comments":        {": wait\n\n" + say("a") + ":\n" + stop + end, "a", "stop"},
		"byte order mark": {"\uFEFF" + whole + stop + end, "Hello", "stop"},
		"other fields": {
			"event: message\nid: 7\nretry: 10\n" + whole + stop + end, "Hello", "stop",
		},
		"empty deltas": {
			say("") + say("a") + say("") + say("b") + stop + end, "ab", "stop",
		},
		"null content": {
			event(`{"content":null}`, "null") + say("a") + stop + end, "a", "stop",
		},
		"no choices": {
			`data: {"prompt_filter_results":[]}` + "\n\n" + say("a") + stop + end, "a", "stop",
		},
		"escapes": {
			say("\"\\\n\t<é\u2028😀") + stop + end, "\"\\\n\t<é\u2028😀", "stop",
		},
		"a very long line": {say(long) + stop + end, long, "stop"},
		"length": {
			whole + event(`{"content":"!"}`, `"length"`) + end, "Hello!", "length",
		},
		"another's word for it": {whole + event(`{}`, `"max_tokens"`) + end, "Hello", "length"},
		"a word nobody knows":   {whole + event(`{}`, `"secret"`) + end, "Hello", "stop"},
		"thoughts": {
			event(`{"reasoning_content":"hm"}`, "null") + say("a") + stop, "a", "stop",
		},
		"tool calls": {
			event(call, "null") + event(`{}`, `"tool_calls"`) + end, "", "tool_calls",
		},
		"padding": {strings.ReplaceAll(whole+say("?")+stop, "}]}", `}],"obfuscation":"xY"}`) + end,
			"Hello?", "stop"},
		"an error after the finish": {
			whole + stop + `data: {"error":{}}` + "\n\n", "Hello", "stop",
		},
		"garbage after the finish": {whole + stop + "oops\n", "Hello", "stop"},
		"one completion": {`{"object":"chat.completion","choices":[{"index":0,"message":` +
			`{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":null}`,
			"Hello", "stop"},
		"one completion, indented, no finish": {
			"\n {\"choices\":\n[{\"message\":{\"content\":\"Hello\"}}]}\n", "Hello", "stop",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := hear(t, c.body)
			h.says(t, c.text, c.finish)
			if used := (receipt.Usage{InputTokens: 9, OutputTokens: 2}); name == "usual" {
				if h.usage == nil || !reflect.DeepEqual(*h.usage, used) {
					t.Errorf("got usage %+v", h.usage)
				}
			}
		})
	}
}

func TestReplyFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body, code string
		retryable  bool
	}{
		"nothing":              {"", codeCut, true},
		"comments only":        {": secret\n\n", codeCut, true},
		"no end":               {say("a"), codeCut, false},
		"within a line":        {say("a") + say("b")[:90], codeCut, false},
		"a page":               {"<html>secret</html>", codeGarbage, false},
		"a page of lines":      {"<html>\nsecret\n</html>", codeGarbage, false},
		"a page after a token": {say("a") + "<html>\nsecret\n</html>", codeGarbage, false},
		"bytes":                {say("a") + "data: \x00\xff\xfe\n\n", codeGarbage, false},
		"not JSON":             {"data: secret\n\n", codeGarbage, false},
		"JSON of another sort": {"data: [1]\n\n", codeGarbage, false},
		"content is a number":  {event(`{"content":1}`, "null"), codeGarbage, false},
		"error": {
			say("a") + `data: {"error":{"message":"secret"}}` + "\n\n", codeError, false,
		},
		"error at once": {`data: {"error":"secret"}` + "\n\n", codeError, true},
		"event: error": {
			"event: error\ndata: {\"message\":\"secret\"}\n\n", codeError, true,
		},
		"object: error": {`data: {"object":"error","code":400}` + "\n\n", codeError, true},
		"finish: error": {say("a") + event(`{}`, `"error"`), codeError, false},
		"too many requests": {
			`data: {"error": {"code": 429}}` + "\n\n", codeRateLimited, true,
		},
		"rate limit": {
			say("a") + `data: {"error":{"type":"rate_limit_error"}}` + "\n\n",
			codeRateLimited, false,
		},
		"one error":             {`{"error":{"message":"secret"}}`, codeError, true},
		"one completion, cut":   {`{"choices":[{"message":{"content":"a`, codeCut, true},
		"one garbage":           {`{"choices":secret}`, codeGarbage, false},
		"one of something else": {`{"data":[]}`, codeGarbage, false},
		"an endless line": {
			"data: " + strings.Repeat("a", maxLine+10_000) + "\n\n", codeGarbage, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := hear(t, c.body)
			h.fails(t, c.code, c.retryable)
		})
	}
}

func TestReplyIsCutAnywhere(t *testing.T) {
	t.Parallel()
	const text = "Hé😀lo"
	body := role + say("Hé") + say("😀") + say("lo") + stop + end
	finished := len(body) - len(end) - len("\n\n") // the finish is said
	for _, clean := range []bool{false, true} {
		var at int
		r := served(t, Timeouts{}, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, body[:at])
			_ = http.NewResponseController(w).Flush()
			if !clean {
				panic(http.ErrAbortHandler)
			}
		})
		for at = range len(body) {
			h := listen(t, ask(t.Context(), r, "openai/m", asking("hi")))
			if at >= finished {
				h.says(t, text, "stop")
				continue
			}
			h.fails(t, codeCut, h.text == "")
			if !strings.HasPrefix(text, h.text) {
				t.Errorf("cut at %d: got %q", at, h.text)
			}
		}
	}
}

func TestReaderStopsEarly(t *testing.T) {
	t.Parallel()
	left := make(chan struct{})
	r := served(t, Timeouts{}, func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.WriteString(w, say("a"))
		_ = http.NewResponseController(w).Flush()
		<-req.Context().Done()
		close(left)
	})
	for chunk, err := range ask(t.Context(), r, "openai/m", asking("hi")) {
		if chunk.Text != "a" || err != nil {
			t.Errorf("got %+v, %v", chunk, err)
		}
		break
	}
	<-left
}

func TestContextEndsReply(t *testing.T) {
	t.Parallel()
	cause := errors.New("cancelled by its author")
	for name, first := range map[string]string{"before the first token": "", "after it": say("a")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancelCause(t.Context())
			left := make(chan struct{})
			r := served(t, Timeouts{}, func(w http.ResponseWriter, req *http.Request) {
				_, _ = io.WriteString(w, first)
				if first != "" {
					_ = http.NewResponseController(w).Flush()
				}
				cancel(cause)
				<-req.Context().Done()
				close(left)
			})
			if h := listen(t, ask(ctx, r, "openai/m", asking("hi"))); !errors.Is(h.err, cause) {
				t.Errorf("got %v", h.err)
			}
			<-left
		})
	}
}

func TestConnectionIsUsedAgain(t *testing.T) {
	t.Parallel()
	from := map[string]bool{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		from[req.RemoteAddr] = true
		_, _ = io.WriteString(w, say("a")+stop+usual+end)
	}))
	defer s.Close()
	r := routed(t, s.URL, Timeouts{})
	for range 20 {
		listen(t, ask(t.Context(), r, "openai/m", asking("hi"))).says(t, "a", "stop")
	}
	if len(from) != 1 {
		t.Errorf("got %d connections for 20 replies", len(from))
	}
}
