package main

import (
	"strings"
	"testing"
)

const nul = canary + "\x00"

func TestBadText(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.preset("text")
	r.do("POST", "/v1/presets", draft("open", doc{"instructions": "Speak of {{x}}.",
		"variables": []doc{{"name": "x", "type": "string"}}})).want(201)
	r.do("POST", "/v1/presets/open/publish", nil).want(201)
	session := "/v1/sessions/" + r.do("POST", "/v1/sessions", doc{"preset": "open"}).want(201).str("id")
	t.Run("NUL", func(t *testing.T) { r.refuses(t, nulEverywhere(session)) })
	t.Run("length", func(t *testing.T) { r.refuses(t, tooLong(session)) })
	t.Run("nothing", func(t *testing.T) { r.refuses(t, empty(session)) })
	t.Run("in_paths_and_queries", func(t *testing.T) { r.refuses(t, notPlain(session)) })
	t.Run("unchanged", func(t *testing.T) {
		r := r.on(t)
		if got := r.do("GET", "/v1/presets/text", nil).want(200); got.str("draft", "instructions") != "Be kind." {
			t.Errorf("the preset is %v", got)
		}
		if got := r.do("GET", session, nil).want(200); got.num("messages") != 0 {
			t.Errorf("the session is %v", got)
		}
	})
}

func invalid(method, path string, body doc, fields ...string) fault {
	f := fault{name: method + " " + path + " " + strings.Join(fields, " "), method: method, path: path,
		status: 422, code: "invalid", fields: fields}
	if body != nil {
		f.body = body
	}
	return f
}

func (f fault) with(status int, code string) fault {
	f.status, f.code = status, code
	return f
}

func (f fault) matching(etag string) fault {
	f.headers = append(f.headers, "If-Match: "+etag)
	return f
}

func nulEverywhere(session string) []fault {
	var all []fault
	for field, change := range map[string]doc{
		"slug": {"slug": nul}, "name": {"name": nul}, "description": {"description": nul},
		"tags[0]": {"tags": []string{nul}}, "language": {"language": nul}, "instructions": {"instructions": nul},
		"model": {"model": nul}, "settings.stop[0]": {"settings": doc{"stop": []string{nul}}},
		"settings.response_format": {"settings": doc{"response_format": nul}},
		"context.strategy":         {"context": doc{"strategy": nul}},
		"variables[0].name":        {"variables": []doc{{"name": nul, "type": "string"}}},
		"variables[0].type":        {"variables": []doc{{"name": "a", "type": nul}}},
		"variables[0].description": {"variables": []doc{{"name": "a", "type": "string", "description": nul}}},
		"variables[0].default":     {"variables": []doc{{"name": "a", "type": "string", "default": nul}}},
	} {
		all = append(all, invalid("POST", "/v1/presets", draft("nul", change), field),
			invalid("PATCH", "/v1/presets/text", change, field).matching("*"))
	}
	return append(all,
		invalid("POST", "/v1/presets", draft("nul", doc{"scope": nul}), "scope"),
		invalid("POST", "/v1/presets/text/publish", doc{"note": nul}, "note"),
		invalid("POST", "/v1/presets/text/publish", doc{"labels": []string{nul}}, "labels[0]"),
		fault{name: "hash", method: "POST", path: "/v1/presets/text/publish", body: doc{"content_hash": nul},
			status: 409, code: "content_changed"},
		invalid("PUT", "/v1/presets/text/labels/beta", doc{"version": 1, "note": nul}, "note"),
		invalid("POST", "/v1/presets/text/render", doc{"selector": nul}, "selector").with(422, "unknown_version"),
		invalid("POST", "/v1/presets/open/render", doc{"variables": doc{"x": nul}}, "variables.x"),
		invalid("POST", "/v1/presets/open/render", doc{"variables": doc{nul: "x", "x": "y"}}, "variables"),
		invalid("POST", "/v1/sessions", doc{"model": "demo", "title": nul}, "title"),
		invalid("POST", "/v1/sessions", doc{"model": nul}, "model").with(422, "unknown_model"),
		invalid("POST", "/v1/sessions", doc{"model": "demo", "members": []string{nul}}, "members"),
		invalid("POST", "/v1/sessions", doc{"preset": nul}, "preset").with(422, "unknown_preset"),
		invalid("POST", "/v1/sessions", doc{"preset": "text@" + nul}, "preset").with(422, "unknown_preset"),
		invalid("POST", "/v1/sessions", doc{"preset": doc{"id": nul}}, "preset").with(422, "unknown_preset"),
		invalid("POST", "/v1/sessions", doc{"preset": "open", "variables": doc{"x": nul}}, "variables.x"),
		invalid("PATCH", session, doc{"title": nul}, "title"),
		invalid("PUT", session+"/preset", doc{"model": nul}, "model").with(422, "unknown_model"),
		invalid("POST", session+"/messages", doc{"content": nul}, "content"),
		invalid("POST", session+"/messages", doc{"content": "a", "model": nul}, "model").with(422, "unknown_model"),
		invalid("POST", session+"/messages", doc{"content": "a", "variables": doc{"x": nul}}, "variables.x"),
		invalid("POST", "/v1/users", doc{"handle": nul, "name": "A", "role": "member"}, "handle"),
		invalid("POST", "/v1/users", doc{"handle": "a", "name": nul, "role": "member"}, "name"),
		invalid("POST", "/v1/users", doc{"handle": "a", "name": "A", "role": nul}, "role"),
		invalid("POST", "/v1/api-keys", doc{"name": nul}, "name"),
		invalid("POST", "/v1/api-keys", doc{"name": "a", "user": nul}, "user").with(422, "unknown_user"),
		invalid("POST", "/v1/api-keys", doc{"name": "a", "user": "usr_" + nul}, "user").with(422, "unknown_user"),
	)
}

