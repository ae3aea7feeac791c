// Package searchtest gives tests a real OpenSearch node: the one whose address is in
// PRELUDE_TEST_OPENSEARCH, else one that is started for the test process and ends with it.
package searchtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Variable names the environment variable with the address of a node that runs for several
// packages.
const Variable = "PRELUDE_TEST_OPENSEARCH"

var node = sync.OnceValues(launch)

// Node returns the address of a node. The tests share it: each has an index name of its own.
// Without Java or Maven the test fails; with -short it is skipped.
func Node(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		t.Skip("needs an OpenSearch node")
	}
	url, err := node()
	if err != nil {
		t.Fatalf("start an OpenSearch node: %v", err)
	}
	return url
}

// hold is the node's standard input: it ends when that does, which is with this process.
var hold io.Closer //nolint:unused // it is there to be kept

func launch() (string, error) {
	if url := os.Getenv(Variable); url != "" {
		return url, nil
	}
	script, err := script()
	if err != nil {
		return "", err
	}
	in, held, err := os.Pipe()
	if err != nil {
		return "", err
	}
	answer, out, err := os.Pipe()
	if err != nil {
		return "", err
	}
	// A file, so that no goroutine has to copy it.
	complaints, err := os.CreateTemp("", "prelude-opensearch-*.log")
	if err != nil {
		return "", err
	}
	_ = os.Remove(complaints.Name())
	cmd := exec.Command(script)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, complaints
	if err := cmd.Start(); err != nil {
		return "", err
	}
	_, _ = in.Close(), out.Close()
	line, err := bufio.NewReader(answer).ReadString('\n')
	if url, ok := strings.CutPrefix(strings.TrimSpace(line), "READY "); ok {
		hold = held
		return url, nil
	}
	_ = held.Close()
	_, _ = complaints.Seek(0, io.SeekStart)
	text, _ := io.ReadAll(complaints)
	return "", fmt.Errorf("%s: %w: %s", script, err, strings.TrimSpace(string(text)))
}

// script finds the node's starter from any package's folder.
func script() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		path := filepath.Join(dir, "internal", "search", "node", "start")
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("internal/search/node/start is not above this folder")
		}
	}
}
