package main

import (
	"strings"
	"testing"
)

func TestBadPreset(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.preset("first")
	r.do("POST", "/v1/presets", draft("unpublished", nil)).want(201)
	r.do("POST", "/v1/presets", draft("gone", nil)).want(201)
	r.do("POST", "/v1/presets/gone/publish", nil).want(201)
	gone := r.do("DELETE", "/v1/presets/gone", nil).want(200).str("id")
	t.Run("drafts", func(t *testing.T) { r.refuses(t, badDrafts()) })
	t.Run("names", func(t *testing.T) { r.refuses(t, badNames()) })
	t.Run("labels", func(t *testing.T) { r.refuses(t, badLabels()) })
	t.Run("deleted", func(t *testing.T) { r.refuses(t, onDeleted(gone)) })
	t.Run("a_window_that_is_too_small_is_told_with_its_numbers", func(t *testing.T) {
		a := r.on(t).do("POST", "/v1/presets", draft("wide", doc{"instructions": strings.Repeat("a", 60<<10)}))
		detail := a.refused(422, "invalid").list("errors")[0].str("detail")
		for _, number := range []string{"8192", "17555", "1024"} {
			if !strings.Contains(detail, number) {
				t.Errorf("the detail lacks %s: %s", number, detail)
			}
		}
	})
	t.Run("If-Match", func(t *testing.T) { r.on(t).ifMatch() })
}

func badDrafts() []fault {
	var all []fault
	number := func(name string, v any) doc { return doc{"settings": doc{name: v}} }
	variables := func(v ...doc) doc { return doc{"variables": v} }
	for _, c := range []struct {
		name   string
		change doc
		fields []string
	}{
		{"temperature 3", number("temperature", 3), []string{"settings.temperature"}},
		{"temperature -0.1", number("temperature", -0.1), []string{"settings.temperature"}},
		{"temperature NaN", number("temperature", "NaN"), []string{"settings.temperature"}},
		{"top_p -1", number("top_p", -1), []string{"settings.top_p"}},
		{"top_p 1.01", number("top_p", 1.01), []string{"settings.top_p"}},
		{"no tokens", number("max_output_tokens", 0), []string{"settings.max_output_tokens"}},
		{"fewer than no tokens", number("max_output_tokens", -5), []string{"settings.max_output_tokens"}},
		{"absurdly many tokens", number("max_output_tokens", 1_000_001),
			[]string{"settings.max_output_tokens", "instructions"}},
		{"nothing reserved", doc{"context": doc{"reserve_output_tokens": 0}}, []string{"context.reserve_output_tokens"}},
		{"too much reserved", doc{"context": doc{"reserve_output_tokens": 8000}}, []string{"instructions"}},
		{"an unknown strategy", doc{"context": doc{"strategy": canary}}, []string{"context.strategy"}},
		{"an unknown format", number("response_format", canary), []string{"settings.response_format"}},
		{"an unknown model", doc{"model": canary}, []string{"model"}},
		{"a provider that is not set up", doc{"model": "openai/" + canary}, []string{"model"}},
		{"no window for it", doc{"instructions": strings.Repeat("a", 60<<10)}, []string{"instructions"}},
		{"an undeclared variable", doc{"instructions": "{{" + canary + "}}"}, []string{"instructions"}},
		{"a variable that is not closed", doc{"instructions": "{{" + canary}, []string{"instructions"}},
		{"another template language", doc{"instructions": "{{#each " + canary + "}}"}, []string{"instructions"}},
		{"a variable twice", variables(doc{"name": "a", "type": "string"}, doc{"name": "a", "type": "string"}),
			[]string{"variables[1].name"}},
		{"a variable in capitals", variables(doc{"name": "Zebra7", "type": "string"}), []string{"variables[0].name"}},
		{"a variable of no type", variables(doc{"name": "a"}), []string{"variables[0].type"}},
		{"a default of another type", variables(doc{"name": "a", "type": "number", "default": canary}),
			[]string{"variables[0].default"}},
		{"all at once", doc{"name": "", "model": canary, "settings": doc{"temperature": 3, "top_p": -1}},
			[]string{"name", "settings.temperature", "settings.top_p", "model"}},
	} {
		post := invalid("POST", "/v1/presets", draft("bad", c.change), c.fields...)
		post.name = "create with " + c.name
		patch := invalid("PATCH", "/v1/presets/first", c.change, c.fields...).matching("*")
		patch.name = "edit to " + c.name
		all = append(all, post, patch)
	}
	return all
}

