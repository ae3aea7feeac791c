package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"prelude/internal/search/searchtest"
)

// scannedIndex is the search index of an installation that is searched.
type scannedIndex struct {
	node, prefix string
}

func newScannedIndex(t *testing.T) *scannedIndex {
	t.Helper()
	node := searchtest.Node(t)
	return &scannedIndex{node, prefix(t, node)}
}

// with are arguments with which a server uses the index.
func (x *scannedIndex) with(args ...string) []string {
	return append(args, "--opensearch-url", x.node, "--opensearch-prefix", x.prefix)
}

// ask asks the node, and expects an answer.
func (x *scannedIndex) ask(s *scanned, method, path string) []byte {
	s.Helper()
	return x.send(s.T, method, path, "", http.StatusOK)
}

// send sends the node a request past the program, and expects a status.
func (x *scannedIndex) send(t *testing.T, method, path, body string, status int) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, x.node+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status {
		t.Fatalf("%s: %d %v: %s", path, resp.StatusCode, err, b)
	}
	return b
}

// indexed is what a preset's document has in plain: presets are the org's, and no erasure reaches them.
const indexed = "erasing"

// plain expects that neither user's text lies in a document, in a field's words, or in a file of the index.
func (x *scannedIndex) plain(s *scanned, when string) {
	s.Helper()
	index := "/" + x.prefix + "-1"
	x.ask(s, "POST", index+"/_flush?force=true")
	x.ask(s, "POST", index+"/_forcemerge?only_expunge_deletes=true")
	x.ask(s, "POST", index+"/_refresh")
	documents := x.ask(s, "GET", index+"/_search?size=1000&version=true")
	for _, text := range append(forms(s.ann.marker), forms(s.bob.marker)...) {
		if bytes.Contains(documents, text) {
			s.Errorf("%s a document of the index has %q", when, text)
		}
	}
	if !bytes.Contains(documents, []byte(indexed)) {
		s.Errorf("%s the index has no document of the preset: %s", when, documents)
	}
	folder := x.folder(s, index)
	if found, _ := scan(s.T, []string{s.ann.marker, s.bob.marker}, folder); len(found) > 0 {
		s.Errorf("%s a text lies in %v", when, found)
	}
	found, size := scan(s.T, []string{indexed}, folder)
	if len(found) == 0 {
		s.Errorf("of what lies in %s nothing is found", folder)
	}
	s.Logf("%s %d KiB of the index were searched; the preset lies in %d files", when, size>>10, len(found))
}

// folder is where the index lies on this machine.
func (x *scannedIndex) folder(s *scanned, index string) string {
	s.Helper()
	var nodes struct {
		Nodes map[string]struct {
			Settings struct {
				Path struct{ Data []string }
			}
		}
	}
	var indexes map[string]struct {
		Settings struct{ Index struct{ UUID string } }
	}
	for path, into := range map[string]any{"/_nodes/settings": &nodes, index + "/_settings": &indexes} {
		if err := json.Unmarshal(x.ask(s, "GET", path), into); err != nil {
			s.Fatal(err)
		}
	}
	for _, node := range nodes.Nodes {
		for _, data := range node.Settings.Path.Data {
			for _, i := range indexes {
				folder := filepath.Join(data, "nodes", "0", "indices", i.Settings.Index.UUID)
				if _, err := os.Stat(folder); err == nil {
					return folder
				}
			}
		}
	}
	s.Fatal("the tests' node does not keep its index in a folder of this machine")
	return ""
}
