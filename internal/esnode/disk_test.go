package esnode

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"prelude/test/conformance/wire"
)

// mountTmpfs gives a small disk of its own, where that is allowed.
func mountTmpfs(t *testing.T, options string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "esnode")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		if e := os.Remove(dir); e != nil {
			t.Error(e)
		}
		unable(t, "mounting is not allowed here: %v", err)
	}
	t.Cleanup(func() {
		if err := errors.Join(unix.Unmount(dir, 0), os.Remove(dir)); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// occupy makes a file that takes bytes away.
func occupy(t *testing.T, file string, bytes int) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 4096)
	for n := 0; n < bytes; n += len(block) {
		if _, err = f.Write(block); err != nil {
			break
		}
	}
	if err != nil && !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// free is how many bytes a disk has left.
func free(t *testing.T, dir string) int {
	t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	return int(s.Bavail) * int(s.Bsize)
}

// A full disk refuses appends and keeps reading; when there is room, writing goes on by itself, and
// what was acknowledged is there exactly once, also after a start.
func TestDisk_full(t *testing.T) {
	t.Parallel()
	dir := mountTmpfs(t, "size=4m")
	r := &rig{dir: dir}
	r.start(t)
	ballast := filepath.Join(dir, "ballast")
	acknowledged := int64(0)
	for round := range 3 {
		occupy(t, ballast, free(t, dir)-100<<10)
		b := r.Batch(wire.Within(t))
		acknowledged = r.untilFull(b, acknowledged)
		if got := len(r.revisionsOf("s", acknowledged)); int64(got) != acknowledged {
			t.Fatalf("round %d: %d events are read of %d", round, got, acknowledged)
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			r.eventually("s", acknowledged)
			acknowledged++
		}
		if err := inBatch(b, "s", acknowledged-1, fmt.Sprint(acknowledged)); err != nil {
			t.Fatalf("round %d: the batch does not go on: %v", round, err)
		}
		acknowledged++
	}
	r.stop()
	r.start(t)
	if got := len(r.revisionsOf("s", acknowledged)); int64(got) != acknowledged {
		t.Errorf("%d events after a start, %d were acknowledged", got, acknowledged)
	}
	r.stop()
	if c := sum(t, dir); c.Events != acknowledged || acknowledged < 30 {
		t.Errorf("%d events, %d were acknowledged", c.Events, acknowledged)
	}
	t.Logf("3 full disks; acknowledged %d", acknowledged)
}

// untilFull appends to "s", an event for each revision, until none is taken, whichever way it comes.
func (r *rig) untilFull(b *wire.Batch, rev int64) int64 {
	r.T.Helper()
	for refused := 0; refused < 6 && rev < 20_000; {
		var way string
		var err error
		if refused%2 == 0 {
			way, err = "an append", r.Append("s", rev-1, fmt.Sprint(rev)).Err
		} else {
			way, err = "one in a batch", inBatch(b, "s", rev-1, fmt.Sprint(rev))
		}
		switch wire.Code(err) {
		case codes.OK:
			rev++
		case codes.ResourceExhausted:
			if refused++; !strings.Contains(err.Error(), "disk is full") {
				r.T.Errorf("%s says %v", way, err)
			}
		default:
			r.T.Fatalf("after %d events, %s answers %v", rev, way, err)
		}
	}
	if rev == 20_000 {
		r.T.Fatal("it does not become full")
	}
	return rev
}

// eventually appends the event of a revision until it is taken.
func (r *rig) eventually(stream string, rev int64) {
	r.T.Helper()
	var a wire.Answer
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if a = r.Append(stream, rev-1, fmt.Sprint(rev)); a.Err == nil && a.Wrong == nil {
			return
		}
	}
	r.T.Fatalf("writing does not go on: %v %v", a.Err, a.Wrong)
}

// revisionsOf reads a stream that may be long, and checks that revisions follow each other.
func (r *rig) revisionsOf(stream string, most int64) (revs []int64) {
	r.T.Helper()
	got, err := r.Read(wire.Count(wire.OfStream(stream), uint64(most+10)))
	if err != nil {
		r.T.Fatalf("read %s: %v", stream, err)
	}
	for _, m := range got {
		if m.GetEvent() == nil {
			continue
		}
		rev := int64(m.GetEvent().GetEvent().GetStreamRevision())
		if rev != int64(len(revs)) {
			r.T.Fatalf("revision %d is where %d should be", rev, len(revs))
		}
		revs = append(revs, rev)
	}
	return revs
}

