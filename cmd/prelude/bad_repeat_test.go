package main

import (
	"fmt"
	"maps"
	"strings"
	"testing"
)

// repeat is a command that is given more than once with the same Idempotency-Key.
type repeat struct {
	fault
	other any    // another body; nil: it has none
	first string // the id in the first answer
}

func (r *rig) repeats() []repeat {
	r.preset("again")
	r.do("PUT", "/v1/presets/again/labels/old", doc{"version": 1}).want(200)
	r.do("POST", "/v1/presets", draft("doomed", nil)).want(201)
	session := "/v1/sessions/"
	var s [5]string
	for i := range s {
		s[i] = session + r.session()
	}
	r.do("DELETE", s[3], nil).want(200)
	r.do("PATCH", "/v1/presets/doomed", doc{"name": "Draft"}, "If-Match: *").want(200)
	etag := r.do("GET", "/v1/presets/again", nil).Header.Get("ETag")
	key := r.do("POST", "/v1/api-keys", doc{"name": "to be revoked"}).want(201).str("id")
	one := func(method, path string, status int, body, other any, headers ...string) repeat {
		return repeat{fault{name: method + " " + path, method: method, path: path, body: body, status: status,
			headers: headers}, other, ""}
	}
	hello, bye := doc{"content": "Hello"}, doc{"content": "Bye"}
	ask := func(text string, stream bool) doc {
		return doc{"model": "demo", "stream": stream, "messages": []doc{{"role": "user", "content": text}}}
	}
	return []repeat{
		one("POST", "/v1/presets", 201, draft("made", nil), draft("made", doc{"name": "Other"})),
		one("PATCH", "/v1/presets/again", 200, doc{"name": "New"}, doc{"name": "Newer"}, "If-Match: "+etag),
		one("POST", "/v1/presets/doomed/publish", 201, doc{"note": "Note"}, doc{"note": "Other"}),
		one("PUT", "/v1/presets/again/labels/new", 200, doc{"version": 1}, doc{"version": 1, "note": "Other"}),
		one("DELETE", "/v1/presets/again/labels/old", 200, nil, nil),
		one("DELETE", "/v1/presets/doomed", 200, nil, nil),
		one("POST", "/v1/presets/doomed/restore", 200, nil, nil),
		one("POST", "/v1/sessions", 201, doc{"model": "demo", "title": "T"}, doc{"model": "demo"}),
		one("PATCH", s[0], 200, doc{"title": "T"}, doc{"title": "Other"}),
		one("PUT", s[1]+"/preset", 200, doc{"preset": "again"}, doc{"model": "demo"}),
		one("DELETE", s[2], 200, nil, nil),
		one("POST", s[3]+"/restore", 200, nil, nil),
		one("POST", s[4]+"/messages", 201, hello, bye),
		one("POST", s[0]+"/messages", 200, hello, bye, "Accept: text/event-stream"),
		one("POST", "/v1/users", 201, doc{"handle": "bea", "name": "Bea", "role": "member"},
			doc{"handle": "bea", "name": "Bea", "role": "admin"}),
		one("POST", "/v1/chat/completions", 200, ask("Hello", false), ask("Bye", false)),
		one("POST", "/v1/chat/completions", 200, ask("Hello", true), ask("Bye", true), "Prelude-Test: stream"),
		one("POST", "/v1/chat/completions", 200, ask("Hello", false), ask("Bye", false),
			"Prelude-Session: "+strings.TrimPrefix(s[1], session)),
		one("DELETE", "/v1/api-keys/"+key, 200, nil, nil),
	}
}

