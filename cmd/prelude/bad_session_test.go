package main

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestBadSession(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.do("POST", "/v1/presets", draft("vars", doc{"instructions": "{{need}} {{n}} {{ok}}", "variables": []doc{
		{"name": "need", "type": "string", "required": true}, {"name": "n", "type": "number", "default": 1},
		{"name": "ok", "type": "boolean", "default": true}}})).want(201)
	r.do("POST", "/v1/presets/vars/publish", nil).want(201)
	t.Run("variables", func(t *testing.T) { r.on(t).badVariables(t) })
	t.Run("a_second_message_while_a_reply_is_under_way", func(t *testing.T) { r.on(t).underWay(t) })
	t.Run("deleted", func(t *testing.T) { r.on(t).deletedSession(t) })
	t.Run("a_message_that_does_not_fit", func(t *testing.T) { r.on(t).doesNotFit(t) })
	t.Run("a_stale_ETag", func(t *testing.T) { r.on(t).staleSession(t) })
	t.Run("hanging_up_in_the_middle", func(t *testing.T) { r.on(t).hangUp() })
	t.Run("hanging_up_at_any_moment", func(t *testing.T) { r.on(t).hangUpAnywhere() })
}

func (r *rig) badVariables(t *testing.T) {
	missing := "/v1/sessions/" + r.do("POST", "/v1/sessions", doc{"preset": "vars"}).want(201).str("id")
	bare := "/v1/sessions/" + r.session()
	var all []fault
	for _, c := range []struct {
		name      string
		variables doc
		field     string
	}{
		{"undeclared", doc{"need": "a", canary: "a"}, ""},
		{"a number for a string", doc{"need": 7}, ".need"},
		{"null for a string", doc{"need": nil}, ".need"},
		{"a list for a string", doc{"need": []string{canary}}, ".need"},
		{"a string for a number", doc{"need": "a", "n": canary}, ".n"},
		{"a string for a boolean", doc{"need": "a", "ok": canary}, ".ok"},
		{"more than 8 KiB", doc{"need": strings.Repeat("é", 4<<10+1)}, ".need"},
	} {
		for _, f := range []fault{
			invalid("POST", "/v1/sessions", doc{"preset": "vars", "variables": c.variables}, "variables"+c.field),
			invalid("PUT", missing+"/preset", doc{"preset": "vars", "variables": c.variables}, "variables"+c.field),
			invalid("POST", missing+"/messages", doc{"content": "a", "variables": c.variables}, "variables"+c.field),
			invalid("POST", "/v1/presets/vars/render", doc{"variables": c.variables}, "variables"+c.field),
		} {
			f.name = c.name + " " + f.path
			all = append(all, f)
		}
	}
	r.refuses(t, append(all,
		invalid("POST", missing+"/messages", doc{"content": "a"}, "variables.need"),
		invalid("POST", "/v1/presets/vars/render", nil, "variables.need"),
		invalid("GET", missing+"/context", nil, "variables.need"),
		invalid("POST", "/v1/sessions", doc{"model": "demo", "variables": doc{"a": "b"}}, "variables").
			with(422, "undeclared_variable"),
		invalid("POST", bare+"/messages", doc{"content": "a", "variables": doc{"a": "b"}}, "variables").
			with(422, "undeclared_variable"),
		invalid("POST", "/v1/sessions", doc{"model": canary}, "model").with(422, "unknown_model"),
		invalid("PUT", bare+"/preset", doc{"model": canary}, "model").with(422, "unknown_model"),
		invalid("POST", bare+"/messages", doc{"content": "a", "model": canary}, "model").with(422, "unknown_model"),
	))
	if d := r.do("GET", missing, nil).want(200); d.num("messages") != 0 || len(d.at("variables").(map[string]any)) != 0 {
		t.Errorf("the session has changed: %v", d)
	}
}

// holds posts a message whose reply takes for ever, and gives the reply's id and its stream.
func (r *rig) holds(session string) (string, *http.Response) {
	r.t.Helper()
	resp := r.open("POST", session+"/messages", doc{"content": "demo:delay=10s"}, "Accept: text/event-stream")
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
			reply, _, _ := strings.Cut(id, ":")
			return reply, resp
		}
	}
	r.t.Fatal("the stream has no event")
	return "", nil
}

func (r *rig) underWay(t *testing.T) {
	session := "/v1/sessions/" + r.session()
	reply, resp := r.holds(session)
	defer func() { _ = resp.Body.Close() }()
	for _, accept := range []string{"application/json", "text/event-stream"} {
		a := r.refusesOne(fault{method: "POST", path: session + "/messages", body: doc{"content": canary},
			headers: []string{"Accept: " + accept}, status: 409, code: "reply_under_way"})
		if a.want(409).str("ref") != reply {
			t.Errorf("the reply's id is not told: %s", a.Body)
		}
	}
	chat := r.do("POST", "/v1/chat/completions", doc{"model": "demo", "messages": []doc{{"role": "user", "content": "a"}}},
		"Prelude-Session: "+strings.TrimPrefix(session, "/v1/sessions/"))
	if d := chat.want(409); d.str("error", "code") != "reply_under_way" || d.str("error", "ref") != reply {
		t.Errorf("the completion is answered %s", chat.Body)
	}
	if d := r.do("GET", session, nil).want(200); d.str("reply_under_way") != reply || d.num("messages") != 2 {
		t.Errorf("the session is %v", d)
	}
	if d := r.do("POST", "/v1/replies/"+reply+"/cancel", nil).want(200); d.str("status") != "cancelled" {
		t.Errorf("cancelled: %v", d)
	}
	r.do("POST", session+"/messages", doc{"content": "And now?"}).want(201)
}

