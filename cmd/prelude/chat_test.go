package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// upstream is a model's server that notes what it is asked, and answers with a tool call where tools are offered.
type upstream struct {
	url  string
	mu   sync.Mutex
	last doc
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	u := &upstream{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		u.mu.Lock()
		u.last = parse(string(body))
		u.mu.Unlock()
		w.Header().Set("Content-Type", "text/event-stream")
		chunk := func(delta, finish string) {
			fmt.Fprintf(w, `data: {"choices":[{"index":0,"delta":%s,"finish_reason":%s}]}`+"\n\n", delta, finish)
		}
		if u.last.at("tools") == nil {
			chunk(`{"content":"Hello"}`, "null")
			chunk(`{}`, `"stop"`)
		} else {
			chunk(`{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"look","arguments":""}}]}`, "null")
			chunk(`{"tool_calls":[{"index":0,"function":{"arguments":"{\"at\":"}}]}`, "null")
			chunk(`{"tool_calls":[{"index":0,"function":{"arguments":"7}"}}]}`, "null")
			chunk(`{}`, `"tool_calls"`)
		}
		_, _ = io.WriteString(w, "data: [DONE]\n\n")
	}))
	t.Cleanup(s.Close)
	u.url = s.URL + "/v1"
	return u
}

func (u *upstream) saw() doc {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.last
}

var tools = []doc{{"type": "function", "function": doc{"name": "look", "description": "marker-tool",
	"parameters": doc{"type": "object"}}}}

// TestChatPassesOn: what an OpenAI client sends besides reaches the model, stands in the receipt, and is proven.
func TestChatPassesOn(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	r := start(t, "--openai-base-url", u.url)
	asked := doc{"model": "openai/x", "messages": []doc{{"role": "user", "content": "Where?"}}, "tools": tools,
		"seed": 7, "user": "marker-user", "stop": "marker-stop", "prediction": doc{"type": "content", "content": "x"}}
	a := r.do("POST", "/v1/chat/completions", asked, "Idempotency-Key: tools")
	first := a.want(200)
	for _, name := range []string{"tools", "seed", "user", "prediction"} {
		if want, got := fmt.Sprint(plain(t, asked[name])), fmt.Sprint(u.saw().at(name)); got != want {
			t.Errorf("%s: the model saw %s, want %s", name, got, want)
		}
	}
	call := first.list("choices")[0].list("message", "tool_calls")
	if len(call) != 1 || call[0].str("id") != "call_1" || call[0].str("function", "arguments") != `{"at":7}` {
		t.Fatalf("tool calls: %s", a.Body)
	}
	reply := a.Header.Get("Prelude-Reply")
	receipt := r.do("GET", "/v1/replies/"+reply+"/context?include=request", nil).want(200)
	if receipt.at("verified") != true || receipt.at("complete") != true ||
		fmt.Sprint(receipt.at("request", "extra", "tools")) != fmt.Sprint(plain(t, tools)) {
		t.Fatalf("receipt: %v", receipt)
	}

	r.stop()
	r.serve("--openai-base-url", u.url)
	b := r.do("POST", "/v1/chat/completions", asked, "Idempotency-Key: tools")
	again := b.want(200).list("choices")[0]
	if b.Header.Get("Idempotency-Replayed") != "true" ||
		fmt.Sprint(again["message"]) != fmt.Sprint(first.list("choices")[0]["message"]) {
		t.Fatalf("repeated after a restart: %s\nfirst: %s", b.Body, a.Body)
	}
	out, err := r.command("audit", reply, "--json")
	if err != nil || strings.Contains(out, "marker") {
		t.Fatalf("%v: a text is shown: %s", err, out)
	}
}

