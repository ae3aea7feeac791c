package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// failingModels answers as a model's server that fails as the model's name says.
func failingModels(t *testing.T) *httptest.Server {
	t.Helper()
	chunk := func(w io.Writer, text string) {
		fmt.Fprintf(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":%q}}]}\n\n", text)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var asked struct{ Model string }
		_ = json.NewDecoder(r.Body).Decode(&asked)
		switch asked.Model {
		case "429":
			w.Header().Set("Retry-After", "7")
			http.Error(w, `{"error":{"message":"`+canary+`"}}`, http.StatusTooManyRequests)
		case "500":
			http.Error(w, canary, http.StatusInternalServerError)
		case "401":
			http.Error(w, canary, http.StatusUnauthorized)
		case "garbage":
			_, _ = io.WriteString(w, "data: <html>"+canary+"</html>\n\n")
		case "nothing": // and the connection is closed
		case "cut":
			w.Header().Set("Content-Type", "text/event-stream")
			for _, text := range []string{"One ", "twö ", "three"} {
				chunk(w, text)
			}
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// failure is how a model fails, and what becomes of it.
type failure struct {
	model, text string // the model, and what is said to it
	code        string
	status      int // on OpenAI's routes
	partial     string
}

func TestFailingModel(t *testing.T) {
	t.Parallel()
	server := failingModels(t)
	r := start(t, "--openai-base-url", server.URL, "--openai-api-key", canary)
	demo := func(directive, code string, status int, partial string) failure {
		return failure{"demo", "demo:chunks=20 demo:fail=" + directive, code, status, partial}
	}
	begun := "This is a demo: "
	failures := []failure{
		{"openai/429", "Hi", "upstream_rate_limited", 503, ""}, {"openai/500", "Hi", "upstream_error", 502, ""},
		{"openai/401", "Hi", "upstream_refused", 424, ""}, {"openai/garbage", "Hi", "upstream_garbage", 502, ""},
		{"openai/nothing", "Hi", "upstream_cut", 502, ""}, {"openai/cut", "Hi", "upstream_cut", 502, "One twö three"},
		demo("429", "upstream_rate_limited", 503, ""), demo("500", "upstream_error", 502, ""),
		demo("garbage", "upstream_garbage", 502, ""), demo("cut", "upstream_cut", 502, ""),
		demo("429 demo:after=3", "upstream_rate_limited", 503, begun), demo("500 demo:after=3", "upstream_error", 502, begun),
		demo("garbage demo:after=3", "upstream_garbage", 502, begun), demo("cut demo:after=3", "upstream_cut", 502, begun),
	}
	all := 0
	for _, f := range failures {
		t.Run(strings.ReplaceAll(f.model+" "+f.text, " ", "_"), func(t *testing.T) {
			r.on(t).fails(f)
		})
		all += 4
	}
	server.Close()
	refused := failure{"openai/refused", "Hi", "upstream_error", 502, ""}
	t.Run("a_refused_connection", func(t *testing.T) { r.on(t).fails(refused) })
	t.Run("usage_counts_failures", func(t *testing.T) { r.on(t).countsFailures(all + 4) })
	if strings.Contains(strings.ToLower(r.logs.String()), canary) {
		t.Error("what the server said, or its key, is in the log")
	}
}

// fails asks in all four ways.
func (r *rig) fails(f failure) {
	r.t.Helper()
	slug := fmt.Sprintf("fails-%d", r.head())
	r.do("POST", "/v1/presets", draft(slug, doc{"model": f.model})).want(201)
	r.do("POST", "/v1/presets/"+slug+"/publish", nil).want(201)
	session := "/v1/sessions/" + r.do("POST", "/v1/sessions", doc{"preset": slug}).want(201).str("id")
	all := r.stream("POST", session+"/messages", doc{"content": f.text})
	first, last, text := all[0], all[len(all)-1], ""
	for _, e := range all[1 : len(all)-1] {
		text += decode(r.t, e.Data).str("text")
	}
	end := decode(r.t, last.Data)
	if first.Name != "reply.started" || last.Name != "reply.failed" || end.str("code") != f.code ||
		!strings.HasPrefix(text, f.partial) || (text == "") != (f.partial == "") || end.num("partial_bytes") != len(text) {
		r.t.Errorf("the stream is %v", all)
	}
	r.isFailed(r.do("GET", "/v1/replies/"+end.str("reply"), nil).want(200), f, text)
	if again := r.stream("GET", "/v1/replies/"+end.str("reply")+"/stream", nil); again[len(again)-1].Data != last.Data {
		r.t.Errorf("followed again it ends with %v", again[len(again)-1])
	}
	whole := r.do("POST", session+"/messages", doc{"content": f.text}).want(201)
	r.isFailed(doc(whole.at("reply").(map[string]any)), f, text)
	r.chatFails(slug, f, text)
	if d := r.do("GET", session, nil).want(200); d.num("messages") != 4 || d.at("reply_under_way") != nil {
		r.t.Errorf("the session is %v", d)
	}
}

func (r *rig) isFailed(reply doc, f failure, text string) {
	r.t.Helper()
	if reply.str("status") != "failed" || reply.str("error", "code") != f.code || reply.str("error", "detail") == "" ||
		reply.str("content") != text || reply.num("text_bytes") != len(text) {
		r.t.Errorf("the reply is %v", reply)
	}
}

func (r *rig) chatFails(slug string, f failure, text string) {
	r.t.Helper()
	body := ask(doc{"model": "preset:" + slug, "messages": []doc{{"role": "user", "content": f.text}}})
	whole := r.do("POST", "/v1/chat/completions", body)
	whole.openAI(f.status, f.code, "")
	if f.status >= 500 != (whole.Header.Get("Retry-After") != "") {
		r.t.Errorf("Retry-After is %q", whole.Header.Get("Retry-After"))
	}
	body["stream"] = true
	if f.partial == "" {
		r.do("POST", "/v1/chat/completions", body).openAI(f.status, f.code, "")
		return
	}
	resp := r.open("POST", "/v1/chat/completions", body)
	defer func() { _ = resp.Body.Close() }()
	all := events(r.t, bufio.NewScanner(resp.Body))
	got := ""
	for _, e := range all[:len(all)-1] {
		got += decode(r.t, e.Data).list("choices")[0].str("delta", "content")
	}
	end := decode(r.t, all[len(all)-1].Data)
	if resp.StatusCode != 200 || got != text || end.str("error", "code") != f.code {
		r.t.Errorf("%d, %q, then %v", resp.StatusCode, got, end)
	}
	r.isFailed(r.do("GET", "/v1/replies/"+resp.Header.Get("Prelude-Reply"), nil).want(200), f, text)
}

// countsFailures waits for the consumer of usage.
func (r *rig) countsFailures(want int) {
	r.t.Helper()
	var usage []doc
	for range 500 {
		usage = r.do("GET", "/v1/usage?group=day", nil).want(200).list("data")
		if len(usage) == 1 && usage[0].num("failures") == want && usage[0].num("messages") == want {
			return
		}
	}
	r.t.Errorf("usage is %v, want %d failures", usage, want)
}

// TestModel_that_takes_its_time: how long a model may take to its first word is set; comments say that it is at work.
func TestModel_that_takes_its_time(t *testing.T) {
	t.Parallel()
	ask := doc{"model": "openai/x", "messages": []doc{{"role": "user", "content": "Hi"}}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		tick := time.NewTicker(400 * time.Millisecond)
		defer tick.Stop()
		for range 5 { // two seconds
			select {
			case <-tick.C:
				_, _ = io.WriteString(w, ": loading\n\n")
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return
			}
		}
		_, _ = io.WriteString(w, `data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}`+"\n\n")
	}))
	t.Cleanup(s.Close)
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // so that the server sees when the client leaves
		<-r.Context().Done()
	}))
	t.Cleanup(silent.Close)
	start(t, "--openai-base-url", s.URL+"/v1", "--timeout-first", "1s").do("POST", "/v1/chat/completions", ask).want(200)
	start(t, "--openai-base-url", silent.URL+"/v1", "--timeout-first", "1s").do("POST", "/v1/chat/completions", ask).
		openAI(504, "upstream_timeout", "")
}