func TestBadRepeat(t *testing.T) {
	t.Parallel()
	r := start(t)
	t.Run("keys", func(t *testing.T) { r.refuses(t, badIdempotencyKeys()) })
	t.Run("the_longest_key", func(t *testing.T) {
		r.on(t).do("POST", "/v1/sessions", doc{"model": "demo"}, "Idempotency-Key: "+strings.Repeat("~", 255)).want(201)
	})
	t.Run("a_key_is_its_caller's_and_its_route's", func(t *testing.T) { r.on(t).ownKeys(t) })
	all := r.repeats()
	key := func(i int) string { return fmt.Sprintf("Idempotency-Key: repeat %d", i) }
	for i := range all {
		c := &all[i]
		t.Run(fmt.Sprintf("%d_%s", i, c.name), func(t *testing.T) {
			r := r.on(t)
			a := r.do(c.method, c.path, c.body, append(c.headers, key(i))...)
			if c.first = a.id(); a.Status != c.status || a.Header.Get("Idempotency-Replayed") != "" {
				t.Fatalf("first: %d, replayed %q: %s", a.Status, a.Header.Get("Idempotency-Replayed"), a.Body)
			}
			head := r.head()
			c.again(r, key(i))
			if c.other != nil {
				b := r.do(c.method, c.path, c.other, append(c.headers, key(i))...)
				if b.Status != 422 || !strings.Contains(string(b.Body), `"idempotency_key_reused"`) {
					t.Errorf("with another body: %d %s", b.Status, b.Body)
				}
				b.isRefusal()
			}
			if now := r.head(); now != head {
				t.Errorf("a repeat left an event")
			}
		})
	}
	t.Run("a_label_that_is_gone_by_now", func(t *testing.T) {
		r, path, key := r.on(t), "/v1/presets/again/labels/brief", "Idempotency-Key: brief"
		r.do("PUT", path, doc{"version": 1}, key).want(200)
		r.do("DELETE", path, nil).want(200)
		r.do("PUT", path, doc{"version": 1}, key).refused(404, "not_found")
	})
	t.Run("a_secret_is_shown_once", func(t *testing.T) { r.on(t).secretOnce() })
	t.Run("eight_at_once", func(t *testing.T) { r.on(t).eightAtOnce(t) })
	r.stop()
	r.serve()
	t.Run("after_a_restart", func(t *testing.T) {
		r := r.on(t)
		head := r.head()
		for i := range all {
			all[i].again(r, key(i))
		}
		if now := r.head(); now != head {
			t.Errorf("a repeat left an event")
		}
	})
}

// again expects what was made then.
func (c *repeat) again(r *rig, key string) {
	r.t.Helper()
	a := r.do(c.method, c.path, c.body, append(c.headers, key)...)
	if a.Status != c.status || a.Header.Get("Idempotency-Replayed") != "true" || a.id() != c.first {
		r.t.Errorf("%s again: %d, replayed %q, %s, want %s: %s", c.name, a.Status,
			a.Header.Get("Idempotency-Replayed"), a.id(), c.first, a.Body)
	}
}

// id tells what was made: the thing, or the message and its reply with the whole text.
func (a *answer) id() string {
	a.t.Helper()
	if reply := a.Header.Get("Prelude-Reply"); reply != "" {
		return reply
	}
	if a.Header.Get("Content-Type") == "text/event-stream" {
		var text strings.Builder
		for line := range strings.Lines(string(a.Body)) {
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				d := decode(a.t, data)
				text.WriteString(d.str("message") + d.str("text") + d.str("finish_reason"))
			}
		}
		return text.String()
	}
	d := decode(a.t, string(a.Body))
	return d.str("id") + d.str("label") + d.str("message", "id") + d.str("reply", "id") + d.str("reply", "content") +
		d.str("reply", "status")
}

func badIdempotencyKeys() []fault {
	var all []fault
	for _, key := range []string{"", strings.Repeat("a", 256), "tab\there", "é", canary + "\x80",
		strings.Repeat("é", 200)} {
		for _, f := range []fault{{method: "POST", path: "/v1/presets", body: draft("key", nil)},
			{method: "POST", path: "/v1/sessions", body: doc{"model": "demo"}},
			{method: "DELETE", path: "/v1/presets/nobody"}} {
			f.name, f.headers = fmt.Sprintf("%s %s %.6q", f.method, f.path, key), []string{"Idempotency-Key: " + key}
			f.status, f.code, f.fields = 422, "invalid", []string{"header.Idempotency-Key"}
			all = append(all, f)
		}
	}
	return all
}

