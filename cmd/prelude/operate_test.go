package main

import (
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"prelude/internal/pgserver/pgtest"
)

// command runs a command line on the rig's data and gives what it printed.
func (r *rig) command(args ...string) (string, error) {
	r.t.Helper()
	return r.every(gaugePause, args...)
}

// every runs a command that says how far it is as often as that.
func (r *rig) every(pause time.Duration, args ...string) (string, error) {
	r.t.Helper()
	out := &buffer{}
	args = append(args, "--data", r.data, "--log-level", "error")
	if r.away != "" { // else what it is about may be the data folder alone
		args = append(args, r.storeFlags(args...)...)
	}
	if r.dsn != "" {
		args = append(args, "--database-url", r.dsn)
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), 3*time.Minute) // one that must end may go on and serve
	defer cancel()
	err := streams{out, out, pause}.run(ctx, args)
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

// doctor examines the rig's data with further arguments.
func (r *rig) doctor(args ...string) (string, error) {
	out := &buffer{}
	if r.away != "" { // else what it is about may be the data folder alone
		args = append(args, r.storeFlags(args...)...)
	}
	err := run(r.t.Context(), append([]string{"doctor", "--data", r.data, "--log-level", "error"}, args...), out, out)
	return out.String(), err
}

// contains expects texts in what a command printed.
func contains(t *testing.T, out string, all ...string) {
	t.Helper()
	for _, want := range all {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
}

// TestDoctor says what is well, and what is not and how to mend it.
func TestDoctor(t *testing.T) {
	t.Parallel()
	embedded(t)
	r := start(t)
	out, err := r.doctor("--database-url", r.dsn)
	if err != nil || strings.Contains(out, "wrong") || strings.Contains(out, "not looked at") {
		t.Fatalf("%v\n%s", err, out)
	}
	contains(t, out, "a running prelude has it, and answers", ", the program's own", "opens the vault",
		"it may read $all, append, read streams, read streams' metadata", "from which the database was built",
		"reader rights: at ", "reader views: at ", "behind 0 events")
	r.stop()
	for name, c := range map[string]struct{ args, want []string }{
		"a database that is away": {[]string{"--database-url", "postgres://nobody@127.0.0.1:1/none"},
			[]string{"wrong  database", "DATABASE_URL"}},
		"a pool's user who is another": {[]string{"--database-url", r.dsn, "--database-pool-url", r.dsn},
			[]string{"wrong  database (DATABASE_POOL_URL)", "must be prelude_login"}},
		"a store that is away": {[]string{"--database-url", r.dsn, "--eventstore", "esdb://127.0.0.1:1?tls=false"},
			[]string{"wrong  event store", "PRELUDE_EVENTSTORE"}},
		"an OpenSearch that is away": {[]string{"--database-url", r.dsn, "--opensearch-url", "http://127.0.0.1:1"},
			[]string{"wrong  search (OpenSearch)", "OPENSEARCH_URL"}},
		"a model's server that is away": {[]string{"--database-url", r.dsn, "--openai-base-url", "http://127.0.0.1:1/v1"},
			[]string{"wrong  models", "OPENAI_BASE_URL"}},
		"a wrong configuration": {[]string{"--listen", "nowhere"}, []string{"wrong  configuration", "PRELUDE_LISTEN"}},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := r.doctor(c.args...)
			if err == nil {
				t.Errorf("it finds nothing:\n%s", out)
			}
			contains(t, out, c.want...)
		})
	}
	key := filepath.Join(r.data, "master.key")
	for name, c := range map[string][2]string{
		"another_master_key":   {base64.StdEncoding.EncodeToString(make([]byte, 32)), "not the one that this vault was made with"},
		"a_key_of_words":       {"under the mat", "32 bytes in base64"},
		"a_key_that_is_absent": {"", "master key file is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := errors.Join(os.Remove(key), os.WriteFile(key, []byte(c[0]), 0o600)); err != nil {
				t.Fatal(err)
			}
			if c[0] == "" {
				if err := os.Rename(key, key+".away"); err != nil {
					t.Fatal(err)
				}
				defer func() { _ = os.Rename(key+".away", key) }() // for the next case to replace
			}
			out, err := r.doctor("--database-url", r.dsn)
			if err == nil {
				t.Errorf("it finds nothing:\n%s", out)
			}
			contains(t, out, "wrong  master key", c[1], "from your backup")
		})
	}
}

// TestDoctorChangesNothing examines what is not there yet: it says what will be made, and makes nothing.
func TestDoctorChangesNothing(t *testing.T) {
	t.Parallel()
	empty := t.TempDir()
	dsn := pgtest.Database(t)
	before := tableCount(t, dsn)
	for name, c := range map[string]struct {
		data       string
		args, want []string
	}{
		"an_empty_folder": {empty, nil, []string{"its log will be made at the first start",
			"its data folder will be made at the first start", "master.key will be made at the first start"}},
		"no_folder":   {filepath.Join(empty, "none"), nil, []string{"none will be made at the first start"}},
		"a_long_path": {filepath.Join(empty, strings.Repeat("a", 120)), nil, []string{"ok     event store"}},
		"an_empty_database": {empty, []string{"--database-url", dsn}, []string{"ok     database (DATABASE_URL)",
			"tables: they will be made at the first start"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := &rig{t: t, data: c.data}
			out, err := r.doctor(c.args...)
			if err != nil || strings.Contains(out, "wrong") {
				t.Errorf("%v\n%s", err, out)
			}
			contains(t, out, c.want...)
			if left, err := os.ReadDir(empty); err != nil || len(left) > 0 {
				t.Errorf("it made %v: %v", left, err)
			}
		})
	}
	if after := tableCount(t, dsn); after != before {
		t.Errorf("there were %d tables, and are %d", before, after)
	}
}

func tableCount(t *testing.T, dsn string) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_class").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestEmbedded runs with everything embedded, Postgres too; after a kill the next start takes over.
func TestEmbedded(t *testing.T) {
	t.Parallel()
	embedded(t)
	r := &rig{t: t, data: t.TempDir()}
	began := time.Now()
	p := launch(r)
	inTime(t, "the first start", time.Since(began), time.Minute)
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
	inTime(t, "the start after a kill", time.Since(began), time.Minute)
	r.do("GET", "/v1/presets/walk-tone", nil).want(200)
	out, err := r.doctor()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	contains(t, out, "it runs, and answers", "opens the vault", "ok     row-level security")
	p.end(syscall.SIGTERM)
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Fatalf("exit %d\n%s", code, r.logs)
	}
	if out, err = r.doctor(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	contains(t, out, "the next start opens its log", "the next start starts it")
}
