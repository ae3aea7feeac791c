package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
)

const (
	key    = "prelude_key_secret"
	answer = "Ünïcödé 😀, piece by piece."
)

// scripted answers as api.md says that a server does which has one preset, tone, with one version.
func scripted() http.Handler {
	const models = `{"object":"list","data":[{"id":"demo","object":"model","created":1,` +
		`"owned_by":"prelude"},` + model + `]}`
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		write(w, http.StatusOK, models)
	})
	mux.HandleFunc("GET /v1/models/{id...}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("id") != "preset:tone" {
			refuse(w, http.StatusNotFound, "model_not_found")
			return
		}
		write(w, http.StatusOK, model)
	})
	mux.HandleFunc("POST /v1/chat/completions", complete)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+key {
			refuse(w, http.StatusUnauthorized, "unauthenticated")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

const model = `{"id":"preset:tone","object":"model","created":1,"owned_by":"org_1"}`

func complete(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Model  string `json:"model"`
		N      int    `json:"n"`
		Stream bool   `json:"stream"`
		Preset struct {
			Variables map[string]any `json:"variables"`
		} `json:"preset"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		refuse(w, http.StatusBadRequest, "malformed")
		return
	}
	name, selector, _ := strings.Cut(in.Model, "@")
	switch {
	case name != "preset:tone" || !strings.Contains(" v1 production", selector):
		refuse(w, http.StatusNotFound, "model_not_found")
		return
	case in.N > 1:
		refuse(w, http.StatusUnprocessableEntity, "unsupported_parameter")
		return
	case in.Preset.Variables["product"] != "Prelude" || in.Preset.Variables["count"] != 3.0:
		refuse(w, http.StatusUnprocessableEntity, "invalid")
		return
	}
	w.Header().Set("Prelude-Reply", "rpl_01")
	w.Header().Set("Prelude-Preset", "prs_01@v1")
	const usage = `"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}`
	if !in.Stream {
		write(w, http.StatusOK, part("chat.completion", "message", answer, `"stop"`)+usage)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for _, text := range strings.SplitAfter(answer, " ") {
		event(w, part("chat.completion.chunk", "delta", text, "null")+`"usage":null}`)
	}
	event(w, part("chat.completion.chunk", "delta", "", `"stop"`)+`"usage":null}`)
	event(w, `{"id":"rpl_01","object":"chat.completion.chunk","choices":[],`+usage)
	event(w, "[DONE]")
}

func part(object, field, text, finish string) string {
	return fmt.Sprintf(`{"id":"rpl_01","object":%q,"created":1,"model":"demo",`+
		`"system_fingerprint":"prs_01@v1","choices":[{"index":0,"finish_reason":%s,`+
		`%q:{"role":"assistant","content":%q}}],`, object, finish, field, text)
}

func event(w http.ResponseWriter, data string) { fmt.Fprintf(w, "data: %s\n\n", data) }

func refuse(w http.ResponseWriter, status int, code string) {
	const form = `{"error":{"message":"This was refused: %s.","type":"invalid_request_error",` +
		`"code":%q,"param":null}}`
	write(w, status, fmt.Sprintf(form, code, code))
}

func write(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprint(w, body)
}

func TestScripts(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("installs the SDKs")
	}
	for name, run := range map[string]func(
		ctx context.Context, url, key, preset string, variables ...string,
	) ([]byte, error){"python": Python, "node": Node} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(scripted())
			defer s.Close()
			out, err := run(t.Context(), s.URL, key, "tone", "product=Prelude", "count=3")
			if errors.Is(err, exec.ErrNotFound) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			if lines := bytes.Count(out, []byte("ok ")); lines != 23 {
				t.Errorf("got %d checks:\n%s", lines, out)
			}
			_, err = run(t.Context(), s.URL, key, "tune", "product=Prelude", "count=3")
			if err == nil || !strings.Contains(err.Error(), "failed list models") {
				t.Errorf("a preset that is not there: got %v", err)
			}
		})
	}
}

func TestLockNamesNoRegistry(t *testing.T) {
	t.Parallel()
	lock, err := files.ReadFile("node/package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(lock, []byte(`"resolved"`)) {
		t.Error("the lock file says where packages are loaded from")
	}
}
