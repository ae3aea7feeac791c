package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"prelude/internal/eventlog"
	"prelude/internal/eventstore"
)

// program runs the program in a process of its own, and expects it to end well; said are both of its outputs.
func program(t *testing.T, args ...string) (said string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("prelude %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// nodeProcess is prelude node in a process of its own, which ends with the test if not before.
func nodeProcess(t *testing.T, data string) (end func(os.Signal) error, address string) {
	t.Helper()
	cmd, at := alone(t, data, "127.0.0.1:0")
	ended := false
	end = func(s os.Signal) error {
		ended = true
		if err := cmd.Process.Signal(s); err != nil {
			return fmt.Errorf("tell the node to end: %w", err)
		}
		return cmd.Wait()
	}
	t.Cleanup(func() {
		if !ended {
			if err := end(syscall.SIGTERM); err != nil {
				t.Errorf("a node that is told to end: %v", err)
			}
		}
	})
	return end, "esdb://" + at + "?tls=false"
}

// TestLogCommands runs each command on a log as an operator does, every one a process: the log of a node that serves
// it is backed up, the node is killed, the backup is restored, verified, served, copied to another node, and
// watched there.
func TestLogCommands(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, second, third, file := filepath.Join(dir, "first"), filepath.Join(dir, "second"), filepath.Join(dir, "third"),
		filepath.Join(dir, "backup")
	end, address := nodeProcess(t, first)
	write(t, address, "preset-00000000000000000000000000_00000000000000000000000001", 30)
	write(t, address, "preset-00000000000000000000000000_00000000000000000000000002", 5)
	contains(t, program(t, "log", "backup", file, "--data", first), "35 events, 2 streams", "each record was checked")
	write(t, address, "preset-00000000000000000000000000_00000000000000000000000003", 1) // which the backup has not
	if err := end(syscall.SIGKILL); err == nil {
		t.Fatal("the node ended well, though it was killed")
	}
	contains(t, program(t, "log", "restore", file, "--data", second), "restored 35 events", "the log's new id is")
	// The names of the test's events are not registered, which verify says.
	cmd := exec.CommandContext(t.Context(), os.Args[0], "log", "verify", "--data", second)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	out, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); err == nil || code != 1 {
		t.Errorf("verify ends with %d, %v", code, err)
	}
	contains(t, string(out), "36 events, 3 streams", "35 problems", "unknown name: tested", "the log has problems")
	_, address = nodeProcess(t, second)
	limit(t, address, "preset-00000000000000000000000000_00000000000000000000000001", 20)
	_, target := nodeProcess(t, third)
	said := program(t, "log", "copy", "--from", address, "--to", target)
	copied(t, said, nil)
	contains(t, said, "35 events copied, 0 were there already, in 2 streams", "metadata of 1 streams copied")
	contains(t, program(t, "log", "copy", "--from", address, "--to", target), "0 events copied, 35 were there already")
	if got := tail(t, target, 35); strings.Join(got, " ") != strings.Join(places("preset-00000000000000000000000000_00000000000000000000000001", 30), " ")+" "+
		strings.Join(places("preset-00000000000000000000000000_00000000000000000000000002", 5), " ") {
		t.Errorf("tail shows %q", got)
	}
}

// write appends events to a new stream of the store at an address.
func write(t *testing.T, address, stream string, n int) {
	t.Helper()
	store, err := eventstore.Open(eventstore.Config{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	rig := &nodeRig{rig: &rig{t: t}, store: store}
	rig.fill(stream, n)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

// limit hides what is before a revision.
func limit(t *testing.T, address, stream string, before int) {
	t.Helper()
	store, err := eventstore.Open(eventstore.Config{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	rig := &nodeRig{rig: &rig{t: t}, store: store}
	rig.append("$$"+stream, eventlog.None, "$metadata", fmt.Sprintf(`{"$tb":%d}`, before))
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

// places are the first revisions of a stream, as tail is read here.
func places(stream string, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint(stream, "@", i))
	}
	return all
}

// tail watches a store until it has shown some events, and is told to stop then.
func tail(t *testing.T, address string, n int) (shown []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "log", "tail", "--json", "--from", "start", "--eventstore", address)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer stuck.Stop()
	lines := bufio.NewScanner(out)
	for len(shown) < n && lines.Scan() {
		var e struct {
			Stream   string
			Revision int
			Data     json.RawMessage
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || len(e.Data) > 0 {
			t.Errorf("a line is %q: %v", lines.Bytes(), err)
		}
		if !strings.HasPrefix(e.Stream, "log-") {
			shown = append(shown, fmt.Sprint(e.Stream, "@", e.Revision))
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ends with %v\n%s", err, &errs)
	}
	return shown
}