func badNames() []fault {
	var all []fault
	for _, slug := range []string{"Zebra7", "a.b", "-a", "a_b", "a/b", "~a", "é", "a b", strings.Repeat("a", 64)} {
		all = append(all, invalid("POST", "/v1/presets", draft(slug, nil), "slug"),
			invalid("PATCH", "/v1/presets/first", doc{"slug": slug}, "slug").matching("*"))
	}
	for _, scope := range []string{"org", "user"} {
		if scope == "org" {
			all = append(all, fault{name: "a taken name", method: "POST", path: "/v1/presets",
				body: draft("first", nil), status: 409, code: "slug_taken"},
				fault{name: "a taken name with If-None-Match", method: "POST", path: "/v1/presets",
					body: draft("first", nil), headers: []string{"If-None-Match: *"}, status: 409, code: "slug_taken"},
				fault{name: "the name of a deleted one", method: "POST", path: "/v1/presets",
					body: draft("gone", nil), status: 409, code: "slug_taken"},
				fault{name: "a move to a taken name", method: "PATCH", path: "/v1/presets/first",
					body: doc{"slug": "unpublished"}, headers: []string{"If-Match: *"}, status: 409, code: "slug_taken"})
		}
	}
	for _, name := range []string{"first@v1", "first@production", "first@latest", "~%2Ffirst@v1"} {
		all = append(all, fault{name: "selector " + name, method: "GET", path: "/v1/presets/" + name, status: 422,
			code: "selector_not_allowed", fields: []string{"path.id"}})
	}
	for _, name := range []string{"nobody", "~%2Ffirst", "~other%2Ffirst", "team%2Ffirst", "@default%2Ffirst",
		"first@", "first@V1", "First", "prs_nobody"} {
		all = append(all, fault{name: "path " + name, method: "GET", path: "/v1/presets/" + name, status: 404,
			code: "not_found"})
	}
	for _, name := range []string{"nobody", "~/first", "~other/first", "team/first", "@default/first", "first@",
		"First", canary, "prs_00000000000000000000000000", "gone"} {
		all = append(all, invalid("POST", "/v1/sessions", doc{"preset": name}, "preset").with(422, "unknown_preset"))
	}
	return append(all,
		invalid("POST", "/v1/sessions", doc{"preset": "unpublished"}, "preset").with(422, "not_published"),
		invalid("POST", "/v1/sessions", doc{"preset": "first@v2"}, "preset").with(422, "unknown_version"),
		invalid("POST", "/v1/sessions", doc{"preset": "first@beta"}, "preset").with(422, "unknown_version"),
		invalid("POST", "/v1/sessions", doc{"preset": doc{"id": "prs_1", "version": 1, "label": "a"}}, "preset"),
		fault{name: "a version that is not there", method: "GET", path: "/v1/presets/first/versions/2", status: 404,
			code: "not_found"},
		fault{name: "a version in words", method: "GET", path: "/v1/presets/first/versions/one", status: 404,
			code: "not_found"},
		fault{name: "a version beyond all numbers", method: "GET", status: 404, code: "not_found",
			path: "/v1/presets/first/versions/99999999999999999999"},
		invalid("POST", "/v1/presets/first/render", doc{"selector": "v9"}, "selector").with(422, "unknown_version"),
		invalid("POST", "/v1/presets/first/render", doc{"variables": doc{canary: 1}}, "variables"),
	)
}

func badLabels() []fault {
	var all []fault
	for _, label := range []string{"v3", "latest", "draft", "Beta", "1a", "a_b", "a.b", strings.Repeat("a", 64)} {
		path := "/v1/presets/first/labels/" + label
		all = append(all, invalid("PUT", path, doc{"version": 1}, "path.label"),
			invalid("POST", "/v1/presets/first/publish", doc{"labels": []string{"fine", label}}, "labels[1]"),
			invalid("DELETE", path, nil, "path.label"))
	}
	return append(all,
		invalid("PUT", "/v1/presets/first/labels/beta", doc{"version": 2}, "version").with(422, "unknown_version"),
		invalid("PUT", "/v1/presets/first/labels/beta", doc{"version": 0}, "version"),
		invalid("PUT", "/v1/presets/first/labels/beta", doc{"version": -1}, "version"),
		invalid("PUT", "/v1/presets/unpublished/labels/beta", doc{"version": 1}, "version").with(422, "unknown_version"),
		fault{name: "a label that is not there", method: "GET", path: "/v1/presets/first/labels/beta", status: 404,
			code: "not_found"},
		fault{name: "another draft", method: "POST", path: "/v1/presets/first/publish",
			body: doc{"content_hash": "sha256:" + canary}, status: 409, code: "content_changed"})
}

func onDeleted(id string) []fault {
	refused := func(method, path string, body any, headers ...string) fault {
		return fault{name: method + " " + path, method: method, path: "/v1/presets/" + id + path, body: body,
			headers: headers, status: 409, code: "deleted"}
	}
	return []fault{
		refused("PATCH", "", doc{"name": "Other"}, "If-Match: *"),
		refused("POST", "/publish", nil),
		refused("PUT", "/labels/beta", doc{"version": 1}),
		refused("DELETE", "/labels/beta", nil),
	}
}

// ifMatch holds commands to the ETag that they name.
func (r *rig) ifMatch() {
	r.do("POST", "/v1/presets", draft("match", nil)).want(201)
	const path = "/v1/presets/match"
	was := r.do("GET", path, nil)
	r.refuses(r.t.(*testing.T), []fault{{name: "none", method: "PATCH", path: path, body: doc{"name": "New"},
		status: 428, code: "precondition_required", fields: []string{"header.If-Match"}}})
	now := r.do("PATCH", path, doc{"name": "New"}, "If-Match: "+was.Header.Get("ETag"))
	now.want(200)
	if now.Header.Get("ETag") == was.Header.Get("ETag") {
		r.t.Fatal("the ETag did not change")
	}
	for _, etag := range []string{was.Header.Get("ETag"), `"` + canary + `"`, canary, "W/" + now.Header.Get("ETag"),
		`""`, ","} {
		for _, f := range []fault{
			{method: "PATCH", path: path, body: doc{"name": "Newer"}},
			{method: "POST", path: path + "/publish"},
			{method: "DELETE", path: path},
		} {
			f.headers, f.status, f.code = []string{"If-Match: " + etag}, 412, "precondition_failed"
			if got := r.refusesOne(f).Header.Values("ETag"); len(got) != 1 || got[0] != now.Header.Get("ETag") {
				r.t.Errorf("%s with %s: the current ETag is not told once: %q", f.method, etag, got)
			}
		}
	}
	got := r.do("GET", path, nil)
	if d := got.want(200); d.str("name") != "New" || d.at("version") != nil ||
		got.Header.Get("ETag") != now.Header.Get("ETag") {
		r.t.Errorf("the preset is %v", d)
	}
	r.do("PATCH", path, doc{"name": "Newer"}, `If-Match: "other", `+now.Header.Get("ETag")).want(200)
}
