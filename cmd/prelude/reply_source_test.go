package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// halting is a model's server that says the first half of a reply, and the second when it is told to.
type halting struct {
	url   string
	mu    sync.Mutex
	gates map[string]chan struct{}
	asked map[string]int
}

// saying is what models say by the beginning of their names: a first half, and a second.
var saying = map[string][2]string{
	"text": {`{"content":"Hello, "}`, `{"content":"wörld"}`},
	"tools": {`{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"look","arguments":"{\"at\":"}}]}`,
		`{"tool_calls":[{"index":0,"function":{"arguments":"7}"}}]}`},
	"reasoning": {`{"reasoning_content":"Hm, "}`, `{"reasoning_content":"yes.","content":"42"}`},
}

func newHalting(t *testing.T) *halting {
	t.Helper()
	h := &halting{gates: map[string]chan struct{}{}, asked: map[string]int{}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		model := parse(string(body)).str("model")
		kind, state, _ := strings.Cut(model, "-")
		h.mu.Lock()
		h.asked[model]++
		gate := h.gates[model]
		h.mu.Unlock()
		w.Header().Set("Content-Type", "text/event-stream")
		say := func(delta, finish string) {
			fmt.Fprintf(w, `data: {"choices":[{"index":0,"delta":%s,"finish_reason":%s}]}`+"\n\n", delta, finish)
			_ = http.NewResponseController(w).Flush()
		}
		say(saying[kind][0], "null")
		if gate != nil {
			<-gate
		}
		if strings.HasPrefix(state, "failed") {
			panic(http.ErrAbortHandler)
		}
		say(saying[kind][1], "null")
		finish := `"stop"`
		if kind == "tools" {
			finish = `"tool_calls"`
		}
		say("{}", finish)
		_, _ = io.WriteString(w, "data: [DONE]\n\n")
	}))
	t.Cleanup(s.Close)
	h.url = s.URL + "/v1"
	return h
}

// gate has a model halt until it is opened.
func (h *halting) gate(model string) (open func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	gate := make(chan struct{})
	h.gates[model] = gate
	return sync.OnceFunc(func() { close(gate) })
}

// times is how often a model was asked.
func (h *halting) times(model string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.asked[model]
}

// toldReply is what somebody was told of a reply, however they asked.
type toldReply struct{ text, reasoning, calls, end string }

// route is a way to ask for a reply.
type askedBy struct {
	path    string
	body    doc
	headers []string
	native  bool
}

// ask sends a request, and calls begun as soon as there is an answer.
func (a askedBy) ask(t *testing.T, r *rig, streamed bool, begun func()) toldReply {
	body := doc{}
	for name, v := range a.body {
		body[name] = v
	}
	headers := a.headers
	switch {
	case streamed && a.native:
		headers = append([]string{"Accept: text/event-stream"}, headers...)
	case streamed:
		body["stream"] = true
	}
	resp := r.on(t).open("POST", a.path, body, headers...)
	defer func() { _ = resp.Body.Close() }()
	if begun(); !streamed {
		whole, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Error(err)
		}
		return a.whole(resp.StatusCode, parse(string(whole)))
	}
	if resp.StatusCode != http.StatusOK {
		whole, _ := io.ReadAll(resp.Body)
		return a.whole(resp.StatusCode, parse(string(whole)))
	}
	return a.pieces(events(t, scanner(resp.Body)))
}

func (a askedBy) whole(status int, d doc) (said toldReply) {
	if a.native {
		reply := doc(d.at("reply").(map[string]any))
		said.text, said.end = reply.str("content"), reply.str("status")
		said.parts(reply.list("parts"))
		return said
	}
	if status != http.StatusOK {
		return toldReply{end: "failed"}
	}
	choice := d.list("choices")[0]
	message := doc(choice.at("message").(map[string]any))
	said.end = "completed"
	said.text, _ = message.at("content").(string)
	said.reasoning, _ = message.at("reasoning_content").(string)
	for _, call := range list(message.at("tool_calls")) {
		said.calls += call.str("function", "name") + call.str("function", "arguments")
	}
	return said
}

func (s *toldReply) parts(parts []doc) {
	for _, p := range parts {
		switch p.str("kind") {
		case "reasoning":
			s.reasoning += p.str("text")
		case "tool_call":
			s.calls += p.str("value", "function", "name") + p.str("value", "function", "arguments")
		}
	}
}