// TestLimited is the process of TestDisk_limit: its files may not grow beyond a size, which is a
// fault of the disk that is not called a full one.
func TestLimited(t *testing.T) {
	dir := os.Getenv("ESNODE_TEST_LIMITED")
	if dir == "" {
		t.Skip("it runs in a process of its own")
	}
	r := &rig{dir: dir}
	r.start(t)
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	limited := before
	limited.Cur = 256 << 10
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limited); err != nil {
		t.Fatal(err)
	}
	acknowledged, refused := int64(0), 0
	for refused < 5 {
		switch a := r.Append("s", acknowledged-1, fmt.Sprint(acknowledged)); wire.Code(a.Err) {
		case codes.OK:
			acknowledged++
		case codes.Unavailable:
			refused++
		default:
			t.Fatalf("the append answers %v", a.Err)
		}
	}
	if got := len(r.revisionsOf("s", acknowledged)); int64(got) != acknowledged {
		t.Fatalf("%d events are read of %d", got, acknowledged)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	r.eventually("s", acknowledged)
	if got := len(r.revisionsOf("s", acknowledged+1)); int64(got) != acknowledged+1 {
		t.Fatalf("%d events are read of %d", got, acknowledged+1)
	}
	r.stop()
	fmt.Println("acknowledged", acknowledged+1)
}

// A fault of the disk ends by itself too: the node opens its log again, and needs no restart.
func TestDisk_limit(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "esnode")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLimited$")
	child.Env = append(os.Environ(), "ESNODE_TEST_LIMITED="+dir)
	out, err := child.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var acknowledged int64
	_, rest, _ := strings.Cut(string(out), "acknowledged ")
	if _, err := fmt.Sscan(rest, &acknowledged); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if c := sum(t, dir); c.Events != acknowledged || acknowledged < 10 {
		t.Errorf("%d events, %d were acknowledged", c.Events, acknowledged)
	}
}

// TestHolder is the process that has the folder open in TestLock_of_another_process.
func TestHolder(t *testing.T) {
	dir := os.Getenv("ESNODE_TEST_HOLDER")
	if dir == "" {
		t.Skip("it runs in a process of its own")
	}
	r := &rig{dir: dir}
	r.start(t)
	fmt.Println("open")
	if _, err := os.Stdin.Read(make([]byte, 1)); err != nil {
		t.Log(err)
	}
	r.stop()
}

func TestLock_of_another_process(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "esnode")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHolder$")
	child.Env = append(os.Environ(), "ESNODE_TEST_HOLDER="+dir)
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fscanln(out, new(string)); err != nil {
		t.Fatal(err)
	}
	_, err = Start(t.Context(), Config{Dir: dir, Listen: "127.0.0.1:0"})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("the folder of another process: %v", err)
	}
	if _, err := Compact(t.Context(), dir, nil); !errors.Is(err, ErrLocked) {
		t.Errorf("compacting it: %v", err)
	}
	if _, err := in.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	r := &rig{dir: dir}
	r.start(t)
	r.stop()
}

// What does not fit is taken back whole: a backup, a restored log, a compacted one.
func TestDisk_too_small(t *testing.T) {
	t.Parallel()
	r := newStoppedRig(t)
	r.start(t)
	for rev := range int64(200) {
		r.Must("s", rev-1, fmt.Sprint(rev))
	}
	file := filepath.Join(t.TempDir(), "backup")
	if _, err := Backup(t.Context(), r.dir, file, nil); err != nil {
		t.Fatal(err)
	}
	dir := mountTmpfs(t, "size=48k")
	_, err := Backup(t.Context(), r.dir, filepath.Join(dir, "backup"), nil)
	if !isFull(err) {
		t.Errorf("the backup: %v", err)
	}
	_, err = Restore(t.Context(), file, filepath.Join(dir, "log"), nil, nil)
	if !isFull(err) {
		t.Errorf("the restored log: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
	r.stop()
}
