package esnode

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"

	"prelude/test/conformance/wire"
)

func TestStart_finds_what_was_there(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := r.Must("s", noStream, "a", "b")
	r.SetMeta("s", `{"$maxCount":2}`)
	r.stop()
	r.start(t)
	second := r.Must("s", 1, "c")
	if second.Pos <= first.Pos {
		t.Errorf("position %d after %d", second.Pos, first.Pos)
	}
	if got := r.Revisions("s"); len(got) != 2 || got[1] != 2 {
		t.Errorf("the stream shows %v", got)
	}
	if again := r.Must("s", noStream, "a", "b"); again.Pos != first.Pos {
		t.Errorf("a repeat answers %d, want %d", again.Pos, first.Pos)
	}
}

func TestStart_knows_tombstones(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Must("s", noStream, "a")
	r.SetMeta("s", `{"$maxCount":2}`)
	if a := r.Tombstone("s", anyRevision); a.Err != nil {
		t.Fatal(a.Err)
	}
	r.stop()
	r.start(t)
	for _, name := range []string{"s", "$$s"} {
		if a := r.Append(name, anyRevision, "b"); a.Exception() != "stream-deleted" {
			t.Errorf("%s: %v", name, a.Err)
		}
	}
	if _, err := r.Read(wire.OfStream("s")); wire.Code(err) != codes.FailedPrecondition {
		t.Errorf("read: %v", err)
	}
}

func TestStart_refuses(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	other := t.TempDir()
	long := filepath.Join(other, strings.Repeat("x", longestSocket))
	plain := filepath.Join(other, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	short := filepath.Join(r.dir, "other.sock")
	for _, c := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"a folder that is open", Config{Dir: r.dir, Socket: short}, ErrLocked.Error()},
		{"a socket that is used", Config{Dir: other, Socket: r.socket()}, "somebody else listens"},
		{"a socket's path too long", Config{Dir: other, Socket: long}, "at most 107"},
		{"a file in the socket's place", Config{Dir: other, Socket: plain}, "is in the way"},
		{"an address of all", Config{Dir: other, Listen: ":0"}, "loopback"},
		{"an address of others", Config{Dir: other, Listen: "192.0.2.1:0"}, "loopback"},
		{"nothing to listen on", Config{Dir: other}, "neither a socket nor an address"},
	} {
		n, err := Start(t.Context(), c.cfg)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if n != nil {
			t.Errorf("%s: a node came with the error", c.name)
		}
	}
	_, err := Start(t.Context(), Config{Dir: r.dir, Socket: short})
	if !errors.Is(err, ErrLocked) {
		t.Errorf("the lock: %v", err)
	}
	r.Must("s", noStream, "a")
}

func TestStart_refuses_a_newer_format(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, err := openConn(dsn(filepath.Join(dir, "log.db"), ""))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.run("PRAGMA user_version = 2"), c.close()); err != nil {
		t.Fatal(err)
	}
	_, err = Start(t.Context(), Config{Dir: dir, Listen: "127.0.0.1:0"})
	if err == nil || !strings.Contains(err.Error(), "format 2") {
		t.Errorf("a newer format: %v", err)
	}
}

func TestStart_keeps_the_log_in_its_folder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a b?c%20d#e&f")
	n, err := Start(t.Context(), Config{Dir: dir, Listen: "localhost:0"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "log.db")); err != nil {
		t.Error(err)
	}
	if !strings.HasPrefix(n.Addr(), "127.0.0.1:") && !strings.HasPrefix(n.Addr(), "[::1]:") {
		t.Errorf("it listens on %s", n.Addr())
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

const (
	victimWriters = 8
	killAfter     = 300
)

// TestVictim is the process that TestKill kills: a node under load. Every line it writes is an
// append that was acknowledged.
func TestVictim(t *testing.T) {
	dir := os.Getenv("ESNODE_TEST_VICTIM")
	if dir == "" {
		t.Skip("it runs in a process of its own")
	}
	r := &rig{dir: dir}
	r.start(t)
	var mu sync.Mutex
	var all sync.WaitGroup
	for w := range victimWriters {
		all.Go(func() {
			name := fmt.Sprintf("s-%d-%d", os.Getpid(), w)
			for rev := int64(noStream); ; rev += 2 {
				a := r.Append(name, rev, fmt.Sprint(name, rev), fmt.Sprint(name, rev, "b"))
				if a.Err != nil || a.Wrong != nil {
					t.Errorf("append: %v %v", a.Err, a.Wrong)
					return
				}
				mu.Lock()
				fmt.Println("acknowledged", name, a.Rev, a.Pos)
				mu.Unlock()
			}
		})
	}
	all.Wait()
}

// Nothing that was acknowledged may be missing after the process was killed, however often.
func TestKill(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "esnode")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	type end struct{ rev, pos int64 }
	ends := map[string]end{}
	for range 3 {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestVictim$")
		child.Env = append(os.Environ(), "ESNODE_TEST_VICTIM="+dir)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			var word, name string
			var e end
			if _, err := fmt.Sscan(lines.Text(), &word, &name, &e.rev, &e.pos); err == nil {
				ends[name] = e
			}
			if n == killAfter {
				if err := child.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := child.Wait(); err == nil {
			t.Fatal("the child ended by itself")
		}
	}
	if len(ends) != 3*victimWriters {
		t.Fatalf("%d streams were written", len(ends))
	}
	r := &rig{dir: dir}
	r.start(t)
	defer r.stop()
	for name, e := range ends {
		got := r.Revisions(name)
		if int64(len(got)) <= e.rev || len(got)%2 != 0 {
			t.Errorf("%s has %d events, %d were acknowledged", name, len(got), e.rev+1)
		}
		again := r.Must(name, e.rev-2, fmt.Sprint(name, e.rev-2), fmt.Sprint(name, e.rev-2, "b"))
		if again.Pos != e.pos {
			t.Errorf("%s: position %d, acknowledged was %d", name, again.Pos, e.pos)
		}
	}
}
