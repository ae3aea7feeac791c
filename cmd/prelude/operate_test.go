package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// command runs a command line on the rig's data and gives what it printed.
func (r *rig) command(args ...string) (string, error) {
	r.t.Helper()
	out := &buffer{}
	args = append(args, "--data", r.data, "--log-level", "error")
	if r.dsn != "" {
		args = append(args, "--database-url", r.dsn)
	}
	err := run(r.t.Context(), args, out, out)
	return out.String(), err
}

// TestAudit replays the log alone: while a server runs on it, and with nothing but the folder.
func TestAudit(t *testing.T) {
	t.Parallel()
	r := start(t)
	id := r.do("POST", "/v1/presets", doc{"slug": "audited", "name": "marker-name", "scope": "org",
		"model": "demo", "instructions": "marker-instructions"}).want(201).str("id")
	r.do("POST", "/v1/presets/"+id+"/publish", doc{"note": "marker-note"}).want(201)
	session := r.session()
	r.do("POST", "/v1/sessions/"+session+"/messages", doc{"content": "marker-message"}).want(201)
	running, err := r.command("audit")
	if err != nil {
		t.Fatal(err)
	}
	r.stop()
	r.dsn = "postgres://nobody@127.0.0.1:1/nowhere"
	stopped, err := r.command("audit")
	if err != nil {
		t.Fatal(err)
	}
	if running != stopped {
		t.Errorf("with a server\n%s\nwithout\n%s", running, stopped)
	}
	for _, kind := range []string{"org.founded", "user.joined", "apikey.issued", "preset.created", "preset.published",
		"session.started", "session.message_posted", "session.reply_started", "session.context_assembled",
		"session.reply_completed"} {
		if !strings.Contains(stopped, kind) {
			t.Errorf("no %s:\n%s", kind, stopped)
		}
	}
	if strings.Contains(stopped, "marker") {
		t.Errorf("a text is shown:\n%s", stopped)
	}
	one, err := r.command("audit", id, "--json")
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(one, "\n"); lines != 2 || !strings.Contains(one, `"kind":"preset.published"`) {
		t.Errorf("of one preset:\n%s", one)
	}
}

// TestOrg makes another org while the server runs: its people see nothing of the first.
func TestOrg(t *testing.T) {
	t.Parallel()
	r := start(t)
	id := r.preset("ours")
	out, err := r.command("org", "create", "other", "--name", "Other")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	key := keyIn(out)
	other := r.as(key)
	if got := other.do("GET", "/v1/me", nil).want(200).str("org", "slug"); got != "other" {
		t.Fatalf("the key is of the org %q", got)
	}
	other.do("GET", "/v1/presets/"+id, nil).refused(404, "not_found")
	if n := len(other.do("GET", "/v1/presets", nil).want(200).list("data")); n != 0 {
		t.Fatalf("it sees %d presets", n)
	}
	if out, err := r.command("org", "create", "other"); err == nil {
		t.Fatalf("made twice:\n%s", out)
	}
	if out, err := r.command("org", "create", "Not.A.Slug"); err == nil {
		t.Fatalf("made:\n%s", out)
	}
	out, err = r.command("org", "key", "other")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if second := keyIn(out); second == key || r.as(second).do("GET", "/v1/me", nil).Status != 200 {
		t.Fatalf("one more key:\n%s", out)
	}
	if out, err := r.command("org", "key", "nobody"); err == nil {
		t.Fatalf("a key of nobody:\n%s", out)
	}
}

func keyIn(out string) string {
	_, rest, _ := strings.Cut(out, "key   ")
	key, _, _ := strings.Cut(rest, " ")
	return key
}

// TestDoctor says what is well, and what is not and how to mend it.
func TestDoctor(t *testing.T) {
	t.Parallel()
	r := start(t)
	out, err := r.command("doctor")
	if err != nil || strings.Contains(out, "wrong") || strings.Count(out, "ok ") < 6 {
		t.Fatalf("%v\n%s", err, out)
	}
	r.stop()
	for name, c := range map[string]struct{ args, want []string }{
		"a database that is away": {[]string{"--database-url", "postgres://nobody@127.0.0.1:1/none"},
			[]string{"wrong  database", "DATABASE_URL"}},
		"an OpenSearch that is away": {[]string{"--database-url", r.dsn, "--opensearch-url", "http://127.0.0.1:1"},
			[]string{"wrong  search (OpenSearch)", "OPENSEARCH_URL"}},
		"a model's server that is away": {[]string{"--database-url", r.dsn, "--openai-base-url", "http://127.0.0.1:1/v1"},
			[]string{"wrong  models", "OPENAI_BASE_URL"}},
		"a wrong configuration": {[]string{"--listen", "nowhere"}, []string{"wrong  configuration", "PRELUDE_LISTEN"}},
	} {
		t.Run(name, func(t *testing.T) {
			out := &buffer{}
			err := run(t.Context(), append([]string{"doctor", "--data", r.data, "--log-level", "error"}, c.args...), out, out)
			if err == nil {
				t.Errorf("it finds nothing:\n%s", out)
			}
			for _, want := range c.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("it does not say %q:\n%s", want, out)
				}
			}
		})
	}
}

// TestEmbedded runs with everything embedded, Postgres too; after a kill the next start takes over.
func TestEmbedded(t *testing.T) {
	t.Parallel()
	r := &rig{t: t, data: t.TempDir()}
	began := time.Now()
	p := launch(r)
	t.Logf("the first start took %s", time.Since(began))
	walk(t, r, "postgres")
	text, err := os.ReadFile(filepath.Join(r.data, devFile))
	if err != nil || !strings.Contains(string(text), "PRELUDE_URL="+r.url) {
		t.Fatalf("%v: %s", err, text)
	}
	for _, name := range []string{devFile, "master.key"} {
		if info, err := os.Stat(filepath.Join(r.data, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	p.end(syscall.SIGKILL)
	began = time.Now()
	p = launch(r)
	t.Logf("the start after a kill took %s", time.Since(began))
	r.do("GET", "/v1/presets/walk-tone", nil).want(200)
	p.end(syscall.SIGTERM)
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Fatalf("exit %d\n%s", code, r.logs)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out := &buffer{}
	if err := run(ctx, []string{"doctor", "--data", r.data, "--log-level", "error"}, out, out); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
