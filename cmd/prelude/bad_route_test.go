package main

import (
	"strings"
	"testing"
)

func TestBadRoute(t *testing.T) {
	t.Parallel()
	r := start(t)
	none := func(method, path string, status int, code string) fault {
		return fault{name: method + " " + path, method: method, path: path, status: status, code: code}
	}
	t.Run("routes", func(t *testing.T) {
		r.refuses(t, []fault{
			none("GET", "/", 404, "not_found"), none("GET", "/v1", 404, "not_found"),
			none("GET", "/v1/"+canary, 404, "not_found"), none("GET", "/v2/presets", 404, "not_found"),
			none("POST", "/v1/teams", 404, "not_found"), none("GET", "/v1/presets/a/b/c", 404, "not_found"),
			none("GET", "/v1/presets/", 404, "not_found"), none("GET", "/V1/presets", 404, "not_found"),
			none("DELETE", "/v1/presets", 405, "method_not_allowed"), none("PUT", "/v1/me", 405, "method_not_allowed"),
			none("PATCH", "/v1/sessions", 405, "method_not_allowed"), none("POST", "/healthz", 405, "method_not_allowed"),
			none("DELETE", "/v1/replies/"+canary, 405, "method_not_allowed"),
			none("ZEBRA7", "/v1/me", 405, "method_not_allowed"),
		})
	})
	t.Run("what_a_path_takes_is_told", func(t *testing.T) {
		for path, want := range map[string]string{"/v1/presets": "GET, POST", "/healthz": "GET",
			"/v1/presets/~%2Fmine": "GET, PATCH, DELETE", "/v1/presets/a/labels/b": "GET, PUT, DELETE"} {
			if got := r.on(t).do("OPTIONS", path, nil).Header.Get("Allow"); got != want {
				t.Errorf("%s allows %q, want %q", path, got, want)
			}
		}
	})
	t.Run("x-request-id", func(t *testing.T) {
		r := r.on(t)
		for _, sane := range []string{"abc", "req_1-2.3:4", strings.Repeat("a", 128)} {
			for _, path := range []string{"/v1/me", "/v1/" + canary} {
				if got := r.do("GET", path, nil, "X-Request-Id: "+sane).Header.Get("X-Request-Id"); got != sane {
					t.Errorf("%q became %q", sane, got)
				}
			}
		}
		for _, odd := range []string{"", "a b", canary + "\"", canary + "<script>", canary + "\xff", "é",
			strings.Repeat("a", 129), canary + "\tx", canary + "/../"} {
			a := r.do("GET", "/v1/nowhere", nil, "X-Request-Id: "+odd)
			got := a.Header.Get("X-Request-Id")
			if !strings.HasPrefix(got, "req_") || a.refused(404, "not_found").str("instance") != got {
				t.Errorf("%q became %q: %s", odd, got, a.Body)
			}
			a.isRefusal()
		}
		if strings.Contains(r.logs.String(), canary) {
			t.Error("a value that was sent is in the log")
		}
	})
}
