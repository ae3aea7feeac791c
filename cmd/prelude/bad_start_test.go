package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"prelude/internal/pgserver/pgtest"
)

// refusesToStart expects serve to end by itself, with a sentence that has all of these in it.
func (r *rig) refusesToStart(says ...string) {
	r.t.Helper()
	var logs bytes.Buffer
	err := run(context.WithoutCancel(r.t.Context()), append([]string{"serve", "--data", r.data, "--listen", "127.0.0.1:0",
		"--database-url", r.dsn}, r.storeFlags()...), io.Discard, &logs)
	if err == nil {
		r.t.Fatal("it ran, and ended without an error")
	}
	for _, text := range says {
		if !strings.Contains(err.Error(), text) {
			r.t.Errorf("the error lacks %q: %v", text, err)
		}
	}
	if strings.Contains(err.Error()+logs.String(), canary) {
		r.t.Errorf("a value comes back: %v\n%s", err, &logs)
	}
}

func TestBadStart(t *testing.T) {
	t.Parallel()
	r := start(t)
	session := r.session()
	r.do("POST", "/v1/sessions/"+session+"/messages", doc{"content": "Keep this"}).want(201)
	t.Run("another_server_on_the_same_data", func(t *testing.T) {
		embedded(t)
		r := r.on(t)
		r.refusesToStart("another prelude serves this data folder", "PRELUDE_EVENTSTORE")
		r.do("GET", "/v1/sessions/"+session, nil).want(200)
	})
	r.stop()
	path := filepath.Join(r.data, "master.key")
	key, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("no_master_key", func(t *testing.T) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		r.on(t).refusesToStart("master key file is missing", "PRELUDE_MASTER_KEY_FILE", "nothing was changed")
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("there is a file now: %v", err)
		}
	})
	wrong := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)) + "\n"
	for name, c := range map[string][2]string{"another_master_key": {wrong, "not the one that this vault was made with"},
		"a_key_of_words": {canary + "\n", "32 bytes in base64"}, "an_empty_key": {"", "32 bytes in base64"},
		"a_short_key": {"AAAA\n", "32 bytes in base64"}} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(c[0]), 0o600); err != nil {
				t.Fatal(err)
			}
			r.on(t).refusesToStart("master key", c[1])
			if got, err := os.ReadFile(path); err != nil || string(got) != c[0] {
				t.Errorf("the file was changed: %q, %v", got, err)
			}
		})
	}
	if err := os.WriteFile(path, key, 0o600); err != nil {
		t.Fatal(err)
	}
	r.serve()
	all := r.do("GET", "/v1/sessions/"+session+"/messages", nil).want(200).list("data")
	if len(all) != 2 || all[0].str("content") != "Keep this" {
		t.Errorf("with the right key again: %v", all)
	}
}

func TestBadConfig(t *testing.T) {
	t.Parallel()
	err := run(t.Context(), []string{"serve", "--listen", canary, "--eventstore", "http://" + canary, "--node-listen",
		"0.0.0.0:1", "--database-url", "mysql://" + canary, "--opensearch-url", canary,
		"--openai-base-url", "ftp://" + canary, "--openai-window-tokens", "7", "--log-level", canary,
		"--advertise", canary, "--timeout-connect", canary, "--timeout-first", "0s", "--timeout-between", "25h",
		"--timeout-total", "7",
		"--data", t.TempDir()}, io.Discard, io.Discard)
	if err == nil {
		t.Fatal("it is taken")
	}
	for _, name := range []string{"PRELUDE_LISTEN", "PRELUDE_EVENTSTORE", "PRELUDE_NODE_LISTEN", "DATABASE_URL",
		"OPENSEARCH_URL", "OPENAI_BASE_URL", "OPENAI_WINDOW_TOKENS", "PRELUDE_LOG_LEVEL", "PRELUDE_ADVERTISE",
		"PRELUDE_TIMEOUT_CONNECT", "PRELUDE_TIMEOUT_FIRST", "PRELUDE_TIMEOUT_BETWEEN", "PRELUDE_TIMEOUT_TOTAL"} {
		if !strings.Contains(err.Error(), name+" ") {
			t.Errorf("%s is not told: %v", name, err)
		}
	}
	if strings.Contains(err.Error(), canary) {
		t.Errorf("a value comes back: %v", err)
	}
}

// An instance of several that listens on every address says by which the others reach it.
func TestConfig_of_an_instance_that_nobody_reaches(t *testing.T) {
	t.Parallel()
	for listen, refused := range map[string]bool{"0.0.0.0:8080": true, ":8080": true, "[::]:8080": true, "10.0.0.1:8080": false} {
		c := Config{Listen: listen, EventStore: "esdb://store:2113", OpenAIWindow: "1024", LogLevel: "info"}
		err := c.checkServe()
		if c.check() != nil {
			t.Errorf("%s matters to a command that does not serve: %v", listen, c.check())
		}
		if named := err != nil && strings.Contains(err.Error(), "PRELUDE_ADVERTISE "); named != refused {
			t.Errorf("%s: %v", listen, err)
		}
		if c.Advertise = "http://one:8080"; c.checkServe() != nil {
			t.Errorf("%s with an address: %v", listen, c.checkServe())
		}
	}
}

func TestLongDataPath(t *testing.T) {
	t.Parallel()
	embedded(t)
	long := filepath.Join(t.TempDir(), strings.Repeat("a", 60), strings.Repeat("b", 60))
	r := &rig{t: t, data: long, dsn: pgtest.Database(t)}
	r.serve()
	r.do("POST", "/v1/sessions", doc{"model": "demo"}).want(201)
	if key := r.org("long"); !strings.HasPrefix(key, "prelude_") {
		t.Errorf("org create beside it printed %q", key)
	}
	r.refusesToStart("another prelude serves this data folder")
}