func list(v any) (all []doc) {
	items, _ := v.([]any)
	for _, item := range items {
		all = append(all, doc(item.(map[string]any)))
	}
	return all
}

func (a askedBy) pieces(all []event) (said toldReply) {
	for _, e := range all {
		d := parse(e.Data)
		switch e.Name {
		case "reply.delta":
			said.text += d.str("text")
		case "reply.part":
			p := doc{"kind": d.at("kind"), "value": d.at("value")}
			if text, ok := d.at("value").(string); ok {
				p["text"] = text
			}
			said.parts([]doc{p})
		case "reply.completed", "reply.failed", "reply.cancelled":
			said.end = strings.TrimPrefix(e.Name, "reply.")
		case "":
			switch {
			case d.at("error") != nil:
				said.end = "failed"
			case e.Data == "[DONE]":
				said.end = "completed"
			}
			for _, choice := range list(d.at("choices")) {
				delta := doc(choice.at("delta").(map[string]any))
				text, _ := delta.at("content").(string)
				thought, _ := delta.at("reasoning_content").(string)
				said.text, said.reasoning = said.text+text, said.reasoning+thought
				for _, call := range list(delta.at("tool_calls")) {
					name, _ := call.at("function", "name").(string)
					more, _ := call.at("function", "arguments").(string)
					said.calls += name + more
				}
			}
		}
	}
	return said
}

// TestReply_is_the_same_wherever_it_is_asked_for: a repeat on another instance gives the reply that there is, streamed or
// whole, while it is under way, when it has ended and when it has failed, whatever the model says; the model is asked once.
func TestReply_is_the_same_wherever_it_is_asked_for(t *testing.T) {
	t.Parallel()
	model := newHalting(t)
	s := newShared(t)
	one := s.instance("--openai-base-url", model.url)
	two := s.instance("--openai-base-url", model.url)
	want := map[string]toldReply{"text": {text: "Hello, wörld"}, "tools": {calls: `look{"at":7}`},
		"reasoning": {text: "42", reasoning: "Hm, yes."}}
	half := map[string]toldReply{"text": {text: "Hello, "}, "tools": {calls: `look{"at":`}, "reasoning": {reasoning: "Hm, "}}
	for kind := range saying {
		for _, state := range []string{"under way", "ended", "failed"} {
			for _, way := range []string{"native", "chat", "chat in a session"} {
				for _, streamed := range []bool{true, false} {
					name := fmt.Sprintf("%s/%s/%s/streamed %v", kind, state, way, streamed)
					t.Run(name, func(t *testing.T) {
						t.Parallel()
						id := strings.NewReplacer(" ", "", "/", "-").Replace(fmt.Sprint(kind, "-", state, "-", way, "-", streamed))
						a := askedBy{path: "/v1/chat/completions", headers: []string{"Idempotency-Key: " + id}, body: doc{
							"model": "openai/" + id, "messages": []doc{{"role": "user", "content": "Hi"}}}}
						if way != "chat" {
							session := one.on(t).do("POST", "/v1/sessions", doc{"model": "openai/" + id}).want(201).str("id")
							if a.headers = append(a.headers, "Prelude-Session: "+session); way == "native" {
								a = askedBy{path: "/v1/sessions/" + session + "/messages", headers: a.headers[:1],
									body: doc{"content": "Hi"}, native: true}
							}
						}
						expected := want[kind]
						expected.end = "completed"
						if state == "failed" {
							expected = half[kind]
							if expected.end = "failed"; way != "native" && !streamed {
								expected = toldReply{end: "failed"} // an error, of its own status
							}
						}
						open := func() {}
						if state == "under way" {
							open = model.gate(id)
						}
						t.Cleanup(open)
						first := make(chan toldReply, 1)
						begun := make(chan struct{})
						go func() { first <- a.ask(t, one, streamed, sync.OnceFunc(func() { close(begun) })) }()
						if state == "under way" {
							soon(t, "the model is asked", func() bool { return model.times(id) == 1 })
						} else {
							<-begun
							<-first
						}
						second := make(chan toldReply, 1)
						go func() { second <- a.ask(t, two, streamed, func() { open() }) }()
						if !streamed {
							open() // it waits for the end, whenever that comes
						}
						if got := <-second; got != expected {
							t.Errorf("on the other instance: %+v, want %+v", got, expected)
						}
						if state == "under way" {
							<-first
						}
						if n := model.times(id); n != 1 {
							t.Errorf("the model was asked %d times", n)
						}
					})
				}
			}
		}
	}
}
