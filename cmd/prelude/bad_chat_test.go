package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
)

// chatFault is a completion that is refused, in OpenAI's envelope.
type chatFault struct {
	name    string
	body    any
	status  int
	code    string
	param   string
	headers []string
}

// ask is a completion that is taken, with some of it changed.
func ask(change doc) doc {
	d := doc{"model": "demo", "messages": []doc{{"role": "user", "content": "Hi"}}}
	maps.Copy(d, change)
	return d
}

func says(role, text string) doc { return doc{"messages": []doc{{"role": role, "content": text}}} }

func TestBadChat(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.preset("chat")
	r.do("POST", "/v1/presets", draft("locked", doc{"locked": true})).want(201)
	r.do("POST", "/v1/presets/locked/publish", nil).want(201)
	r.do("POST", "/v1/presets", draft("unpublished", nil)).want(201)
	r.do("POST", "/v1/presets", draft("vars", doc{"instructions": "{{x}}",
		"variables": []doc{{"name": "x", "type": "number", "required": true}}})).want(201)
	r.do("POST", "/v1/presets/vars/publish", nil).want(201)
	member := r.as(r.member("mel", "member"))
	others := member.session()
	auditor := r.as(r.member("aud", "auditor"))
	gone := r.session()
	r.do("DELETE", "/v1/sessions/"+gone, nil).want(200)
	r.chatRefuses(t, badChats(others, gone, r.session()))
	t.Run("an_auditor", func(t *testing.T) {
		auditor.on(t).chatRefuses(t, []chatFault{{"may not", ask(nil), 403, "forbidden", "", nil}})
	})
	t.Run("models", func(t *testing.T) { r.on(t).badModels() })
	t.Run("unknown_fields_pass", func(t *testing.T) {
		r.on(t).do("POST", "/v1/chat/completions", `{"model":"demo","messages":[{"role":"user","content":"Hi"}],
			"colour":"blue","colour":"red","metadata":{"a":1},"n":1,"audio":null,"user":"u"}`).want(200)
	})
	t.Run("8_MiB_of_earlier_texts_are_taken", func(t *testing.T) {
		said := []doc{{"role": "assistant", "content": strings.Repeat("a", 7<<20)}, {"role": "user", "content": "Hi"}}
		a := r.on(t).do("POST", "/v1/chat/completions", ask(doc{"messages": said}))
		d := a.want(400)
		if d.str("error", "code") != "context_length_exceeded" || !strings.Contains(d.str("error", "message"), "8192") {
			t.Errorf("it is answered %.300s", a.Body)
		}
	})
}

func (r *rig) chatRefuses(t *testing.T, faults []chatFault) {
	t.Helper()
	before := r.on(t).head()
	for _, f := range faults {
		t.Run(strings.ReplaceAll(f.name, " ", "_"), func(t *testing.T) {
			r.on(t).do("POST", "/v1/chat/completions", f.body, f.headers...).openAI(f.status, f.code, f.param)
		})
	}
	if r.on(t).head() != before {
		t.Error("a refused completion left an event")
	}
	if strings.Contains(strings.ToLower(r.logs.String()), canary) {
		t.Error("a value that was sent is in the log")
	}
}

// openAI expects a refusal in OpenAI's envelope.
func (a *answer) openAI(status int, code, param string) {
	a.t.Helper()
	a.isRefusal()
	var d doc
	if json.Unmarshal(a.Body, &d) != nil || a.Status != status || a.Header.Get("Content-Type") != "application/json" {
		a.t.Fatalf("status %d, want %d, %s: %.300s", a.Status, status, a.Header.Get("Content-Type"), a.Body)
	}
	got, _ := d.at("error", "param").(string)
	if d.str("error", "code") != code || got != param || d.str("error", "message") == "" || d.str("error", "type") == "" {
		a.t.Errorf("want code %q, param %q: %s", code, param, a.Body)
	}
}

