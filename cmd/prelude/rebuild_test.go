package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"testing"
)

// lives leaves something of every kind in the log.
func (r *rig) lives(t *testing.T) (paths []string) {
	t.Helper()
	preset := r.do("POST", "/v1/presets", doc{"slug": "first", "name": "First <b>", "scope": "org", "model": "demo",
		"instructions": "Speak of {{x}}.", "tags": []string{"a", "b"}, "language": "en",
		"variables": []doc{{"name": "x", "type": "number", "default": 7}}})
	id, etag := preset.want(201).str("id"), preset.Header.Get("ETag")
	r.do("POST", "/v1/presets/"+id+"/publish", doc{"note": "one", "labels": []string{"production", "staging"}}).want(201)
	r.do("PATCH", "/v1/presets/"+id, doc{"instructions": "Speak more of {{x}}.", "slug": "renamed"},
		"If-Match: "+etag).want(200)
	r.do("POST", "/v1/presets/"+id+"/publish", nil).want(201)
	r.do("PUT", "/v1/presets/"+id+"/labels/production", doc{"version": 2, "note": "better"}).want(200)
	r.do("DELETE", "/v1/presets/"+id+"/labels/staging", nil).want(200)
	mine := r.do("POST", "/v1/presets", doc{"slug": "mine", "name": "Mine", "model": "demo", "instructions": "M"}).
		want(201).str("id")
	r.do("DELETE", "/v1/presets/"+mine, nil).want(200)
	r.do("POST", "/v1/presets/"+mine+"/restore", nil).want(200)
	gone := r.preset("gone")
	r.do("DELETE", "/v1/presets/"+gone, nil).want(200)
	session := r.do("POST", "/v1/sessions", doc{"preset": "renamed@v1", "title": "One", "variables": doc{"x": 3}}).
		want(201).str("id")
	var replies []string
	for _, content := range []string{"Hello", "demo:fail=cut demo:after=2", "Again"} {
		replies = append(replies, r.do("POST", "/v1/sessions/"+session+"/messages", doc{"content": content}).
			want(201).str("reply", "id"))
	}
	r.do("PUT", "/v1/sessions/"+session+"/preset", doc{"preset": doc{"id": id, "label": "production"}}).want(200)
	r.do("PATCH", "/v1/sessions/"+session, doc{"title": "Two"}).want(200)
	other := r.session()
	r.do("DELETE", "/v1/sessions/"+other, nil).want(200)
	done := r.do("POST", "/v1/chat/completions", doc{"model": "preset:renamed",
		"messages": []doc{{"role": "user", "content": "Hi"}}})
	done.want(200)
	replies = append(replies, done.Header.Get("Prelude-Reply"))
	revoked := r.do("POST", "/v1/api-keys", doc{"name": "old"}).want(201).str("id")
	r.do("DELETE", "/v1/api-keys/"+revoked, nil).want(200)
	r.member("ada", "reviewer")

	paths = []string{"/v1/presets", "/v1/presets?order=asc", "/v1/presets?label=production", "/v1/presets/" + gone,
		"/v1/search/presets?q=first", "/v1/search/presets", "/v1/sessions", "/v1/sessions?status=deleted",
		"/v1/sessions/" + session + "/messages", "/v1/sessions/" + session + "/messages?order=desc&limit=2",
		"/v1/sessions/" + session + "/context", "/v1/audit?limit=100", "/v1/audit?kind=preset.labeled", "/v1/models",
		"/v1/models/preset:renamed", "/v1/me", "/v1/users", "/v1/api-keys", "/v1/usage"}
	for _, p := range []string{id, mine} {
		for _, part := range []string{"", "/versions", "/labels", "/history"} {
			paths = append(paths, "/v1/presets/"+p+part)
		}
	}
	paths = append(paths, "/v1/presets/"+id+"/versions/1", "/v1/presets/"+id+"/versions/2",
		"/v1/presets/"+id+"/labels/production", "/v1/presets/first")
	for _, s := range []string{session, other} {
		paths = append(paths, "/v1/sessions/"+s)
	}
	for _, reply := range replies {
		paths = append(paths, "/v1/replies/"+reply, "/v1/replies/"+reply+"/context?include=request",
			"/v1/replies/"+reply+"/stream")
	}
	return paths
}

// passing changes from one answer to the next, whatever is stored.
var passing = regexp.MustCompile(`"score":[0-9.e+-]+`)

// answers asks everything.
func (r *rig) answers(t *testing.T, paths []string) map[string]string {
	t.Helper()
	at := r.do("GET", "/v1/audit?limit=1", nil).want(200).list("data")[0].str("position")
	all := map[string]string{}
	for _, path := range paths {
		if a := r.do("GET", path, nil, "Accept: application/json"); a.Status == 200 {
			all[path] = passing.ReplaceAllString(string(a.Body), "")
		} else {
			t.Errorf("%s: status %d: %s", path, a.Status, a.Body)
		}
		as := path + "?as_of=" + at
		if a := r.do("GET", as, nil); regexp.MustCompile(`^/v1/(presets|sessions)/[a-z0-9_]+$`).MatchString(path) {
			all[as] = string(a.Body)
		}
	}
	return all
}

// TestRebuild drops what is built from the log, in Postgres and in OpenSearch, starts again, and gets the same
// answers to every question.
func TestRebuild(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	name := prefix(t, g.url)
	r := start(t, "--opensearch-url", g.url, "--opensearch-prefix", name)
	paths := r.lives(t)
	settle := func() {
		r.search("q=first&min_position="+r.do("GET", "/v1/audit?limit=1", nil).want(200).list("data")[0].str("position"),
			"opensearch")
	}
	settle()
	before := r.answers(t, paths)
	r.stop()
	out := &buffer{}
	if err := run(t.Context(), append([]string{"rebuild", "--yes", "--data", r.data, "--database-url", r.dsn,
		"--opensearch-url", g.url, "--opensearch-prefix", name}, r.storeFlags()...), out, out); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r.serve("--opensearch-url", g.url, "--opensearch-prefix", name)
	settle()
	after := r.answers(t, paths)
	for path, want := range before {
		if after[path] != want {
			t.Errorf("%s\nbefore %s\nafter  %s", path, want, after[path])
		}
	}
	if len(before) < len(paths) {
		t.Errorf("%d answers to %d questions", len(before), len(paths))
	}
	historyIsAudit(t, r, paths)
}

// historyIsAudit holds the audit, which is a read model, against the histories, which are replays.
func historyIsAudit(t *testing.T, r *rig, paths []string) {
	t.Helper()
	audit := map[string]string{}
	for _, e := range r.do("GET", "/v1/audit?limit=100", nil).want(200).list("data") {
		audit[e.str("id")] = fmt.Sprint(e)
	}
	compared := 0
	for _, path := range paths {
		if !regexp.MustCompile(`/history$`).MatchString(path) {
			continue
		}
		for _, e := range r.do("GET", path, nil).want(200).list("data") {
			if audit[e.str("id")] != fmt.Sprint(e) {
				b, _ := json.Marshal(e)
				t.Errorf("history %s\naudit   %s", b, audit[e.str("id")])
			}
			compared++
		}
	}
	if compared == 0 {
		t.Error("nothing was compared")
	}
}
