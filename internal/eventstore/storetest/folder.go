package storetest

import (
	"os"
	"testing"
)

// Folder makes a folder whose name is short enough for a socket in it, which those of t.TempDir may not be.
func Folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "prelude")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
