package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"prelude/internal/eventlog"
)

// canary stands in bad values: it must come back in no answer, and be in no line of the log.
const canary = "zebra7"

// fault is a request that is refused, and how.
type fault struct {
	name         string
	method, path string
	body         any // a string is sent as it is
	status       int
	code         string
	fields       []string // what errors[] names, in order
	headers      []string
}

// on is the same server for a subtest.
func (r *rig) on(t *testing.T) *rig {
	t.Helper()
	c := *r
	c.t, c.cancel = t, nil
	return &c
}

// refuses sends each request and expects its refusal. None adds an event, and nothing that was sent comes back
// or is logged.
func (r *rig) refuses(t *testing.T, faults []fault) {
	t.Helper()
	before := r.on(t).head()
	for _, f := range faults {
		t.Run(strings.ReplaceAll(f.name, " ", "_"), func(t *testing.T) { r.on(t).refusesOne(f) })
	}
	if after := r.on(t).head(); after != before {
		t.Errorf("a refused request left an event: the log's end was %d and is %d", before, after)
	}
	if strings.Contains(strings.ToLower(r.logs.String()), canary) {
		t.Error("a value that was sent is in the log")
	}
}

func (r *rig) refusesOne(f fault) *answer {
	r.t.Helper()
	a := r.do(f.method, f.path, f.body, f.headers...)
	a.refused(f.status, f.code)
	if got := a.fields(); !slices.Equal(got, f.fields) {
		r.t.Errorf("errors are about %q, want %q: %s", got, f.fields, a.Body)
	}
	a.isRefusal()
	return a
}

// fields are the names in errors[].
func (a *answer) fields() []string {
	a.t.Helper()
	var d doc
	if err := json.Unmarshal(a.Body, &d); err != nil {
		a.t.Fatal(err)
	}
	var names []string
	for _, e := range d.list("errors") {
		if e.str("code") == "" || e.str("detail") == "" {
			a.t.Errorf("a fault says nothing: %s", a.Body)
		}
		names = append(names, e.str("field"))
	}
	return names
}

// isRefusal expects what every refusal has, whatever it is about.
func (a *answer) isRefusal() {
	a.t.Helper()
	if bytes.Contains(bytes.ToLower(a.Body), []byte(canary)) {
		a.t.Errorf("a value that was sent comes back: %s", a.Body)
	}
	if a.Header.Get("X-Request-Id") == "" {
		a.t.Error("there is no x-request-id")
	}
	if a.Status < 500 && !slices.Equal(a.Header.Values("X-Should-Retry"), []string{"false"}) {
		a.t.Errorf("x-should-retry is %q: %s", a.Header.Values("X-Should-Retry"), a.Body)
	}
}

// head is the position of the log's last event, asked of the log itself.
func (r *rig) head() eventlog.Position {
	r.t.Helper()
	p, err := openLog(r.t.Context(), r.config(), slog.New(slog.NewTextHandler(io.Discard, nil)), false)
	if err != nil {
		r.t.Fatal(err)
	}
	head, err := p.log.Head(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		r.t.Fatal(err)
	}
	return head
}

// org makes another org on the same server and gives its owner's key.
func (r *rig) org(slug string) string {
	r.t.Helper()
	var out, logs bytes.Buffer
	err := run(context.WithoutCancel(r.t.Context()),
		append([]string{"org", "create", slug, "--data", r.data, "--database-url", r.dsn}, r.storeFlags()...), &out, &logs)
	if err != nil {
		r.t.Fatalf("%v\n%s", err, &logs)
	}
	_, rest, _ := strings.Cut(out.String(), "key   ")
	key, _, _ := strings.Cut(rest, " ")
	return key
}

// draft is a preset that is taken, with some of it changed.
func draft(slug string, change doc) doc {
	d := doc{"slug": slug, "name": "Name", "scope": "org", "model": "demo", "instructions": "Be kind."}
	for name, v := range change {
		d[name] = v
	}
	return d
}

// together runs n calls at the same moment and gives their answers.
func together(n int, call func(i int) *answer) []*answer {
	answers, start, done := make([]*answer, n), make(chan struct{}), make(chan int, n)
	for i := range n {
		go func() {
			defer func() { done <- i }()
			<-start
			answers[i] = call(i)
		}()
	}
	close(start)
	for range n {
		<-done
	}
	return answers
}

// statuses counts answers by status and code.
func statuses(answers []*answer) map[string]int {
	n := map[string]int{}
	for _, a := range answers {
		var d doc
		_ = json.Unmarshal(a.Body, &d) // a stream has none
		n[strings.TrimSpace(fmt.Sprint(a.Status, " ", d.str("code")))]++
	}
	return n
}
