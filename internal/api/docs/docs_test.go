package docs

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func get(t *testing.T, h http.Handler, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

var (
	reference = regexp.MustCompile(`(?:src|href)="([^"]*)"`)
	elsewhere = regexp.MustCompile(`(?i)(https?:)?//[a-z]`)
	inline    = regexp.MustCompile(`(?i)<script>|<style|\son\w+=|javascript:`)
)

// closed checks that a page loads nothing from elsewhere and that a browser would not let it.
func closed(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
		t.Fatalf("got %d, %v", w.Code, w.Header())
	}
	body := w.Body.String()
	if m := elsewhere.FindString(body); m != "" {
		t.Errorf("the page names another origin: %s", m)
	}
	if m := inline.FindString(body); m != "" {
		t.Errorf("the page has a script of its own: %s", m)
	}
	csp := w.Header().Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none';", "script-src 'self';", "connect-src"} {
		if !strings.Contains(csp, part) {
			t.Errorf("the policy lacks %s: %s", part, csp)
		}
	}
	for _, part := range []string{"http", "*", "unsafe"} {
		if strings.Contains(csp, part) {
			t.Errorf("the policy lets others in: %s", csp)
		}
	}
}

func TestHandler(t *testing.T) {
	t.Parallel()
	h := Handler("/openapi.json")
	t.Run("shows the document and all that it refers to is there", func(t *testing.T) {
		t.Parallel()
		for _, path := range []string{"/docs", "/docs/"} {
			w := get(t, h, path)
			closed(t, w)
			body := w.Body.String()
			if !strings.Contains(body, `data-spec="/openapi.json"`) {
				t.Errorf("got %s", body)
			}
			for _, m := range reference.FindAllStringSubmatch(body, -1) {
				if m[1] == "/openapi.json" || m[1] == "data:," {
					continue
				}
				if got := get(t, h, m[1]); got.Code != http.StatusOK || got.Body.Len() == 0 {
					t.Errorf("%s: got %d", m[1], got.Code)
				}
			}
		}
	})
	t.Run("serves the script packed and unpacked", func(t *testing.T) {
		t.Parallel()
		w := get(t, h, "/docs/assets/"+redoc)
		if !strings.Contains(w.Body.String(), "Version: 3.0.1") {
			t.Errorf("got %d, %d bytes", w.Code, w.Body.Len())
		}
		packed := get(t, h, "/docs/assets/"+redoc, "Accept-Encoding: br, gzip")
		if packed.Header().Get("Content-Encoding") != "gzip" || packed.Body.Len() > w.Body.Len()/2 {
			t.Errorf("got %v, %d bytes", packed.Header(), packed.Body.Len())
		}
		script := get(t, h, "/docs/assets/docs.js").Body.String()
		if !strings.Contains(script, `"./`+redoc+`"`) {
			t.Errorf("the page loads another script: %s", script)
		}
	})
	t.Run("has the licence beside the script", func(t *testing.T) {
		t.Parallel()
		w := get(t, h, "/docs/assets/redoc.LICENSE.txt")
		if !strings.Contains(w.Body.String(), "MIT License") {
			t.Errorf("got %d", w.Code)
		}
	})
	t.Run("has nothing else", func(t *testing.T) {
		t.Parallel()
		for _, path := range []string{"/docs/assets/x", "/docs/assets/", "/docs/docs.html", "/"} {
			if w := get(t, h, path); w.Code != http.StatusNotFound {
				t.Errorf("%s: got %d", path, w.Code)
			}
		}
	})
}

func TestErrors(t *testing.T) {
	t.Parallel()
	w := get(t, Errors([]Code{
		{"slug_taken", 409, "Another preset has this slug."},
		{"malformed", 400, "The body is not <JSON>."},
	}), "/docs/errors")
	closed(t, w)
	body := w.Body.String()
	first := strings.Index(body, `<tr id="malformed">`)
	second := strings.Index(body, `<tr id="slug_taken">`)
	if first < 0 || second < first {
		t.Errorf("the rows are not there in order: %s", body)
	}
	parts := []string{"<td>409</td>", "Another preset has", "&lt;JSON&gt;", `href="#malformed"`}
	for _, part := range parts {
		if !strings.Contains(body, part) {
			t.Errorf("the page lacks %s", part)
		}
	}
}
