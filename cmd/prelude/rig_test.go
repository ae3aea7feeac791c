package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"prelude/internal/pgserver/pgtest"
)

// rig is a running Prelude with a caller.
type rig struct {
	t      testing.TB
	url    string
	key    string
	data   string
	dsn    string
	logs   *buffer
	cancel context.CancelFunc
	done   chan error
	away   string // the address of its store, where that is not the embedded one
}

// buffer is written by the server and read by a test.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
	wait chan struct{}
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, err := b.text.Write(p)
	if b.wait != nil {
		close(b.wait)
		b.wait = nil
	}
	return n, err
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// until waits until the text matches, or the server ends.
func (b *buffer) until(re *regexp.Regexp, done <-chan error) ([]string, error) {
	for {
		b.mu.Lock()
		m := re.FindStringSubmatch(b.text.String())
		if b.wait == nil {
			b.wait = make(chan struct{})
		}
		wait := b.wait
		b.mu.Unlock()
		if m != nil {
			return m, nil
		}
		select {
		case <-wait:
		case err := <-done:
			return nil, fmt.Errorf("it ended: %w\n%s", err, b)
		}
	}
}

var (
	answersAt = regexp.MustCompile(`Prelude answers at (http://\S+)\n`)
	keyShown  = regexp.MustCompile(`shown once: (prelude_\S+)`)
)

// start runs a server on fresh data: an embedded node, and a database of its own on the tests' Postgres. Further
// arguments go to serve.
func start(t testing.TB, args ...string) *rig {
	t.Helper()
	r := &rig{t: t, data: t.TempDir(), dsn: pgtest.Database(t)}
	r.serve(args...)
	return r
}

// serve starts on the rig's data, and waits until it is ready.
func (r *rig) serve(args ...string) {
	r.t.Helper()
	r.ready(r.starting(args...))
}

// starting starts on the rig's data. It gives what the server prints.
func (r *rig) starting(args ...string) *buffer {
	r.t.Helper()
	all := append([]string{"serve", "--data", r.data, "--listen", "127.0.0.1:0", "--database-url", r.dsn,
		"--dev-env"}, append(r.storeFlags(args...), args...)...)
	return r.runs(func(ctx context.Context, s streams) error { return s.run(ctx, all) })
}

// runs has a server run until the rig is stopped. It gives what the server prints.
func (r *rig) runs(serve func(context.Context, streams) error) *buffer {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out := &buffer{}
	r.logs, r.cancel, r.done = &buffer{}, cancel, make(chan error, 1)
	s := streams{out, r.logs, gaugePause}
	go func() { r.done <- serve(ctx, s) }()
	r.t.Cleanup(r.stop)
	logs := r.logs
	r.t.Cleanup(func() {
		for line := range strings.Lines(logs.String()) {
			if r.t.Failed() && !strings.Contains(line, `"level":"INFO"`) {
				r.t.Log(line)
			}
		}
	})
	return out
}

// ready waits until the server is ready.
func (r *rig) ready(out *buffer) {
	r.t.Helper()
	m, err := out.until(answersAt, r.done)
	if err != nil {
		r.cancel = nil // it has ended
		r.t.Fatalf("the server did not start: %v\n%s", err, r.logs)
	}
	r.url = m[1]
	if m := keyShown.FindStringSubmatch(out.String()); m != nil {
		r.key = m[1]
	} else if text, err := os.ReadFile(filepath.Join(r.data, devFile)); err == nil {
		_, r.key, _ = strings.Cut(strings.TrimSpace(string(text)), "PRELUDE_API_KEY=")
	}
}

// stop stops the server and expects a clean end.
func (r *rig) stop() {
	if r.cancel == nil {
		return
	}
	r.cancel()
	r.cancel = nil
	if err := <-r.done; err != nil {
		r.t.Errorf("the server did not end cleanly: %v\n%s", err, r.logs)
	}
}

// as is the same server for another caller.
func (r *rig) as(key string) *rig {
	c := *r
	c.key, c.cancel = key, nil
	return &c
}

