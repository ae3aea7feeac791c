package esnode

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a killed log has left beside its file belongs to that file: no other is put there.
func TestRestore_beside_what_another_log_has_left(t *testing.T) {
	t.Parallel()
	r := newStoppedRig(t)
	r.start(t)
	r.Must("s", noStream, "a", "b")
	backup := filepath.Join(t.TempDir(), "backup")
	if _, err := Backup(t.Context(), r.dir, backup, nil); err != nil {
		t.Fatal(err)
	}
	r.Must("s", 1, "c")
	r.stop()
	file := filepath.Join(r.dir, logFile)
	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(file, moved); err != nil {
		t.Fatal(err)
	}
	for _, left := range []string{"", "what was written last"} {
		if err := os.WriteFile(file+"-wal", []byte(left), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Restore(t.Context(), backup, r.dir, nil, nil)
		if err == nil || !strings.Contains(err.Error(), "log.db-wal") {
			t.Errorf("beside %q the restore says %v", left, err)
		}
		if _, err := os.Lstat(file); err == nil {
			t.Error("there is a log")
		}
		if got, err := os.ReadFile(file + "-wal"); err != nil || string(got) != left {
			t.Errorf("what was left is %q, %v", got, err)
		}
		_, err = Start(t.Context(), Config{Dir: r.dir, Listen: "127.0.0.1:0"})
		if err == nil || !strings.Contains(err.Error(), "log.db-wal") {
			t.Errorf("beside %q the start says %v", left, err)
		}
	}
	if err := os.Remove(file + "-wal"); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), backup, r.dir, nil, nil); err != nil {
		t.Fatal(err)
	}
	r.start(t)
	if got := r.Revisions("s"); len(got) != 2 {
		t.Errorf("the restored stream shows %v", got)
	}
	r.stop()
}