func (r *rig) ownKeys(t *testing.T) {
	other := r.as(r.member("cal", "member"))
	ids := map[string]bool{}
	for _, who := range []*rig{r, other} {
		ids[who.do("POST", "/v1/sessions", doc{"model": "demo"}, "Idempotency-Key: shared").want(201).str("id")] = true
	}
	r.do("POST", "/v1/presets", draft("shared", nil), "Idempotency-Key: shared").want(201)
	if len(ids) != 2 {
		t.Errorf("two callers with one key got one session")
	}
	// What was refused is judged afresh.
	r.do("POST", "/v1/presets", draft("shared", nil), "Idempotency-Key: refused").refused(409, "slug_taken")
	r.do("POST", "/v1/presets", draft("shared-2", nil), "Idempotency-Key: refused").want(201)
}

func (r *rig) secretOnce() {
	const key = "Idempotency-Key: secret"
	r.do("POST", "/v1/api-keys", doc{"name": "k"}, key).want(201)
	head := r.head()
	a := r.do("POST", "/v1/api-keys", doc{"name": "k"}, key)
	a.isRefusal()
	if d := a.refused(409, "secret_shown_once"); !strings.HasPrefix(d.str("ref"), "key_") {
		r.t.Errorf("the key's id is not told: %v", d)
	}
	r.do("POST", "/v1/api-keys", doc{"name": "other"}, key).refused(422, "idempotency_key_reused")
	if r.head() != head {
		r.t.Error("a repeat left an event")
	}
}

func (r *rig) eightAtOnce(t *testing.T) {
	session, streamed := "/v1/sessions/"+r.session(), "/v1/sessions/"+r.session()
	ask := doc{"model": "demo", "messages": []doc{{"role": "user", "content": "demo:chunks=10 demo:delay=2ms"}}}
	say := doc{"content": "demo:chunks=10 demo:delay=2ms"}
	for i, c := range []struct {
		path   string
		body   doc
		accept string
		want   map[string]int
		events int // -1: more than one stream gets some
	}{
		{"/v1/presets", draft("eight", nil), "*/*", map[string]int{"201": 8}, -1},
		{"/v1/sessions", doc{"model": "demo"}, "*/*", map[string]int{"201": 8}, 1},
		{session + "/messages", say, "*/*", map[string]int{"201": 8}, 4},
		{streamed + "/messages", say, "text/event-stream", map[string]int{"200": 8}, 4},
		{"/v1/users", doc{"handle": "eve", "name": "Eve", "role": "member"}, "*/*", map[string]int{"201": 8}, -1},
		{"/v1/api-keys", doc{"name": "k"}, "*/*", map[string]int{"201": 1, "409 secret_shown_once": 7}, 1},
		{"/v1/chat/completions", ask, "*/*", map[string]int{"200": 8}, 2},
		{"/v1/presets/again/publish", doc{"labels": []string{"eight"}}, "*/*", map[string]int{"200": 8}, -1},
	} {
		answers := together(8, func(int) *answer {
			return r.do("POST", c.path, c.body, fmt.Sprintf("Idempotency-Key: eight %d", i), "Accept: "+c.accept)
		})
		if got := statuses(answers); !maps.Equal(got, c.want) {
			t.Errorf("%s: answers %v, want %v", c.path, got, c.want)
			continue
		}
		ids := map[string]int{}
		for _, a := range answers {
			if a.Status < 300 {
				ids[a.id()]++
			}
		}
		if len(ids) != 1 {
			t.Errorf("%s made %d things: %v", c.path, len(ids), ids)
		}
	}
	for _, s := range []string{session, streamed} {
		if d := r.do("GET", s, nil).want(200); d.num("messages") != 2 {
			t.Errorf("eight at once posted more than once: %v", d)
		}
	}
	for _, path := range []string{"/v1/presets?label=eight", "/v1/audit?kind=preset.labeled&limit=100"} {
		if n := len(r.do("GET", path, nil).want(200).list("data")); path[4] == 'p' && n != 1 {
			t.Errorf("%s lists %d", path, n)
		}
	}
}
