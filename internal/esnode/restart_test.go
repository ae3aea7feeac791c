package esnode

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
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
	if a := r.Append("s", anyRevision, "b"); a.Exception() != "stream-deleted" {
		t.Errorf("append: %v", a.Err)
	}
	r.SetMeta("s", `{"$maxCount":3}`) // as in a real store
	for _, name := range []string{"s", "$$s"} {
		if _, err := r.Read(wire.OfStream(name)); wire.Code(err) != codes.FailedPrecondition {
			t.Errorf("read %s: %v", name, err)
		}
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

// Metadata bring a stream back that was deleted softly, without the events that it had: also where nothing
// of it is in memory.
func TestStart_metadata_bring_a_deleted_stream_back_empty(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Must("s", noStream, "a", "b")
	if a := r.Delete("s", anyRevision); a.Err != nil {
		t.Fatal(a.Err)
	}
	r.stop()
	r.start(t)
	r.SetMeta("s", `{"$maxCount":9}`)
	if got := r.Revisions("s"); len(got) != 0 {
		t.Errorf("the stream shows %v", got)
	}
	r.Must("s", 1, "c")
	if got := r.Revisions("s"); len(got) != 1 || got[0] != 2 {
		t.Errorf("with one more event it shows %v", got)
	}
}
