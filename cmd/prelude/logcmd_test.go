package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"prelude/internal/eventlog"
)

// refused expects a command to fail with a sentence that has all of these in it.
func refused(t *testing.T, err error, says ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("it is not refused")
	}
	for _, text := range says {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("it does not say %q: %v", text, err)
		}
	}
}

// missing expects that nothing is there.
func missing(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is there: %v", path, err)
	}
}

// TestBackup backs up while a server runs, goes on, and restores into another folder: what was there at the backup
// is there, the log has a new id, and a database of the old one is refused until it is rebuilt.
func TestBackup(t *testing.T) {
	t.Parallel()
	embedded(t)
	r := start(t)
	session := r.session()
	r.do("POST", "/v1/sessions/"+session+"/messages", doc{"content": "Keep this"}).want(201)
	file := filepath.Join(t.TempDir(), "log.backup")
	out, err := r.command("log", "backup", file)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	contains(t, out, "each record was checked")
	missing(t, file+".partial")
	later := r.do("POST", "/v1/sessions", doc{"model": "demo"}).want(201).str("id")
	t.Run("a_backup_is_not_written_over", func(t *testing.T) {
		_, err := r.on(t).command("log", "backup", file)
		refused(t, err, "nothing is written over")
		other := filepath.Join(t.TempDir(), "other")
		if err := os.WriteFile(other+".partial", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = r.on(t).command("log", "backup", other)
		refused(t, err, "or removed")
		missing(t, other)
	})
	t.Run("a_log_is_not_restored_over", func(t *testing.T) {
		_, err := r.on(t).command("log", "restore", file)
		refused(t, err, "another prelude serves this data folder")
	})
	r.stop()
	t.Run("nor_when_it_is_stopped", func(t *testing.T) {
		_, err := r.on(t).command("log", "restore", file)
		refused(t, err, "holds a log already", "move this one away first")
	})
	old := r.data
	r.data = t.TempDir()
	for _, name := range []string{"master.key", "instance", devFile} {
		text, err := os.ReadFile(filepath.Join(old, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(r.data, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if out, err = r.command("log", "restore", file); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	contains(t, out, "the log's new id is")
	missing(t, filepath.Join(r.data, "log", "restore.partial"))
	r.refusesToStart("another event log", "prelude rebuild --yes")
	if out, err = r.command("rebuild", "--yes"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	contains(t, out, "of this one now; its vault was kept")
	r.serve()
	all := r.do("GET", "/v1/sessions/"+session+"/messages", nil).want(200).list("data")
	if len(all) != 2 || all[0].str("content") != "Keep this" {
		t.Errorf("the messages are %v", all)
	}
	r.do("GET", "/v1/sessions/"+later, nil).refused(404, "not_found")
	r.stop()
	if out, err = r.command("log", "verify"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	contains(t, out, " 0 problems")
}

// TestBadBackup restores what is no whole backup: each is refused, and nothing is left behind.
func TestBadBackup(t *testing.T) {
	t.Parallel()
	n := newNodeRig(t)
	n.fill("preset-00000000000000000000000000_00000000000000000000000001", 200)
	good := filepath.Join(t.TempDir(), "good")
	if out, err := n.command("log", "backup", good); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	whole, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	flipped := append([]byte(nil), whole...)
	flipped[len(flipped)/2] ^= 4
	newer := append([]byte(nil), whole...)
	newer[63] = 99
	for name, c := range map[string]struct {
		text []byte
		says string
	}{
		"truncated":           {whole[:len(whole)-4096], "is not whole"},
		"truncated_in_a_page": {whole[:len(whole)-100], "is not whole"},
		"of_a_few_bytes":      {whole[:50], "is not an event log of Prelude"},
		"empty":               {nil, "is not an event log of Prelude"},
		"foreign":             {[]byte(strings.Repeat("a letter to nobody\n", 500)), "is not an event log of Prelude"},
		"with_a_flipped_bit":  {flipped, "damaged"},
		"of_a_newer_program":  {newer, "format 99"},
		"with_pages_too_many": {append(append([]byte(nil), whole...), make([]byte, 4096)...), "is not whole"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file := filepath.Join(dir, "backup")
			if err := os.WriteFile(file, c.text, 0o600); err != nil {
				t.Fatal(err)
			}
			data := filepath.Join(dir, "data")
			err := run(t.Context(), []string{"log", "restore", file, "--data", data}, io.Discard, io.Discard)
			refused(t, err, c.says)
			missing(t, filepath.Join(data, "log"))
		})
	}
	err = run(t.Context(), []string{"log", "restore", good + ".none", "--data", t.TempDir()}, io.Discard, io.Discard)
	refused(t, err, "no such file")
}

// TestInterrupted ends what takes long before it is done: what it says is for people, and nothing is left.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	n := newNodeRig(t)
	n.fill("preset-00000000000000000000000000_00000000000000000000000001", 10)
	dir := t.TempDir()
	file := filepath.Join(dir, "backup")
	if out, err := n.command("log", "backup", file); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	data := filepath.Join(dir, "data")
	for _, line := range [][]string{{"log", "backup", file + "2", "--data", n.data}, {"log", "verify", "--data", n.data},
		{"log", "restore", file, "--data", data}} {
		refused(t, run(ended, line, io.Discard, io.Discard), "interrupted")
	}
	for _, name := range []string{file + "2", file + "2.partial", filepath.Join(data, "log")} {
		missing(t, name)
	}
	n.stop()
	refused(t, run(ended, []string{"log", "compact", "--data", n.data}, io.Discard, io.Discard), "interrupted")
	missing(t, filepath.Join(n.data, "log", "log.db.partial"))
	if c := n.counts(); c.Events != 10 {
		t.Errorf("%d events are left", c.Events)
	}
}

// TestLogVerify finds what is wrong with a log, says where, and ends with 1.
func TestLogVerify(t *testing.T) {
	t.Parallel()
	n := newNodeRig(t)
	n.fill("preset-00000000000000000000000000_00000000000000000000000001", 3)
	n.stop()
	out, err := n.command("log", "verify")
	refused(t, err, "has problems")
	contains(t, out, "unknown name: tested", "3 problems", `"preset-00000000000000000000000000_00000000000000000000000001"`)
	path := filepath.Join(n.data, "log", "log.db")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(b), `{"n":1}`)
	b[at] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err = n.command("log", "verify")
	refused(t, err, "has problems")
	contains(t, out, "the checksum of page", `the record's checksum is wrong, at position`, `of the stream "preset-00000000000000000000000000_00000000000000000000000001"`)
	_, err = n.command("log", "backup", filepath.Join(t.TempDir(), "b"))
	refused(t, err, "damaged")
	_, err = n.command("log", "compact")
	refused(t, err, "damaged")
	if after, err := os.ReadFile(path); err != nil || string(after) != string(b) {
		t.Errorf("the log was changed: %v", err)
	}
}

// TestCompact removes what a stream's limit hides, and a position that is not there any more is one still.
func TestCompact(t *testing.T) {
	t.Parallel()
	n := newNodeRig(t)
	at := n.fill("preset-00000000000000000000000000_00000000000000000000000001", 500)
	n.append("$$preset-00000000000000000000000000_00000000000000000000000001", eventlog.None, "$metadata", `{"$maxCount":2}`)
	n.fill("preset-00000000000000000000000000_00000000000000000000000002", 5)
	_, err := n.command("log", "compact")
	refused(t, err, "stop it first")
	n.stop()
	out, err := n.command("log", "compact")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	contains(t, out, "498 events removed, 8 left")
	n.start()
	left := 0
	for raw, err := range n.store.ReadAll(t.Context(), at[100], eventlog.Forwards, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if raw.Stream == "preset-00000000000000000000000000_00000000000000000000000001" && raw.Revision < 498 {
			t.Errorf("revision %d is there still", raw.Revision)
		}
		left++
	}
	if left != 8 {
		t.Errorf("%d events are left", left)
	}
	n.append("preset-00000000000000000000000000_00000000000000000000000001", 499, "tested", `{}`)
}

// TestTail prints events as lines without their texts, from a place on, and ends when it is told to.
func TestTail(t *testing.T) {
	t.Parallel()
	n := newNodeRig(t)
	at := n.fill("preset-00000000000000000000000000_00000000000000000000000001", 3)
	ctx, cancel := context.WithCancel(t.Context())
	out, done := &buffer{}, make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"log", "tail", "--json", "--from", "start", "--data", n.data}, out, io.Discard)
	}()
	if _, err := out.until(regexp.MustCompile(`"revision":2`), done); err != nil {
		t.Fatal(err)
	}
	n.append("preset-00000000000000000000000000_00000000000000000000000001", 2, "tested", `{"text":"marker"}`)
	if _, err := out.until(regexp.MustCompile(`"revision":3.*\n`), done); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("it ended with %v", err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 4 || strings.Contains(out.String(), "marker") || strings.Contains(out.String(), "tester") {
		t.Fatalf("it printed\n%s", out)
	}
	var first doc
	if err := json.Unmarshal([]byte(lines[0]), &first); err != nil {
		t.Fatal(err)
	}
	if first.num("position") != int(at[0]) || first.str("stream") != "preset-00000000000000000000000000_00000000000000000000000001" || first.str("type") != "tested" ||
		len(first) != 7 {
		t.Errorf("the first line is %v", first)
	}
	for from, says := range map[string]string{"yesterday": "PRELUDE_TAIL_FROM must be", "-1": "PRELUDE_TAIL_FROM must be",
		"999999": "beyond the log's end"} {
		_, err := n.command("log", "tail", "--from="+from)
		refused(t, err, says)
	}
}

// TestLogElsewhere: the commands on a folder's log do not take another store for it.
func TestLogElsewhere(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"log backup x", "log restore x", "log verify", "log compact", "node"} {
		err := run(t.Context(), append(strings.Fields(line), "--eventstore", "esdb://127.0.0.1:1?tls=false", "--data",
			t.TempDir()), io.Discard, io.Discard)
		refused(t, err, "PRELUDE_EVENTSTORE")
	}
	for _, line := range []string{"log backup x", "log verify", "log compact"} {
		err := run(t.Context(), append(strings.Fields(line), "--data", t.TempDir()), io.Discard, io.Discard)
		refused(t, err, "there is no log in")
	}
}
