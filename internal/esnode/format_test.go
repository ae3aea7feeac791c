package esnode

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"prelude/test/conformance/wire"
)

// tables1 are those of format 1.
const tables1 = `
CREATE TABLE streams (id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE);
CREATE TABLE events (
	pos    INTEGER PRIMARY KEY,
	stream INTEGER NOT NULL REFERENCES streams (id),
	rev    INTEGER NOT NULL,
	rec    BLOB    NOT NULL
);
CREATE UNIQUE INDEX events_stream ON events (stream, rev);
PRAGMA user_version = 1;
`

// writeFormat1 makes a log as the first program would have left it: stopped, or killed, when its
// last events are in the write-ahead log alone.
func writeFormat1(t *testing.T, dir string, events int, killed bool) {
	t.Helper()
	at := t.TempDir()
	file := filepath.Join(at, logFile)
	c, err := openConn(plainDSN(file, "&_pragma=journal_mode(WAL)"))
	if err == nil {
		err = c.run("BEGIN;" + tables1 + "INSERT INTO streams VALUES (1, CAST('s' AS BLOB)); COMMIT;")
	}
	if err != nil {
		t.Fatal(err)
	}
	add, err := c.statement("INSERT INTO events (pos, stream, rev, rec) VALUES (?, 1, ?, ?)")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.run("BEGIN"); err != nil {
		t.Fatal(err)
	}
	var enc encoder
	for pos, rev := int64(1), int64(0); rev < int64(events); rev++ {
		ev := event{id: wire.ID(fmt.Sprint(rev)), kind: "tested", json: true, data: []byte(`{}`)}
		stored := enc.encode("s", rev, pos, 1, &ev)
		if err := add.do(pos, rev, stored); err != nil {
			t.Fatal(err)
		}
		pos += int64(len(stored) - sumSize)
	}
	if err = c.run("COMMIT"); err == nil && !killed {
		err = c.close()
	}
	if err != nil {
		t.Fatal(err)
	}
	copyLog(t, at, dir)
	if killed {
		if err := c.close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStart_upgrades_an_older_format(t *testing.T) {
	t.Parallel()
	for name, killed := range map[string]bool{"after a stop": false, "after a kill": true} {
		r := newStoppedRig(t)
		writeFormat1(t, r.dir, 50, killed)
		r.start(t)
		if got := r.Revisions("s"); len(got) != 50 {
			t.Errorf("%s: the stream shows %v", name, got)
		}
		r.Must("s", 48, "49")
		r.Must("s", 49, "50")
		r.stop()
		if c := sum(t, r.dir); c.Events != 51 {
			t.Errorf("%s: %d events", name, c.Events)
		}
		if version, err := formatOf(filepath.Join(r.dir, logFile)); err != nil || version != format {
			t.Errorf("%s: format %d, %v", name, version, err)
		}
	}
}

// The start of a server on a large log waits for its upgrade; the log of the server says how far it is.
func TestStart_tells_how_far_an_upgrade_is(t *testing.T) {
	t.Parallel()
	r := newStoppedRig(t)
	writeFormat1(t, r.dir, 2*reportEvery, false)
	var told bytes.Buffer
	n, err := Start(t.Context(), Config{
		Dir: r.dir, Socket: r.socket(), Logger: slog.New(slog.NewTextHandler(&told, nil)),
	})
	if err == nil {
		err = n.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, percent := range []string{"percent=40", "percent=100"} {
		if !strings.Contains(told.String(), percent+"\n") {
			t.Errorf("it does not tell %s:\n%s", percent, told.String())
		}
	}
}

// An upgrade that fails leaves the old log as it was.
func TestStart_leaves_an_older_log_that_is_damaged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFormat1(t, dir, 50, false)
	file := filepath.Join(dir, logFile)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[bytes.LastIndex(b, []byte("tested"))] ^= 1
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Start(t.Context(), Config{Dir: dir, Listen: "127.0.0.1:0"})
	if !errors.Is(err, errDamaged) {
		t.Errorf("a damaged record: %v", err)
	}
	after, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(after, b) {
		t.Errorf("the file was changed: %v", err)
	}
	if left, err := filepath.Glob(file + "*"); err != nil || len(left) != 1 {
		t.Errorf("left are %v, %v", left, err)
	}
}

func TestStart_refuses_files_that_are_not_a_log(t *testing.T) {
	t.Parallel()
	newer := emptyLog(t)
	newer[headVersion+3] = format + 1
	other := emptyLog(t)
	other[headApplication] ^= 1
	old := t.TempDir()
	c, err := openConn(plainDSN(filepath.Join(old, logFile), ""))
	if err == nil {
		err = errors.Join(c.run("CREATE TABLE letters (text TEXT)"), c.close())
	}
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := os.ReadFile(filepath.Join(old, logFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"a newer format", newer, "has format 3, this program knows up to 2"},
		{"another program's database", other, "is not an event log of Prelude"},
		{"a database of nobody's", foreign, "is not an event log of Prelude"},
		{"a letter", bytes.Repeat([]byte("letter\n"), 1000), "is not an event log of Prelude"},
		{"nothing", nil, "is not an event log of Prelude"},
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, logFile)
		if err := os.WriteFile(file, c.file, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Start(t.Context(), Config{Dir: dir, Listen: "127.0.0.1:0"})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		after, err := os.ReadFile(file)
		if err != nil || !bytes.Equal(after, c.file) {
			t.Errorf("%s: the file was changed: %v", c.name, err)
		}
		if left, err := filepath.Glob(file + "*"); err != nil || len(left) != 1 {
			t.Errorf("%s: left are %v, %v", c.name, left, err)
		}
	}
}

func emptyLog(t *testing.T) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), logFile)
	if err := writeEmpty(file); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestStart_refuses_folders_that_it_cannot_write_to(t *testing.T) {
	t.Parallel()
	plain := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(plain, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"a file": plain, "below a file": filepath.Join(plain, "log")} {
		_, err := Start(t.Context(), Config{Dir: dir, Listen: "127.0.0.1:0"})
		if err == nil || !strings.Contains(err.Error(), "is not a folder") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if b, err := os.ReadFile(plain); err != nil || string(b) != "text" {
		t.Errorf("the file was changed: %q, %v", b, err)
	}
	orphan := t.TempDir()
	if err := os.WriteFile(filepath.Join(orphan, logFile+"-wal"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), Config{Dir: orphan, Listen: "127.0.0.1:0"})
	if err == nil || !strings.Contains(err.Error(), "Put the log back") {
		t.Errorf("a log whose file is missing: %v", err)
	}
}

// A disk that is full from the start, or read only, is told as that, and nothing half is left.
func TestStart_on_a_disk_that_takes_nothing(t *testing.T) {
	t.Parallel()
	dir := mountTmpfs(t, "size=8k")
	occupy(t, filepath.Join(dir, "ballast"), 8<<10)
	_, err := Start(t.Context(), Config{Dir: dir, Listen: "127.0.0.1:0"})
	if err == nil || !strings.Contains(err.Error(), "is full") {
		t.Errorf("a full disk: %v", err)
	}
	for _, name := range []string{logFile, logFile + ".partial"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s was left", name)
		}
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	_, err = Start(t.Context(), Config{Dir: filepath.Join(dir, "log"), Listen: "127.0.0.1:0"})
	if err == nil || !strings.Contains(err.Error(), "must be able to write") {
		t.Errorf("a read-only disk: %v", err)
	}
}
