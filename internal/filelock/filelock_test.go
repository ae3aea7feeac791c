package filelock

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTake(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	one, err := Take(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := one.Stat(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v: %v", info.Mode(), err)
	}
	if _, err := Take(path); !errors.Is(err, ErrTaken) {
		t.Errorf("a second has it: %v", err)
	}
	// As a child has it that is being started.
	child, err := unix.Dup(int(one.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(child) })
	if err := one.Close(); err != nil {
		t.Error(err)
	}
	two, err := Take(path)
	if err != nil {
		t.Fatalf("it was given back: %v", err)
	}
	if err := two.Close(); err != nil {
		t.Error(err)
	}
}

func TestTake_where_no_file_can_be(t *testing.T) {
	t.Parallel()
	if _, err := Take(filepath.Join(t.TempDir(), "nowhere", "lock")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is no folder: %v", err)
	}
}