func tooLong(session string) []fault {
	x := func(n int) string { return strings.Repeat("é", n) }
	var all []fault
	for field, change := range map[string]doc{
		"slug": {"slug": strings.Repeat("a", 64)}, "name": {"name": x(201)}, "description": {"description": x(2001)},
		"tags": {"tags": strings.Split(strings.Repeat("a,", 20)+"a", ",")}, "tags[0]": {"tags": []string{x(65)}},
		"model":                {"model": "openai/" + x(300)},
		"settings.stop":        {"settings": doc{"stop": []string{"a", "b", "c", "d", "e"}}},
		"variables":            {"variables": make([]doc, 65)},
		"variables[0].default": {"variables": []doc{{"name": "a", "type": "string", "default": x(4<<10 + 1)}}},
		"variables[0].name":    {"variables": []doc{{"name": strings.Repeat("a", 64), "type": "string"}}},
	} {
		all = append(all, invalid("POST", "/v1/presets", draft("long", change), field),
			invalid("PATCH", "/v1/presets/text", change, field).matching("*"))
	}
	return append(all,
		invalid("POST", "/v1/presets", draft("long", doc{"instructions": strings.Repeat("a", 64<<10+1)}),
			"instructions", "instructions"), // longer than they may be, and than the window is
		invalid("POST", "/v1/sessions", doc{"model": "demo", "title": x(201)}, "title"),
		invalid("PATCH", session, doc{"title": x(201)}, "title"),
		invalid("POST", session+"/messages", doc{"content": strings.Repeat("a", 300<<10)}, "content"),
		invalid("POST", session+"/messages", doc{"content": "a", "variables": doc{"x": x(4<<10 + 1)}}, "variables.x"),
		invalid("POST", "/v1/users", doc{"handle": strings.Repeat("a", 64), "name": "A", "role": "member"}, "handle"),
		invalid("POST", "/v1/users", doc{"handle": "a", "name": x(201), "role": "member"}, "name"),
		invalid("POST", "/v1/api-keys", doc{"name": x(201)}, "name"),
		invalid("GET", "/v1/search/presets?q="+strings.Repeat("a", 1001), nil, "query.q"),
	)
}

func empty(session string) []fault {
	var all []fault
	for field, change := range map[string]doc{
		"slug": {"slug": ""}, "name": {"name": " "}, "instructions": {"instructions": ""}, "model": {"model": ""},
		"tags[0]": {"tags": []string{""}}, "settings.stop[0]": {"settings": doc{"stop": []string{""}}},
		"variables[0].name": {"variables": []doc{{"name": "", "type": "string"}}},
	} {
		all = append(all, invalid("POST", "/v1/presets", draft("empty", change), field),
			invalid("PATCH", "/v1/presets/text", change, field).matching("*"))
	}
	return append(all,
		invalid("POST", "/v1/presets", doc{}, "slug", "name", "instructions", "model"),
		invalid("PATCH", "/v1/presets/text", doc{"name": nil, "instructions": nil, "model": nil},
			"name", "instructions", "model").matching("*"),
		invalid("PUT", "/v1/presets/text/labels/beta", doc{}, "version"),
		invalid("POST", "/v1/sessions", doc{}, "preset"),
		invalid("POST", "/v1/sessions", doc{"preset": nil, "model": ""}, "preset"),
		invalid("PATCH", session, doc{}, "title"),
		invalid("PUT", session+"/preset", doc{}, "preset"),
		invalid("POST", session+"/messages", doc{}, "content"),
		invalid("POST", session+"/messages", doc{"content": " \n"}, "content"),
		invalid("POST", "/v1/users", doc{}, "handle", "name", "role"),
		invalid("POST", "/v1/api-keys", doc{}, "name"),
	)
}

// notPlain are ids and filters that Postgres would not take.
func notPlain(session string) []fault {
	var all []fault
	for _, id := range []string{"%00", "%ff", canary + "%00", "ses_" + canary, "..%2f..", strings.Repeat("a", 3000)} {
		for _, path := range []string{"/v1/presets/", "/v1/sessions/", "/v1/replies/", "/v1/presets/text/labels/",
			"/v1/presets/text/versions/"} {
			all = append(all, fault{name: path + id[:3], method: "GET", path: path + id, status: 404, code: "not_found"})
		}
		all = append(all, fault{name: "a key " + id[:3], method: "DELETE", path: "/v1/api-keys/" + id, status: 404,
			code: "not_found"},
			fault{name: "post to " + id[:3], method: "POST", path: "/v1/sessions/" + id + "/messages",
				body: doc{"content": "a"}, status: 404, code: "not_found"},
			fault{name: "cancel " + id[:3], method: "POST", path: "/v1/replies/" + id + "/cancel", status: 404,
				code: "not_found"})
	}
	for path, names := range map[string][]string{
		"/v1/presets":        {"owner", "tag", "language", "label", "team", "origin", "cursor", "as_of", "min_position"},
		"/v1/search/presets": {"q", "tag", "language", "cursor"}, "/v1/audit": {"actor", "object", "kind", "from"},
		"/v1/usage": {"from", "group"}, "/v1/feed": {"after"}, session: {"as_of"}, session + "/messages": {"cursor"},
	} {
		for _, name := range names {
			if path == "/v1/presets" && name == "as_of" {
				continue
			}
			all = append(all, invalid("GET", path+"?"+name+"="+canary+"%00", nil, "query."+name),
				invalid("GET", path+"?"+name+"="+canary+"%ff", nil, "query."+name))
		}
	}
	return all
}