func badChats(others, gone, mine string) []chatFault {
	in := func(session string) []string { return []string{"Prelude-Session: " + session} }
	variables := func(v doc) doc { return doc{"model": "preset:vars", "preset": doc{"variables": v}} }
	many := strings.Repeat("a", 300<<10)
	all := []chatFault{
		{"n=2", ask(doc{"n": 2}), 422, "unsupported_parameter", "n", nil},
		{"n=0", ask(doc{"n": 0}), 422, "unsupported_parameter", "n", nil},
		{"audio", ask(doc{"audio": doc{"voice": canary}}), 422, "unsupported_parameter", "audio", nil},
		{"spoken", ask(doc{"modalities": []string{"text", "audio"}}), 422, "unsupported_parameter", "modalities", nil},
		{"functions", ask(doc{"functions": []doc{{"name": canary}}}), 422, "unsupported_parameter", "functions", nil},
		{"function_call", ask(doc{"function_call": "auto"}), 422, "unsupported_parameter", "function_call", nil},
		{"locked with a system message", ask(doc{"model": "preset:locked", "messages": []doc{
			{"role": "system", "content": canary}, {"role": "user", "content": "a"}}}), 422, "preset_locked", "", nil},
		{"locked with a developer message", ask(doc{"model": "preset:locked", "messages": []doc{
			{"role": "developer", "content": canary}, {"role": "user", "content": "a"}}}), 422, "preset_locked", "", nil},
		{"not published", ask(doc{"model": "preset:unpublished"}), 422, "not_published", "model", nil},
		{"no messages", ask(doc{"messages": []doc{}}), 422, "required", "messages", nil},
		{"a temperature of 3", ask(doc{"temperature": 3}), 422, "invalid", "temperature", nil},
		{"top_p of -1", ask(doc{"top_p": -1}), 422, "invalid", "top_p", nil},
		{"fewer than no tokens", ask(doc{"max_tokens": -1}), 422, "invalid", "max_output_tokens", nil},
		{"a temperature of words", ask(doc{"temperature": canary}), 422, "invalid", "temperature", nil},
		{"a model that is a number", ask(doc{"model": 7}), 422, "invalid", "model", nil},
		{"no model", ask(doc{"model": ""}), 422, "invalid", "model", nil},
		{"stream of words", ask(doc{"stream": canary}), 422, "invalid", "stream", nil},
		{"stop that is a number", ask(doc{"stop": 7}), 422, "invalid", "stop", nil},
		{"five stops", ask(doc{"stop": []string{"a", "b", "c", "d", "e"}}), 422, "invalid", "stop", nil},
		{"a format that is a text", ask(doc{"response_format": canary}), 422, "invalid", "response_format", nil},
		{"NUL", ask(says("user", nul)), 422, "invalid", "messages[0].content", nil},
		{"NUL in a role", ask(says(nul, "a")), 422, "invalid", "messages[0].role", nil},
		{"no role", ask(says("", "a")), 422, "invalid", "messages[0].role", nil},
		{"a message that is a text", ask(doc{"messages": []string{canary}}), 422, "invalid", "messages[0]", nil},
		{"messages that are a text", ask(doc{"messages": canary}), 422, "invalid", "messages", nil},
		{"new texts over 256 KiB", ask(says("user", many)), 413, "too_large", "messages", nil},
		{"a variable that is undeclared", ask(variables(doc{"x": 1, canary: 1})), 422, "invalid", "preset.variables", nil},
		{"a variable of another type", ask(variables(doc{"x": canary})), 422, "invalid", "preset.variables.x", nil},
		{"a variable that is missing", ask(variables(doc{})), 422, "invalid", "preset.variables.x", nil},
		{"variables without a preset", ask(doc{"preset": doc{"variables": doc{"x": 1}}}), 422, "undeclared_variable",
			"variables", nil},
		{"no body", nil, 400, "malformed", "", nil},
		{"not JSON", canary, 400, "malformed", "", nil},
		{"invalid UTF-8", "{\"model\":\"" + canary + "\xff\"}", 400, "malformed", "", nil},
		{"another media type", ask(nil), 415, "unsupported_media_type", "", []string{"Content-Type: text/plain"}},
		{"over 8 MiB", `{"model":"demo"` + strings.Repeat(" ", 8<<20) + `}`, 413, "too_large", "", nil},
		{"no key", ask(nil), 401, "unauthenticated", "", []string{"Authorization: Bearer " + canary}},
		{"an empty Idempotency-Key", ask(nil), 422, "invalid", "header.Idempotency-Key", []string{"Idempotency-Key: "}},
		{"another user's session", ask(nil), 404, "not_found", "", in(others)},
		{"nobody's session", ask(nil), 404, "not_found", "", in("ses_00000000000000000000000000")},
		{"a session that is no id", ask(nil), 404, "not_found", "", in("\xff" + canary)},
		{"a deleted session", ask(nil), 409, "deleted", "", in(gone)},
		{"a session without a user's message", ask(says("system", "a")), 422, "invalid", "messages", in(mine)},
		{"an empty message in a session", ask(says("user", "")), 422, "invalid", "content", in(mine)},
	}
	for _, model := range []string{canary, "preset:" + canary, "preset:", "preset:chat@" + canary, "preset:chat@v9",
		"preset:~/chat", "preset:CHAT", "openai/x", "preset:chat\x00", "preset:@default/chat"} {
		all = append(all, chatFault{"model " + model, ask(doc{"model": model}), 404, "model_not_found", "model", nil})
	}
	return all
}

func (r *rig) badModels() {
	for _, id := range []string{canary, "preset:" + canary, "preset%3A" + canary, "preset:chat@v9", "a/b/c",
		"a%2Fb", "%ff", "%00", "preset:%00"} {
		r.do("GET", "/v1/models/"+id, nil).openAI(404, "model_not_found", "model")
	}
	r.do("GET", "/v1/models/preset:unpublished", nil).openAI(422, "not_published", "model")
	r.do("GET", "/v1/models?"+canary+"%20=1", nil).openAI(422, "invalid", "query.?")
	r.do("GET", "/v1/chat/completions", nil).openAI(405, "method_not_allowed", "")
	r.do("POST", "/v1/chat/"+canary, nil).openAI(404, "not_found", "")
	list := r.do("GET", "/v1/models", nil)
	if bytes.Contains(list.Body, []byte("unpublished")) || !slices.ContainsFunc(list.want(200).list("data"),
		func(m doc) bool { return m.str("id") == "preset:chat" }) {
		r.t.Errorf("the models are %s", list.Body)
	}
}
