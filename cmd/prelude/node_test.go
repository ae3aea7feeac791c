package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"prelude/internal/esnode"
	"prelude/internal/eventlog"
	"prelude/internal/eventstore"
)

// TestNode serves a log alone: a second one on the folder says so and stops, and a folder that is none is refused.
func TestNode(t *testing.T) {
	t.Parallel()
	n := newNodeRig(t)
	n.fill("thing-acme_1", 2)
	_, err := n.command("node", "--listen", "127.0.0.1:0")
	refused(t, err, "another prelude serves this data folder")
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(dir, "foreign", "log")
	if err := os.MkdirAll(foreign, 0o700); err != nil {
		t.Fatal(err)
	}
	letter := strings.Repeat("a letter\n", 100)
	if err := os.WriteFile(filepath.Join(foreign, "log.db"), []byte(letter), 0o600); err != nil {
		t.Fatal(err)
	}
	newer := filepath.Join(dir, "newer")
	n.stop()
	b, err := os.ReadFile(filepath.Join(n.data, "log", "log.db"))
	if err != nil {
		t.Fatal(err)
	}
	b[63]++
	err = errors.Join(os.MkdirAll(filepath.Join(newer, "log"), 0o700),
		os.WriteFile(filepath.Join(newer, "log", "log.db"), b, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ data, listen, says string }{
		"a_log_of_a_newer_program": {newer, "127.0.0.1:0", "use a newer one; nothing was changed"},
		"an_address_of_others":     {dir, "192.0.2.1:0", "loopback"},
		"a_file_as_folder":         {file, "127.0.0.1:0", "make the data folder"},
		"a_foreign_log":            {filepath.Join(dir, "foreign"), "127.0.0.1:0", "is not an event log of Prelude"},
	} {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), []string{"node", "--data", c.data, "--listen", c.listen}, io.Discard, io.Discard)
			refused(t, err, c.says)
		})
	}
	if after, err := os.ReadFile(filepath.Join(newer, "log", "log.db")); err != nil || !bytes.Equal(after, b) {
		t.Errorf("the newer log was changed: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(foreign, "log.db")); err != nil || string(b) != letter {
		t.Errorf("the foreign file was changed: %v", err)
	}
}

// TestNode_max_append_size refuses appends above 1 MiB, as a KurrentDB does, unless it is told to take larger ones.
func TestNode_max_append_size(t *testing.T) {
	t.Parallel()
	large := []eventlog.Proposed{{
		ID: eventlog.Meta{}.EventID(eventlog.Stream{Category: "thing"}, 0, "tested"), Type: "tested",
		Data: []byte(`"` + strings.Repeat("x", 3<<19) + `"`), Meta: []byte("{}"),
	}}
	for name, rule := range map[string]struct {
		args  []string
		taken bool
	}{
		"by_default": {nil, false}, "raised": {[]string{"--max-append-size", "2097152"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := &nodeRig{rig: &rig{t: t, data: t.TempDir()}, args: rule.args}
			n.start()
			_, err := n.store.Append(t.Context(), "thing-acme_1", eventlog.None, large)
			if (err == nil) != rule.taken || !rule.taken && !strings.Contains(err.Error(), "Maximum Append Size") {
				t.Errorf("1.5 MiB: %v", err)
			}
		})
	}
	err := run(t.Context(), []string{"node", "--data", t.TempDir(), "--listen", "127.0.0.1:0",
		"--max-append-size", "16777217"}, io.Discard, io.Discard)
	refused(t, err, "the largest append has from 1 to 16777216 bytes")
}

// nodeRig is a log that prelude node serves, with a client.
type nodeRig struct {
	*rig
	args    []string // more of the command
	address string
	store   *eventstore.Store
}

func newNodeRig(t *testing.T) *nodeRig {
	t.Helper()
	n := &nodeRig{rig: &rig{t: t, data: t.TempDir()}}
	n.start()
	return n
}

func (n *nodeRig) start() {
	n.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out := &buffer{}
	n.logs, n.cancel, n.done = &buffer{}, cancel, make(chan error, 1)
	args := append([]string{"node", "--data", n.data, "--listen", "127.0.0.1:0"}, n.args...)
	go func() { n.done <- run(ctx, args, out, n.logs) }()
	m, err := out.until(regexp.MustCompile(`^(\S+)\n`), n.done)
	if err != nil {
		n.t.Fatalf("%v\n%s", err, n.logs)
	}
	n.address = "esdb://" + m[1] + "?tls=false"
	if n.store, err = eventstore.Open(eventstore.Config{Address: n.address}); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(n.stop)
}

// stop closes the client before the node.
func (n *nodeRig) stop() {
	if n.store == nil {
		return
	}
	if err := n.store.Close(); err != nil {
		n.t.Error(err)
	}
	n.store = nil
	n.rig.stop()
}

func (n *nodeRig) append(stream string, expected eventlog.Revision, kind string, data ...string) []eventlog.Position {
	n.t.Helper()
	var at []eventlog.Position
	for i, d := range data {
		id := eventlog.Meta{Step: [16]byte{7}}.EventID(eventlog.Stream{Category: stream}, expected+eventlog.Revision(i)+1, kind)
		done, err := n.store.Append(n.t.Context(), stream, expected+eventlog.Revision(i), []eventlog.Proposed{
			{ID: id, Type: kind, Data: []byte(d), Meta: []byte(`{"at":"1","by":"tester","step":"` + noID + `","$causationId":"` + noID + `"}`)}})
		if err != nil {
			n.t.Fatal(err)
		}
		at = append(at, done.Position)
	}
	return at
}

const noID = "00000000-0000-0000-0000-000000000000"

// fill appends events to a new stream.
func (n *nodeRig) fill(stream string, count int) []eventlog.Position {
	n.t.Helper()
	data := make([]string, count)
	for i := range data {
		data[i] = `{"n":` + string(rune('0'+i%10)) + `}`
	}
	return n.append(stream, eventlog.None, "tested", data...)
}

// counts verifies the log, and says how much there is.
func (n *nodeRig) counts() esnode.Counts {
	n.t.Helper()
	c, err := esnode.Verify(n.t.Context(), filepath.Join(n.data, "log"), nil, nil, func(p esnode.Problem) {
		n.t.Errorf("a problem: %s", p)
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return c
}
