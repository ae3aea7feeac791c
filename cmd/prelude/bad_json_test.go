package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// bodies are the routes that need a body, each with one that it takes.
func (r *rig) bodies() []fault {
	preset, session := r.preset("bodies"), r.session()
	return []fault{
		{method: "POST", path: "/v1/presets", body: draft("body", nil)},
		{method: "PATCH", path: "/v1/presets/" + preset, body: doc{"name": "Other"}, headers: []string{"If-Match: *"}},
		{method: "PUT", path: "/v1/presets/" + preset + "/labels/beta", body: doc{"version": 1}},
		{method: "POST", path: "/v1/sessions", body: doc{"model": "demo"}},
		{method: "PATCH", path: "/v1/sessions/" + session, body: doc{"title": "Title"}},
		{method: "PUT", path: "/v1/sessions/" + session + "/preset", body: doc{"model": "demo"}},
		{method: "POST", path: "/v1/sessions/" + session + "/messages", body: doc{"content": "Hello"}},
		{method: "POST", path: "/v1/users", body: doc{"handle": "ann", "name": "Ann", "role": "member"}},
		{method: "POST", path: "/v1/api-keys", body: doc{"name": "key"}},
	}
}

// optional are the routes that take a body and need none.
func (r *rig) optional() []fault {
	return []fault{{method: "POST", path: "/v1/presets/bodies/publish", body: doc{"note": "Note"}},
		{method: "POST", path: "/v1/presets/bodies/render", body: doc{"selector": "draft"}}}
}

func TestBadJSON(t *testing.T) {
	t.Parallel()
	r := start(t)
	needed := r.bodies()
	all := append(r.optional(), needed...)
	// of is a fault of each route's body.
	of := func(t *testing.T, routes []fault, status int, code string, fields []string,
		bend func(f *fault, good string)) {
		t.Helper()
		var faults []fault
		for _, f := range routes {
			good, err := json.Marshal(f.body)
			if err != nil {
				t.Fatal(err)
			}
			f.name, f.status, f.code, f.fields = f.method+" "+f.path, status, code, fields
			bend(&f, string(good))
			faults = append(faults, f)
		}
		r.refuses(t, faults)
	}
	t.Run("nothing", func(t *testing.T) {
		of(t, needed, 400, "malformed", nil, func(f *fault, _ string) { f.body = nil })
	})
	for name, text := range map[string]string{"cut": `{"a":`, "words": canary, "two_values": `{} {}`,
		"NaN": `{"a":NaN}`, "a_comment": `{} // ` + canary, "invalid_UTF-8": "{\"name\":\"" + canary + "\xff\"}",
		"half_a_surrogate": `{"name":"` + canary + `\ud800"}`} {
		t.Run(name, func(t *testing.T) {
			of(t, all, 400, "malformed", nil, func(f *fault, _ string) { f.body = text })
		})
	}
	for name, text := range map[string]string{"a_list": `["` + canary + `"]`, "a_text": `"` + canary + `"`,
		"a_number": `7`, "null": `null`} {
		t.Run(name, func(t *testing.T) {
			of(t, all, 422, "invalid", []string{"body"}, func(f *fault, _ string) { f.body = text })
		})
	}
	t.Run("an_unknown_field", func(t *testing.T) {
		of(t, all, 422, "invalid", []string{"colour"}, func(f *fault, good string) {
			f.body = `{"colour":"` + canary + `",` + good[1:]
		})
	})
	t.Run("a_field_in_capitals", func(t *testing.T) {
		of(t, all, 422, "invalid", []string{"NAME"}, func(f *fault, good string) {
			f.body = `{"NAME":"` + canary + `",` + good[1:]
		})
	})
	t.Run("an_unknown_field_that_is_no_name", func(t *testing.T) {
		of(t, all, 422, "invalid", []string{"?"}, func(f *fault, good string) {
			f.body = `{"` + canary + ` and more":1,` + good[1:]
		})
	})
	t.Run("a_field_twice", func(t *testing.T) {
		for _, f := range all {
			good, _ := json.Marshal(f.body)
			name, _, _ := strings.Cut(string(good[2:]), `"`)
			of(t, []fault{f}, 422, "invalid", []string{name}, func(f *fault, good string) {
				f.body = good[:len(good)-1] + "," + good[1:]
			})
		}
	})
	for _, media := range []string{"text/plain", "application/x-www-form-urlencoded", "application/xml",
		"multipart/form-data", "application/" + canary, "image/svg+xml", "garbage"} {
		t.Run(strings.ReplaceAll(media, "/", "_"), func(t *testing.T) {
			of(t, all, 415, "unsupported_media_type", nil, func(f *fault, _ string) {
				f.headers = append([]string{"Content-Type: " + media}, f.headers...)
			})
		})
	}
	t.Run("over_1_MiB", func(t *testing.T) {
		of(t, all, 413, "too_large", nil, func(f *fault, good string) {
			f.body = good + strings.Repeat(" ", 1<<20+1-len(good))
		})
	})
	t.Run("of_1_MiB_is_taken", func(t *testing.T) {
		good := `{"slug":"mib","name":"M","instructions":"I","model":"demo"}`
		r.on(t).do("POST", "/v1/presets", good+strings.Repeat(" ", 1<<20-len(good))).want(201)
	})
	t.Run("a_merge_patch_is_taken", func(t *testing.T) {
		r.on(t).do("PATCH", "/v1/presets/bodies", doc{"name": "Patched"}, "If-Match: *",
			"Content-Type: application/merge-patch+json; charset=utf-8").want(200)
	})
	t.Run("nested", func(t *testing.T) { r.refuses(t, nested()) })
}

