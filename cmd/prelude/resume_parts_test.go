package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// talkative is a model that says all kinds of parts, between texts.
func talkative(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, delta := range []string{`{"reasoning_content":"Hm, "}`, `{"reasoning_content":"so."}`, `{"content":"One "}`,
			`{"content":"twö."}`, `{"reasoning_content":"And?"}`, `{"content":" Three."}`,
			`{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"look","arguments":"{}"}}]}`,
			`{"annotations":[{"type":"url_citation"}]}`, `{"images":[{"type":"image_url","image_url":{"url":"data:,"}}]}`} {
			fmt.Fprintf(w, `data: {"choices":[{"index":0,"delta":%s}]}`+"\n\n", delta)
			_ = http.NewResponseController(w).Flush()
		}
		_, _ = io.WriteString(w, `data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":9,`+
			`"completion_tokens":7,"completion_tokens_details":{"reasoning_tokens":3}}}`+"\n\ndata: [DONE]\n\n")
	}))
	t.Cleanup(s.Close)
	return s.URL + "/v1"
}

// TestResume_with_parts goes on with a reply after each of its events, while its process has it and from the log after a
// restart: each part and each byte comes once. The parts are those of the stored reply.
func TestResume_with_parts(t *testing.T) {
	t.Parallel()
	r := start(t, "--openai-base-url", talkative(t))
	session := r.do("POST", "/v1/sessions", doc{"model": "openai/x"}).want(201).str("id")
	all := r.stream("POST", "/v1/sessions/"+session+"/messages", doc{"content": "Hi"})
	var kinds []string
	for _, e := range all {
		if e.Name == "reply.part" {
			kinds = append(kinds, parse(e.Data).str("kind"))
		}
	}
	if want := []string{"reasoning", "reasoning", "image", "tool_call", "other"}; !slices.Equal(kinds, want) {
		t.Errorf("the parts are %v, want %v", kinds, want)
	}
	reply, _, _ := strings.Cut(all[0].ID, ":")
	stored := r.do("GET", "/v1/replies/"+reply, nil).want(200)
	resumes := func(where string) {
		t.Helper()
		for i, e := range all[:len(all)-1] {
			got := r.stream("GET", "/v1/replies/"+reply+"/stream", nil, "Last-Event-ID: "+e.ID)
			if want := saidBy(all[i+1:]); saidBy(got) != want {
				t.Errorf("%s, after %s it goes on with\n%s\nwant\n%s", where, e.ID, saidBy(got), want)
			}
		}
		whole := r.do("GET", "/v1/replies/"+reply, nil).want(200)
		if a, b := fmt.Sprint(whole.at("parts"), whole.at("usage")), fmt.Sprint(stored.at("parts"), stored.at("usage")); a != b {
			t.Errorf("%s the reply is\n%s\nand was\n%s", where, a, b)
		}
	}
	resumes("as it was made")
	if got := fmt.Sprint(stored.at("usage", "details")); got != "map[completion_tokens_details:map[reasoning_tokens:3]]" {
		t.Errorf("the usage's details are %s", got)
	}
	r.stop()
	r.serve("--openai-base-url", talkative(t))
	resumes("after a restart")
	for _, id := range []string{reply + ":0.", reply + ":0.x", reply + ":.1", reply + ":0.-1", reply + ":0.1.2"} {
		r.do("GET", "/v1/replies/"+reply+"/stream", nil, "Last-Event-ID: "+id).refused(422, "invalid")
	}
}

// saidBy is what events say; text that came in other pieces is the same.
func saidBy(all []event) string {
	var b strings.Builder
	texts := ""
	for _, e := range all {
		if e.Name == "reply.delta" {
			texts += parse(e.Data).str("text")
			continue
		}
		d := parse(e.Data)
		if e.Name == "reply.completed" {
			d = doc{"reply": d.at("reply"), "usage": d.at("usage")}
		}
		fmt.Fprintf(&b, "%q %s %v\n", texts, e.Name, d)
		texts = ""
	}
	return b.String()
}
