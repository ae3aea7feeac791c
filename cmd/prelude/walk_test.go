package main

import (
	"bufio"
	"io"
	"strings"
	"testing"
	"time"
)

// event is a server-sent event.
type event struct{ ID, Name, Data string }

// events reads a stream of events to its end.
func events(t testing.TB, body *bufio.Scanner) []event {
	t.Helper()
	var all []event
	var e event
	for body.Scan() {
		name, value, _ := strings.Cut(body.Text(), ": ")
		switch name {
		case "id":
			e.ID = value
		case "event":
			e.Name = value
		case "data":
			e.Data += value
		case "":
			if e != (event{}) {
				all = append(all, e)
			}
			e = event{}
		}
	}
	if err := body.Err(); err != nil {
		t.Fatalf("read the stream: %v", err)
	}
	return all
}

// scanner reads lines as long as an event may be.
func scanner(body io.Reader) *bufio.Scanner {
	s := bufio.NewScanner(body)
	s.Buffer(nil, 4<<20)
	return s
}

// stream posts a message and reads the reply as it comes.
func (r *rig) stream(method, path string, body any, headers ...string) []event {
	r.t.Helper()
	resp := r.open(method, path, body, append(headers, "Accept: text/event-stream")...)
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != 200 {
		r.t.Fatalf("%s %s: status %d", method, path, resp.StatusCode)
	}
	return events(r.t, scanner(resp.Body))
}

func TestWalk(t *testing.T) {
	t.Parallel()
	r := start(t)
	walk(t, r, "postgres")
}

// walk crosses the house once: a preset is made, published, chatted with and found, and an auditor sees who did
// what.
func walk(t *testing.T, r *rig, engine string) {
	t.Helper()
	p := r.do("POST", "/v1/presets", doc{"slug": "walk-tone", "name": "Walk tone", "scope": "org",
		"model": "demo", "instructions": "Speak of {{product}}.", "tags": []string{"walking"},
		"variables": []doc{{"name": "product", "type": "string", "required": true}}})
	id := p.want(201).str("id")
	if p.Header.Get("ETag") == "" || p.Header.Get("Prelude-Position") == "" ||
		p.Header.Get("Location") != "/v1/presets/"+id {
		t.Fatalf("headers: %v", p.Header)
	}
	published := r.do("POST", "/v1/presets/walk-tone/publish", doc{"labels": []string{"production"}})
	if published.want(201).num("version") != 1 {
		t.Fatalf("published: %s", published.Body)
	}
	s := r.do("POST", "/v1/sessions", doc{"preset": "walk-tone@production",
		"variables": doc{"product": "shoes"}}).want(201).str("id")
	got := r.stream("POST", "/v1/sessions/"+s+"/messages", doc{"content": "Tell me of walks"})
	if got[0].Name != "reply.started" || got[len(got)-1].Name != "reply.completed" {
		t.Fatalf("events: %v", got)
	}
	reply, _, _ := strings.Cut(got[0].ID, ":")
	receipt := r.do("GET", "/v1/replies/"+reply+"/context?include=request", nil).want(200)
	if receipt.at("complete") != true || receipt.at("verified") != true {
		t.Fatalf("receipt: %v", receipt)
	}
	if text := receipt.list("request", "messages")[0].str("content"); text != "Speak of shoes." {
		t.Fatalf("the model saw %q", text)
	}
	found := r.search("q=walk+ton&min_position="+published.Header.Get("Prelude-Position"), engine)
	if len(found.list("data")) != 1 || found.str("engine") != engine {
		t.Fatalf("search: %v", found)
	}
	audit := r.do("GET", "/v1/audit?object="+id, nil).want(200).list("data")
	if len(audit) != 3 || audit[2].str("kind") != "preset.created" {
		t.Fatalf("audit: %v", audit)
	}
}

// search asks until an engine answers: a cold OpenSearch may take longer than a search may.
func (r *rig) search(query, engine string) doc {
	r.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		found := r.do("GET", "/v1/search/presets?"+query, nil).want(200)
		if found.str("engine") == engine && found.at("stale") == false || time.Now().After(deadline) {
			return found
		}
	}
}