func (r *rig) deletedSession(t *testing.T) {
	session := "/v1/sessions/" + r.session()
	r.do("DELETE", session, nil).want(200)
	refused := func(method, path string, body any) fault {
		return fault{name: method + path, method: method, path: session + path, body: body, status: 409, code: "deleted"}
	}
	r.refuses(t, []fault{refused("POST", "/messages", doc{"content": canary}), refused("PATCH", "", doc{"title": canary}),
		refused("PUT", "/preset", doc{"model": "demo"})})
	if d := r.do("GET", session, nil).want(200); d.str("status") != "deleted" || d.str("deleted_at") == "" {
		t.Errorf("the session is %v", d)
	}
	r.do("POST", session+"/restore", nil).want(200)
	r.do("POST", session+"/messages", doc{"content": "Back"}).want(201)
}

func (r *rig) doesNotFit(t *testing.T) {
	r.do("POST", "/v1/presets", draft("strict", doc{"context": doc{"strategy": "refuse"}})).want(201)
	r.do("POST", "/v1/presets/strict/publish", nil).want(201)
	session := "/v1/sessions/" + r.do("POST", "/v1/sessions", doc{"preset": "strict"}).want(201).str("id")
	half := doc{"content": strings.Repeat("a ", 7<<10)}
	r.do("POST", session+"/messages", half).want(201)
	refused := fault{name: "in all", method: "POST", path: session + "/messages", body: half, status: 422,
		code: "context_full"}
	alone := refused
	alone.name, alone.body = "alone", doc{"content": strings.Repeat("a ", 100<<10)}
	bare := alone
	bare.name, bare.path = "without a preset", "/v1/sessions/"+r.session()+"/messages"
	r.refuses(t, []fault{refused, alone, bare})
	detail := r.do("POST", session+"/messages", half).refused(422, "context_full").str("detail")
	for _, number := range []string{"8192", "1024"} {
		if !strings.Contains(detail, number) {
			t.Errorf("the detail lacks %s: %s", number, detail)
		}
	}
	if d := r.do("GET", session, nil).want(200); d.num("messages") != 2 || d.at("reply_under_way") != nil {
		t.Errorf("the session is %v", d)
	}
}

func (r *rig) staleSession(t *testing.T) {
	session := "/v1/sessions/" + r.session()
	was := r.do("GET", session, nil).Header.Get("ETag")
	now := r.do("PATCH", session, doc{"title": "One"}, "If-Match: "+was)
	now.want(200)
	a := r.refusesOne(fault{method: "PATCH", path: session, body: doc{"title": canary},
		headers: []string{"If-Match: " + was}, status: 412, code: "precondition_failed"})
	if a.Header.Get("ETag") != now.Header.Get("ETag") {
		t.Errorf("the current ETag is not told: %v", a.Header)
	}
	got := r.do("GET", session, nil)
	if got.want(200).str("title") != "One" || got.Header.Get("ETag") != now.Header.Get("ETag") {
		t.Errorf("the session is %s", got.Body)
	}
}

// hangUp leaves in the middle of a stream: the reply goes on and can be read.
func (r *rig) hangUp() {
	session := "/v1/sessions/" + r.session()
	resp := r.open("POST", session+"/messages", doc{"content": "demo:chunks=40 demo:delay=5ms"},
		"Accept: text/event-stream")
	var reply string
	for lines := bufio.NewScanner(resp.Body); lines.Scan() && lines.Text() != "event: reply.delta"; {
		if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
			reply, _, _ = strings.Cut(id, ":")
		}
	}
	_ = resp.Body.Close()
	var text strings.Builder
	all := r.stream("GET", "/v1/replies/"+reply+"/stream", nil)
	for _, e := range all {
		if e.Name == "reply.delta" {
			text.WriteString(decode(r.t, e.Data).str("text"))
		}
	}
	d := r.do("GET", "/v1/replies/"+reply, nil).want(200)
	if all[len(all)-1].Name != "reply.completed" || d.str("status") != "completed" || d.str("content") != text.String() {
		r.t.Errorf("the reply is %v, the stream ended with %v", d, all[len(all)-1])
	}
}

// hangUpAnywhere leaves at moments around the append: either nothing was posted, or a reply is made to its end.
func (r *rig) hangUpAnywhere() {
	took := time.Now()
	r.do("POST", "/v1/sessions/"+r.session()+"/messages", doc{"content": "How long?"}).want(201)
	whole := time.Since(took)
	const tries = 40
	for i := range tries {
		session := "/v1/sessions/" + r.session()
		ctx, cancel := context.WithTimeout(r.t.Context(), whole*time.Duration(i)/tries)
		req, err := http.NewRequestWithContext(ctx, "POST", r.url+session+"/messages", strings.NewReader(`{"content":"Hi"}`))
		if err != nil {
			r.t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+r.key)
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
		}
		cancel()
		for {
			a := r.do("POST", session+"/messages", doc{"content": "Still there?"})
			if a.Status == 201 {
				break
			}
			reply := a.refused(409, "reply_under_way").str("ref")
			all := r.stream("GET", "/v1/replies/"+reply+"/stream", nil)
			if last := all[len(all)-1]; last.Name != "reply.completed" {
				r.t.Fatalf("try %d: a reply is under way that nobody makes: %v", i, all)
			}
		}
	}
}

func decode(t testing.TB, text string) doc {
	t.Helper()
	a := &answer{t: t, Status: 200, Body: []byte(text)}
	return a.want(200)
}