// TestChat_asks_again_after_a_failure_that_may_pass: a key is bound by an answer, not by a failure before the first word.
func TestChat_asks_again_after_a_failure_that_may_pass(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		kind := decode(t, string(body)).str("model")
		n := asked.Add(1)
		switch {
		case kind == "refused":
			w.WriteHeader(http.StatusBadRequest)
		case kind == "passing" && n <= 2:
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
		case kind == "cut":
			_, _ = io.WriteString(w, `data: {"choices":[{"index":0,"delta":{"content":"One "}}]}`+"\n\n")
		default:
			_, _ = io.WriteString(w, `data: {"choices":[{"index":0,"delta":{"content":"Yes"},"finish_reason":"stop"}]}`+"\n\n")
		}
	}))
	t.Cleanup(s.Close)
	r := start(t, "--openai-base-url", s.URL+"/v1")
	chat := func(model string) *answer {
		return r.do("POST", "/v1/chat/completions", ask(doc{"model": "openai/" + model}), "Idempotency-Key: "+model)
	}
	for range 2 {
		a := chat("passing")
		a.openAI(503, "upstream_rate_limited", "")
		if got := a.Header.Get("Retry-After"); got != "7" {
			t.Errorf("Retry-After is %q", got)
		}
	}
	first := chat("passing")
	first.want(200)
	again := chat("passing")
	if again.want(200); again.Header.Get("Prelude-Reply") != first.Header.Get("Prelude-Reply") || asked.Load() != 3 ||
		again.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("asked %d times; the repeat is %v", asked.Load(), again.Header)
	}
	for model, status := range map[string]int{"refused": 400, "cut": 502} {
		asked.Store(0)
		for range 2 {
			if a := chat(model); a.Status != status {
				t.Errorf("%s: %d %s", model, a.Status, a.Body)
			}
		}
		if n := asked.Load(); n != 1 {
			t.Errorf("%s: the model was asked %d times", model, n)
		}
	}
}
