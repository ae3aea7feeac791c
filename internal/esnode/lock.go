package esnode

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"prelude/internal/filelock"
)

// ErrLocked says that another process has the folder open.
var ErrLocked = errors.New("another process has the event store's folder open")

// makeDir makes the folder of a log, which is its owner's alone.
func makeDir(dir string) error {
	err := os.MkdirAll(dir, 0o700)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%s is not a folder: the event store needs a folder of its own", dir)
	}
	return fmt.Errorf("make the event store's folder: %w", refused(dir, err))
}

// refused says of a folder that cannot be written to which rule that breaks.
func refused(dir string, err error) error {
	switch {
	case errors.Is(err, unix.EROFS), errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the event store must be able to write to %s: %w", dir, err)
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("the disk of %s is full: the event store needs room there: %w", dir, err)
	}
	return err
}

// lockDir takes the folder's lock; closing the file gives it back, and so does the end of the
// process.
func lockDir(dir string) (*filelock.Lock, error) {
	lock, err := filelock.Take(filepath.Join(dir, "lock"))
	if errors.Is(err, filelock.ErrTaken) {
		return nil, fmt.Errorf("%w: %s", ErrLocked, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("lock the folder: %w", refused(dir, err))
	}
	return lock, nil
}
