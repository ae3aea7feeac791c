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
	r := start(t)
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(r.data, filepath.Join(dir, ".prelude")); err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	for _, block := range shellBlock.FindAllStringSubmatch(string(text), -1) {
		lines.WriteString(block[1])
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", lines.String())
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{`"version":1`, "event: reply.completed", `"verified":true`,
		`"slug":"support-tone","name"`, "preset.published", "chat.completion"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the lines do not show %q:\n%s", want, out)
		}
	}
}
