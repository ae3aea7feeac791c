package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestLogs: one line per request with what it was, and never a text of a person, or a key.
func TestLogs(t *testing.T) {
	t.Parallel()
	r := start(t, "--log-level", "debug")
	id := r.do("POST", "/v1/presets", doc{"slug": "logged", "name": "marker-name", "scope": "org", "model": "demo",
		"instructions": "marker-instructions {{x}}", "variables": []doc{{"name": "x", "type": "string", "required": true}}}).
		want(201).str("id")
	r.do("POST", "/v1/presets/"+id+"/publish", doc{"note": "marker-note"}).want(201)
	session := r.do("POST", "/v1/sessions", doc{"preset": "logged", "title": "marker-title",
		"variables": doc{"x": "marker-value"}}).want(201).str("id")
	r.do("POST", "/v1/sessions/"+session+"/messages", doc{"content": "marker-message"}).want(201)
	r.do("POST", "/v1/sessions/"+session+"/messages", doc{"content": "marker-failing demo:fail=500"}).want(201)
	r.do("POST", "/v1/chat/completions", doc{"model": "demo",
		"messages": []doc{{"role": "user", "content": "marker-completion"}}}).want(200)
	r.do("GET", "/v1/search/presets?q=marker-question", nil).want(200)
	r.do("POST", "/v1/presets", doc{"slug": "Marker.Slug", "name": "marker"}).refused(422, "invalid")
	r.as("prelude_marker_secret").do("GET", "/v1/me?marker=1", nil).refused(401, "unauthenticated")
	r.do("GET", "/v1/nothing/marker", nil, "X-Request-Id: mine-1").refused(404, "not_found")
	r.stop()
	requests := 0
	for line := range strings.Lines(r.logs.String()) {
		if strings.Contains(strings.ToLower(line), "marker") || strings.Contains(line, r.key) ||
			strings.Contains(line, "This is a demo") {
			t.Errorf("a text is logged: %s", line)
		}
		var l map[string]any
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Errorf("not JSON: %s", line)
		}
		if l["msg"] != "request" {
			continue
		}
		requests++
		for _, name := range []string{"method", "route", "status", "duration_ms", "org", "key", "request_id"} {
			if _, ok := l[name]; !ok {
				t.Errorf("no %s: %s", name, line)
			}
		}
	}
	if requests != 10 {
		t.Errorf("%d lines for 10 requests", requests)
	}
	if !strings.Contains(r.logs.String(), `"request_id":"mine-1"`) ||
		!strings.Contains(r.logs.String(), `"route":"/v1/sessions/{id}/messages"`) {
		t.Error("request ids or routes are not as they were")
	}
}