// answer is an HTTP answer, read whole.
type answer struct {
	t      testing.TB
	Status int
	Header http.Header
	Body   []byte
}

// do sends a request; body is a string as it is, or something to be written as JSON; headers are "Name: value".
func (r *rig) do(method, path string, body any, headers ...string) *answer {
	r.t.Helper()
	resp := r.open(method, path, body, headers...)
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	return &answer{r.t, resp.StatusCode, resp.Header, b}
}

// open sends a request and leaves the body to be read.
func (r *rig) open(method, path string, body any, headers ...string) *http.Response {
	r.t.Helper()
	var reader io.Reader
	switch body := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(body)
	default:
		b, err := json.Marshal(body)
		if err != nil {
			r.t.Fatal(err)
		}
		reader = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, reader)
	if err != nil {
		r.t.Fatal(err)
	}
	if r.key != "" {
		req.Header.Set("Authorization", "Bearer "+r.key)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp
}

// want expects a status and gives the body.
func (a *answer) want(status int) doc {
	a.t.Helper()
	if a.Status != status {
		a.t.Fatalf("status %d, want %d: %s", a.Status, status, a.Body)
	}
	var d doc
	if err := json.Unmarshal(a.Body, &d); err != nil {
		a.t.Fatalf("the body is not a JSON object: %v: %.200s", err, a.Body)
	}
	return d
}

// refused expects a problem with a status and a code, and gives it.
func (a *answer) refused(status int, code string) doc {
	a.t.Helper()
	d := a.want(status)
	if got := a.Header.Get("Content-Type"); got != "application/problem+json" {
		a.t.Fatalf("content type %q", got)
	}
	if d.str("code") != code {
		a.t.Fatalf("code %q, want %q: %s", d.str("code"), code, a.Body)
	}
	return d
}

// doc is a JSON object.
type doc map[string]any

// at follows a path of names; a missing one gives nil.
func (d doc) at(path ...string) any {
	var v any = map[string]any(d)
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[p]
	}
	return v
}

func (d doc) str(path ...string) string {
	s, _ := d.at(path...).(string)
	return s
}

func (d doc) num(path ...string) int {
	f, _ := d.at(path...).(float64)
	return int(f)
}

// list is a list of objects in the document.
func (d doc) list(path ...string) []doc {
	all, _ := d.at(path...).([]any)
	docs := make([]doc, len(all))
	for i, v := range all {
		docs[i], _ = v.(map[string]any)
	}
	return docs
}

// preset makes an org preset on the demo model and publishes it.
func (r *rig) preset(slug string) string {
	r.t.Helper()
	id := r.do("POST", "/v1/presets", doc{"slug": slug, "name": "Preset " + slug, "scope": "org",
		"model": "demo", "instructions": "Be kind."}).want(201).str("id")
	r.do("POST", "/v1/presets/"+id+"/publish", nil).want(201)
	return id
}

// session starts a session on the demo model.
func (r *rig) session() string {
	r.t.Helper()
	return r.do("POST", "/v1/sessions", doc{"model": "demo"}).want(201).str("id")
}

// member adds a user with a role and gives a key of theirs.
func (r *rig) member(handle, role string) string {
	r.t.Helper()
	id := r.do("POST", "/v1/users", doc{"handle": handle, "name": handle, "role": role}).want(201).str("id")
	return r.do("POST", "/v1/api-keys", doc{"name": "test", "user": id}).want(201).str("secret")
}

func parse(text string) doc {
	var d doc
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return nil
	}
	return d
}

// atBounds makes tests fail at the bounds that are promised; else they fail at five times those, so that a busy
// machine fails nobody.
const atBounds = "PRELUDE_TORTURE"

// inTime says what something took and holds it against its bound.
func inTime(t *testing.T, what string, took, bound time.Duration) {
	t.Helper()
	t.Logf("%s took %s; the bound is %s", what, took.Round(time.Millisecond), bound)
	if os.Getenv(atBounds) == "" {
		bound *= 5
	}
	if took > bound {
		t.Errorf("%s took %s, more than %s", what, took, bound)
	}
}
