// Package filelock locks a file, so that one process at a time has what the file stands for.
package filelock

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrTaken: another holds the lock, in this process or in another.
var ErrTaken = errors.New("the file is locked")

// Lock is a file that is locked until it is closed or the process ends.
type Lock struct{ *os.File }

// Take opens the file, makes it if there is none, its owner's alone, and locks it. It does not wait. Error: [ErrTaken].
func Take(path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return &Lock{f}, nil
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrTaken
	}
	return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
}

// Close gives the lock back. To close the file would not do: a child that this process is just starting has all its
// files too, and would hold the lock until it runs its own program.
func (l *Lock) Close() error {
	return errors.Join(unix.Flock(int(l.Fd()), unix.LOCK_UN), l.File.Close())
}
