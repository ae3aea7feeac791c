// Package newfile makes files where anybody else may have some: it writes over nothing that is there, and removes
// nothing that it has not made, whoever comes in between.
package newfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Why a file is not made. Nothing was changed then.
var (
	ErrTaken = errors.New("there is a file of this name already, and nothing is written over: name another, or move " +
		"it away")
	ErrPartial = errors.New("a file of this name with .partial at its end is there already, and nothing is written " +
		"over or removed: it is another's, that of one that is being made now, or what is left of one that was cut " +
		"off; then remove it")
)

// Make has a file filled under another name, syncs it and then gives it its own: it is there whole or not at all (where
// the file system knows no second names, a kill in the last moment may leave it empty), and is its owner's alone.
// Errors: [ErrTaken], [ErrPartial].
func Make(file string, fill func(partial string) error) error {
	if err := Free(file); err != nil {
		return err
	}
	partial := file + ".partial"
	f, err := os.OpenFile(partial, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return ErrPartial
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), settle(partial, file, fill))
}

// Free refuses a name that something has. Error: [ErrTaken].
func Free(file string) error {
	_, err := os.Lstat(file)
	switch {
	case err == nil:
		return ErrTaken
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("look at the file's place: %w", err)
	}
	return nil
}

// settle fills a file that was just made, and gives it its name; else it is gone.
func settle(partial, file string, fill func(partial string) error) error {
	err, moved := fill(partial), false
	if err == nil {
		err = sync(partial)
	}
	if err == nil {
		moved, err = take(partial, file, os.Link)
	}
	if !moved {
		err = errors.Join(err, os.Remove(partial))
	}
	if err == nil {
		err = sync(filepath.Dir(file))
	}
	return err
}

func sync(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// take gives a file a name that nothing has. moved says that it has lost its old one. link is os.Link.
func take(partial, file string, link func(from, to string) error) (moved bool, err error) {
	err = link(partial, file)
	switch {
	case errors.Is(err, fs.ErrExist):
		return false, ErrTaken
	case !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.ENOSYS):
		return false, err
	}
	// Some file systems know no second names: then an empty file of ours takes the name first.
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return false, ErrTaken
	}
	if err != nil {
		return false, err
	}
	if err = errors.Join(f.Close(), os.Rename(partial, file)); err != nil {
		return false, errors.Join(err, os.Remove(file))
	}
	return true, nil
}