func nested() []fault {
	preset := func(name, member, field string) fault {
		return fault{name: name, method: "POST", path: "/v1/presets", status: 422, code: "invalid",
			body:   `{"slug":"n","name":"N","instructions":"I","model":"demo",` + member + `}`,
			fields: []string{field}}
	}
	session := func(name, ref, field string) fault {
		return fault{name: name, method: "POST", path: "/v1/sessions", status: 422, code: "invalid",
			body: `{"preset":` + ref + `}`, fields: []string{field}}
	}
	key := func(name, member, field string) fault {
		return fault{name: name, method: "POST", path: "/v1/api-keys", status: 422, code: "invalid",
			body: `{"name":"k",` + member + `}`, fields: []string{field}}
	}
	return []fault{
		preset("an unknown setting", `"settings":{"colour":"zebra7"}`, "settings.colour"),
		preset("a setting twice", `"settings":{"top_p":1,"top_p":0}`, "settings.top_p"),
		preset("a setting twice, escaped", `"settings":{"top_p":1,"top\u005fp":0}`, "settings.top_p"),
		preset("an unknown field of a variable", `"variables":[{"name":"a","type":"string","colour":1}]`,
			"variables[0].colour"),
		preset("a field of the second variable twice",
			`"variables":[{"name":"a","type":"string"},{"name":"b","name":"c"}]`, "variables[1].name"),
		preset("an unknown field of the context", `"context":{"colour":1}`, "context.colour"),
		preset("a field twice in a default", `"variables":[{"name":"a","type":"string","default":{"x":1,"x":2}}]`,
			"variables[0].default.x"),
		preset("a temperature of letters", `"settings":{"temperature":"zebra7"}`, "settings.temperature"),
		preset("a temperature beyond all numbers", `"settings":{"temperature":1e999}`, "settings.temperature"),
		preset("a half token", `"settings":{"max_output_tokens":1.5}`, "settings.max_output_tokens"),
		preset("tokens beyond all numbers", `"settings":{"max_output_tokens":99999999999999999999}`,
			"settings.max_output_tokens"),
		preset("stops that are one text", `"settings":{"stop":"zebra7"}`, "settings.stop"),
		preset("a tag that is a number", `"tags":["a",7]`, "tags[1]"),
		preset("variables that are an object", `"variables":{"zebra7":1}`, "variables"),
		preset("locked with words", `"locked":"zebra7"`, "locked"),
		preset("a team", `"team":"zebra7"`, "team"),
		preset("an unknown scope", `"scope":"zebra7"`, "scope"),
		session("a preset that is a number", `7`, "preset"),
		session("a preset with an unknown field", `{"id":"prs_1","colour":"zebra7"}`, "preset.colour"),
		session("a preset with a field twice", `{"id":"prs_1","id":"prs_2"}`, "preset.id"),
		session("a preset whose version is a text", `{"id":"prs_1","version":"zebra7"}`, "preset.version"),
		session("a preset without an id", `{"version":1}`, "preset"),
		session("an empty name", `""`, "preset"),
		key("a time of words", `"expires_at":"zebra7"`, "expires_at"),
		key("a time that is over", `"expires_at":"2001-01-01T00:00:00Z"`, "expires_at"),
		key("a user that is a list", `"user":["zebra7"]`, "user"),
		{name: "a scope in a patch", method: "PATCH", path: "/v1/presets/bodies", body: `{"scope":"user"}`,
			headers: []string{"If-Match: *"}, status: 422, code: "invalid", fields: []string{"scope"}},
		{name: "labels that are a text", method: "POST", path: "/v1/presets/bodies/publish",
			body: `{"labels":"zebra7"}`, status: 422, code: "invalid", fields: []string{"labels"}},
		{name: "a version that is a text", method: "PUT", path: "/v1/presets/bodies/labels/beta",
			body: `{"version":"zebra7"}`, status: 422, code: "invalid", fields: []string{"version"}},
	}
}