// plain is a value as it is after JSON.
func plain(t *testing.T, v any) (p any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestChatResent: what was said before is not stored again, so that its receipt is not complete, and not called
// verified.
func TestChatResent(t *testing.T) {
	t.Parallel()
	r := start(t)
	a := r.do("POST", "/v1/chat/completions", doc{"model": "demo", "messages": []doc{
		{"role": "user", "content": "One"}, {"role": "assistant", "content": "Two"}, {"role": "user", "content": "Three"}}})
	a.want(200)
	receipt := r.do("GET", "/v1/replies/"+a.Header.Get("Prelude-Reply")+"/context?include=request", nil).want(200)
	if receipt.at("complete") != false || receipt.at("verified") != false {
		t.Fatalf("receipt: %v", receipt)
	}
	parts := receipt.list("parts")
	if parts[0].str("withheld") != "unstored" || parts[2]["withheld"] != nil ||
		receipt.list("request", "messages")[2].str("content") != "Three" {
		t.Fatalf("parts: %v", receipt)
	}
}

// TestChatOverrides: a client's settings go over the preset's, within the model's window, unless it is locked.
func TestChatOverrides(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	r := start(t, "--openai-base-url", u.url)
	for _, slug := range []string{"open", "shut"} {
		r.do("POST", "/v1/presets", doc{"slug": slug, "name": slug, "scope": "org", "model": "openai/x",
			"instructions": "Be kind.", "settings": doc{"temperature": 0.5}, "locked": slug == "shut"}).want(201)
		r.do("POST", "/v1/presets/"+slug+"/publish", nil).want(201)
	}
	ask := func(slug string, over doc) doc {
		d := doc{"model": "preset:" + slug, "messages": []doc{{"role": "user", "content": "Hi"}}}
		for k, v := range over {
			d[k] = v
		}
		return d
	}
	over := doc{"temperature": 1.5, "seed": 3, "response_format": doc{"type": "json_schema"}, "user": "u"}
	r.do("POST", "/v1/chat/completions", ask("open", over)).want(200)
	if s := u.saw(); s.at("temperature") != 1.5 || s.num("seed") != 3 || s.str("response_format", "type") != "json_schema" {
		t.Errorf("open: the model saw %v", s)
	}
	r.do("POST", "/v1/chat/completions", ask("shut", over)).want(200)
	if s := u.saw(); s.at("temperature") != 0.5 || s["seed"] != nil || s["response_format"] != nil || s.str("user") != "u" {
		t.Errorf("locked: the model saw %v", s)
	}
	r.do("POST", "/v1/sessions", doc{"preset": "shut", "model": "demo"}).refused(422, "preset_locked")
	locked := r.do("POST", "/v1/sessions", doc{"preset": "shut"}).want(201).str("id")
	r.do("POST", "/v1/sessions/"+locked+"/messages", doc{"content": "Hi", "model": "demo"}).refused(422, "preset_locked")
	r.do("POST", "/v1/sessions/"+locked+"/messages", doc{"content": "Hi", "model": "openai/x"}).want(201)
	big := r.do("POST", "/v1/chat/completions", ask("open", doc{"max_tokens": 500000}))
	if d := big.want(400); d.str("error", "code") != "context_length_exceeded" {
		t.Errorf("more than the window: %s", big.Body)
	}
	cased := r.do("POST", "/v1/chat/completions", ask("shut", doc{"Temperature": 2}))
	if d := cased.want(422); d.str("error", "param") != "Temperature" {
		t.Errorf("another case: %s", cased.Body)
	}
}

// TestChatInSession posts into a session, and says what answered.
func TestChatInSession(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.preset("talk")
	session := r.do("POST", "/v1/sessions", doc{"preset": "talk"}).want(201).str("id")
	in := "Prelude-Session: " + session
	a := r.do("POST", "/v1/chat/completions", doc{"model": "preset:other", "messages": []doc{{"role": "user", "content": "Hi"}}}, in)
	if d := a.want(200); d.str("model") != "preset:talk@v1" || a.Header.Get("Prelude-Session") != session {
		t.Fatalf("answer: %s", a.Body)
	}
	if n := len(r.do("GET", "/v1/sessions/"+session+"/messages", nil).want(200).list("data")); n != 2 {
		t.Fatalf("%d messages", n)
	}
	mine := doc{"slug": "own", "name": "Own", "model": "demo", "instructions": "Be mine."}
	r.do("POST", "/v1/presets", mine).want(201)
	r.do("POST", "/v1/presets/~%2Fown/publish", nil).want(201)
	own := r.do("POST", "/v1/sessions", doc{"preset": "~/own"}).want(201).str("id")
	b := r.do("POST", "/v1/chat/completions", doc{"model": "gpt-5", "messages": []doc{{"role": "user", "content": "Hi"}}},
		"Prelude-Session: "+own)
	named := b.want(200).str("model")
	if named != "preset:~/own@v1" {
		t.Fatalf("a preset of one's own is named %q", named)
	}
	r.do("GET", "/v1/models/"+named, nil).want(200)
	hot := r.do("POST", "/v1/chat/completions", doc{"model": "demo", "temperature": 5,
		"messages": []doc{{"role": "user", "content": "Hi"}}}, in)
	hot.want(422)
	with := r.do("POST", "/v1/chat/completions", doc{"model": "demo", "tools": tools,
		"messages": []doc{{"role": "user", "content": "Hi"}}}, in)
	if d := with.want(422); d.str("error", "code") != "unsupported_parameter" {
		t.Fatalf("tools in a session: %s", with.Body)
	}
}

// TestBigToolCall: a tool call full of what JSON escapes is recorded; one beyond the bound ends the reply.
func TestBigToolCall(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		bytes  int
		finish string
	}{"300 KB": {300_000, "tool_calls"}, "600 KB": {600_000, "length"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				for range c.bytes / 1000 {
					fmt.Fprintf(w, `data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":`+
						`{"arguments":"%s"}}]},"finish_reason":null}]}`+"\n\n", strings.Repeat("<", 1000))
				}
				_, _ = io.WriteString(w, `data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`+
					"\n\ndata: [DONE]\n\n")
			}))
			t.Cleanup(s.Close)
			r := start(t, "--openai-base-url", s.URL+"/v1")
			a := r.do("POST", "/v1/chat/completions", doc{"model": "openai/x", "tools": tools,
				"messages": []doc{{"role": "user", "content": "Write a page"}}})
			if got := a.want(200).list("choices")[0].str("finish_reason"); got != c.finish {
				t.Fatalf("it ended with %q: %.300s", got, a.Body)
			}
			if d := r.do("GET", "/v1/replies/"+a.Header.Get("Prelude-Reply"), nil).want(200); d.str("status") != "completed" {
				t.Fatalf("the reply: %.300v", d)
			}
		})
	}
}
