package main

import (
	"io"
	"strings"
	"testing"
)

// TestChatElsewhere repeats on one instance a call that another answers: whole or as a stream, it waits for the end and
// gives all of the text, and never an end that is none.
func TestChatElsewhere(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	one, two := s.instance(), s.instance()
	two.key = one.key
	const content = "demo:chunks=60 demo:delay=25ms"
	t.Run("as a stream", func(t *testing.T) {
		t.Parallel()
		body := doc{"model": "demo", "stream": true, "messages": []doc{{"role": "user", "content": content}}}
		resp := one.open("POST", "/v1/chat/completions", body, "Idempotency-Key: stream") // it has begun to speak
		defer func() { _ = resp.Body.Close() }()
		again := two.do("POST", "/v1/chat/completions", body, "Idempotency-Key: stream")
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if want, got := wordsOf(t, string(b)), wordsOf(t, string(again.Body)); got != want || got == "" ||
			again.Header.Get("Prelude-Reply") != resp.Header.Get("Prelude-Reply") {
			t.Errorf("where it is made it is %q, elsewhere %q", want, got)
		}
	})
	t.Run("whole", func(t *testing.T) {
		t.Parallel()
		body := doc{"model": "demo", "messages": []doc{{"role": "user", "content": content}}}
		first := make(chan *answer, 1)
		go func() { first <- one.do("POST", "/v1/chat/completions", body, "Idempotency-Key: whole") }()
		soon(t, "it is under way", func() bool {
			for _, e := range one.do("GET", "/v1/audit?kind=completion.started&limit=100", nil).want(200).list("data") {
				if two.do("GET", "/v1/replies/"+e.str("object"), nil).want(200).str("status") == "running" {
					return true
				}
			}
			return false
		})
		got := two.do("POST", "/v1/chat/completions", body, "Idempotency-Key: whole").want(200)
		want := (<-first).want(200)
		if text := got.list("choices")[0].str("message", "content"); text == "" || got.str("id") != want.str("id") ||
			text != want.list("choices")[0].str("message", "content") {
			t.Errorf("where it is made it is %v, elsewhere %v", want, got)
		}
	})
}

// wordsOf is the text of a completion's stream, which has to come to its end.
func wordsOf(t *testing.T, body string) string {
	t.Helper()
	var text strings.Builder
	for line := range strings.Lines(body) {
		data, isData := strings.CutPrefix(strings.TrimSpace(line), "data: ")
		if !isData || data == "[DONE]" {
			continue
		}
		if words, ok := parse(data).list("choices")[0].at("delta", "content").(string); ok {
			text.WriteString(words)
		}
	}
	if !strings.Contains(body, "data: [DONE]") {
		t.Errorf("it does not end: %s", body)
	}
	return text.String()
}
