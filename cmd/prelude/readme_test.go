package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")

// TestReadme pastes the lines of the README one after another into a shell.
func TestReadme(t *testing.T) {
	t.Parallel()
	embedded(t)
	r := start(t)
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(r.data, filepath.Join(dir, ".prelude")); err != nil {
		t.Fatal(err)
	}
	asItself(t, filepath.Join(dir, ".bin", "prelude"))
	var lines strings.Builder
	for _, block := range shellBlock.FindAllStringSubmatch(string(text), -1) {
		lines.WriteString(block[1])
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", lines.String())
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "PRELUDE_DATA="+r.data, "DATABASE_URL="+r.dsn)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{`"version":1`, "event: reply.completed", `"verified":true`,
		`"slug":"support-tone","name"`, "preset.published", "chat.completion",
		"ok     row-level security", "(shown once)", "session.reply_completed",
		"each record was checked", " 0 problems"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the lines do not show %q:\n%s", want, out)
		}
	}
}

// asItself puts a program there that is the test binary as Prelude.
func asItself(t *testing.T, path string) {
	t.Helper()
	self, err := os.Executable()
	if err == nil {
		err = os.Mkdir(filepath.Dir(path), 0o700)
	}
	if err == nil {
		err = os.WriteFile(path, []byte("#!/bin/sh\n"+asProgram+"=1 exec '"+self+"' \"$@\"\n"), 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
}
