package main

import (
	"fmt"
	"strings"
	"testing"
)

// texts puts the deltas of a stream together.
func texts(got []event) string {
	var b strings.Builder
	for _, e := range got {
		if e.Name == "reply.delta" {
			b.WriteString(parse(e.Data).str("text"))
		}
	}
	return b.String()
}

// TestResume follows a reply again from every kind of place: the texts put together are the stored reply, byte
// for byte.
func TestResume(t *testing.T) {
	t.Parallel()
	r := start(t)
	session := r.session()
	whole := r.stream("POST", "/v1/sessions/"+session+"/messages", doc{"content": "ünïcödé demo:chunks=40 demo:delay=2ms"})
	reply, _, _ := strings.Cut(whole[0].ID, ":")
	stored := r.do("GET", "/v1/replies/"+reply, nil).want(200).str("content")
	if texts(whole) != stored || whole[0].ID != reply+":0" {
		t.Fatalf("streamed %q, stored %q", texts(whole), stored)
	}
	last := fmt.Sprintf("%s:%d", reply, len(stored))
	for _, e := range whole {
		again := r.stream("GET", "/v1/replies/"+reply+"/stream", nil, "Last-Event-ID: "+e.ID)
		_, offset, _ := strings.Cut(e.ID, ":")
		var from int
		if _, err := fmt.Sscan(offset, &from); err != nil {
			t.Fatal(err)
		}
		if got := stored[:from] + texts(again); got != stored || again[len(again)-1].ID != last {
			t.Fatalf("from %s: %q, end %v", e.ID, got, again[len(again)-1])
		}
	}
	from := len("This is a demo")
	after := r.stream("GET", fmt.Sprintf("/v1/replies/%s/stream?starting_after=%d", reply, from), nil)
	if got := stored[:from] + texts(after); got != stored {
		t.Fatalf("after %d: %q", from, got)
	}
	beyond := r.stream("GET", "/v1/replies/"+reply+"/stream?starting_after=99999", nil)
	if len(beyond) != 1 || beyond[0].Name != "reply.completed" {
		t.Fatalf("beyond the text: %v", beyond)
	}
	for _, again := range [][]event{
		r.stream("GET", "/v1/replies/"+reply+"/stream", nil, "Last-Event-ID: "+reply+":0"),
		r.stream("GET", "/v1/replies/"+reply+"/stream?starting_after=0", nil),
	} {
		if again[0].Name != "reply.delta" || texts(again) != stored {
			t.Errorf("after the start: %v", again)
		}
	}
	inside := strings.Index(stored, "ü") + 1
	r.do("GET", fmt.Sprintf("/v1/replies/%s/stream?starting_after=%d", reply, inside), nil).refused(422, "invalid")
	other := r.stream("POST", "/v1/sessions/"+session+"/messages", doc{"content": "Again"})
	r.do("GET", "/v1/replies/"+reply+"/stream", nil, "Last-Event-ID: "+other[0].ID).refused(422, "invalid")
}

// TestResumeAhead follows a running reply from its start, and from beyond what there is of it: it waits, and
// begins with a whole character.
func TestResumeAhead(t *testing.T) {
	t.Parallel()
	r := start(t)
	const content = "ünïcödé demo:chunks=40 demo:delay=25ms"
	text := texts(r.stream("POST", "/v1/sessions/"+r.session()+"/messages", doc{"content": content}))
	inside := strings.LastIndex(text, "ö") + 1
	for from, want := range map[int]string{0: text, inside: text[inside+1:]} {
		resp := r.open("POST", "/v1/sessions/"+r.session()+"/messages", doc{"content": content},
			"Accept: text/event-stream")
		lines := scanner(resp.Body)
		lines.Scan()
		reply, _, _ := strings.Cut(strings.TrimPrefix(lines.Text(), "id: "), ":")
		got := r.stream("GET", fmt.Sprintf("/v1/replies/%s/stream?starting_after=%d", reply, from), nil)
		if texts(got) != want || got[0].Name != "reply.delta" || got[len(got)-1].Name != "reply.completed" {
			t.Errorf("after %d: %q, want %q", from, texts(got), want)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestRevokedKey ends what was opened with it.
func TestRevokedKey(t *testing.T) {
	t.Parallel()
	r := start(t)
	issued := r.do("POST", "/v1/api-keys", doc{"name": "short"}).want(201)
	short := r.as(issued.str("secret"))
	feed := short.open("GET", "/v1/feed?after=start", nil)
	defer func() { _ = feed.Body.Close() }()
	reply := short.open("POST", "/v1/sessions/"+short.session()+"/messages",
		doc{"content": "demo:chunks=1000 demo:delay=20ms"}, "Accept: text/event-stream")
	defer func() { _ = reply.Body.Close() }()
	chat := short.open("POST", "/v1/chat/completions", doc{"model": "demo", "stream": true,
		"messages": []doc{{"role": "user", "content": "demo:chunks=1000 demo:delay=20ms"}}})
	defer func() { _ = chat.Body.Close() }()
	other := r.open("GET", "/v1/feed?after=start", nil)
	defer func() { _ = other.Body.Close() }()
	r.do("DELETE", "/v1/api-keys/"+issued.str("id"), nil).want(200)
	events(t, scanner(feed.Body)) // it ends
	for _, e := range events(t, scanner(reply.Body)) {
		if e.Name != "reply.started" && e.Name != "reply.delta" {
			t.Errorf("the reply's stream was followed to its end: %v", e)
		}
	}
	for _, e := range events(t, scanner(chat.Body)) {
		if e.Data == "[DONE]" {
			t.Error("the completion's stream was followed to its end")
		}
	}
	for lines := scanner(other.Body); lines.Text() != "event: prelude.apikey.revoked"; {
		if !lines.Scan() {
			t.Fatal("another key's feed has ended")
		}
	}
}

// TestHangUp closes the connection in the middle of a reply: the reply goes on, and another may follow it.
func TestHangUp(t *testing.T) {
	t.Parallel()
	r := start(t)
	session := r.session()
	resp := r.open("POST", "/v1/sessions/"+session+"/messages", doc{"content": "demo:chunks=50 demo:delay=10ms"},
		"Accept: text/event-stream")
	lines := scanner(resp.Body)
	reply := ""
	for lines.Scan() && lines.Text() != "event: reply.delta" {
		if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
			reply, _, _ = strings.Cut(id, ":")
		}
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	got := r.stream("GET", "/v1/replies/"+reply+"/stream", nil)
	if last := got[len(got)-1]; last.Name != "reply.completed" {
		t.Fatalf("it ended with %v", last)
	}
	if stored := r.do("GET", "/v1/replies/"+reply, nil).want(200).str("content"); stored != texts(got) {
		t.Fatalf("stored %q, followed %q", stored, texts(got))
	}
}

// TestCancel ends a reply: what came is kept, and the session takes the next message.
func TestCancel(t *testing.T) {
	t.Parallel()
	r := start(t)
	session := r.session()
	resp := r.open("POST", "/v1/sessions/"+session+"/messages", doc{"content": "demo:chunks=1000 demo:delay=10ms"},
		"Accept: text/event-stream")
	defer func() { _ = resp.Body.Close() }()
	lines := scanner(resp.Body)
	reply := ""
	for lines.Scan() && lines.Text() != "event: reply.delta" {
		if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
			reply, _, _ = strings.Cut(id, ":")
		}
	}
	a := r.do("POST", "/v1/replies/"+reply+"/cancel", nil, "Idempotency-Key: stop")
	cancelled, position := a.want(200), a.Header.Get("Prelude-Position")
	if position == "" || a.Header.Get("Idempotency-Replayed") != "" {
		t.Errorf("headers: %v", a.Header)
	}
	if cancelled.str("status") != "cancelled" || cancelled.str("content") == "" {
		t.Fatalf("cancelled: %v", cancelled)
	}
	if got := events(t, lines); got[len(got)-1].Name != "reply.cancelled" {
		t.Fatalf("the stream ended with %v", got[len(got)-1])
	}
	a = r.do("POST", "/v1/replies/"+reply+"/cancel", nil, "Idempotency-Key: stop")
	again := a.want(200)
	if a.Header.Get("Idempotency-Replayed") != "true" || a.Header.Get("Prelude-Position") != position {
		t.Errorf("repeated, headers: %v, the end is at %s", a.Header, position)
	}
	if again.str("status") != "cancelled" {
		t.Fatalf("cancelled again: %v", again)
	}
	r.do("POST", "/v1/sessions/"+session+"/messages", doc{"content": "Next"}).want(201)
	if got := r.do("GET", "/v1/replies/"+reply, nil).want(200); got.str("content") != cancelled.str("content") {
		t.Fatalf("stored: %v", got)
	}
}

// TestFeed follows what happens: ids and numbers, no text of a person; and usage counts it.
func TestFeed(t *testing.T) {
	t.Parallel()
	r := start(t)
	preset := r.preset("fed")
	session := r.do("POST", "/v1/sessions", doc{"preset": "fed", "title": "marker-title"}).want(201).str("id")
	r.do("POST", "/v1/sessions/"+session+"/messages", doc{"content": "marker-message"}).want(201)
	r.do("POST", "/v1/sessions/"+session+"/messages", doc{"content": "marker demo:fail=500"}).want(201)
	resp := r.open("GET", "/v1/feed?after=start", nil)
	defer func() { _ = resp.Body.Close() }()
	lines := scanner(resp.Body)
	var kinds, ids []string
	for lines.Scan() && len(kinds) < 16 {
		if strings.Contains(lines.Text(), "marker") || strings.Contains(lines.Text(), "This is a demo") {
			t.Fatalf("a text is shown: %s", lines.Text())
		}
		if kind, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			kinds = append(kinds, kind)
		}
		if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
			ids = append(ids, id)
		}
		if len(kinds) > 0 && kinds[len(kinds)-1] == "prelude.session.reply_failed" {
			break
		}
	}
	if kinds[0] != "prelude.org.founded" || kinds[len(kinds)-1] != "prelude.session.reply_failed" {
		t.Fatalf("kinds: %v", kinds)
	}
	resumed := r.open("GET", "/v1/feed", nil, "Last-Event-ID: "+ids[len(ids)-2])
	defer func() { _ = resumed.Body.Close() }()
	next := scanner(resumed.Body)
	if !next.Scan() || next.Text() != "id: "+ids[len(ids)-1] {
		t.Fatalf("resumed with %q, want %q", next.Text(), ids[len(ids)-1])
	}
	for try := 0; ; try++ {
		usage := r.do("GET", "/v1/usage", nil).want(200).list("data")
		if len(usage) == 1 && usage[0].num("messages") == 2 {
			if usage[0].num("failures") != 1 || usage[0].str("preset") != preset || usage[0].num("version") != 1 {
				t.Fatalf("usage: %v", usage)
			}
			return
		}
		if try == 1000 {
			t.Fatalf("usage: %v", usage)
		}
	}
}
