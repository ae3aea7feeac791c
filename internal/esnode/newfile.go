package esnode

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// newFile makes a file beside its place, syncs it and then gives it its name. It writes over nothing
// that is there and removes nothing that it has not made, whoever comes in between: the folder is
// anybody's.
func newFile(file string, fill func(partial string) error) error {
	if err := untaken(file); err != nil {
		return err
	}
	partial := file + ".partial"
	f, err := os.OpenFile(partial, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already: nothing is written over or removed. It is another's, that of "+
			"a backup that goes on, or what is left of one that was killed; then remove it", partial)
	}
	if err == nil {
		err = errors.Join(f.Close(), settleNew(partial, file, fill))
	}
	if err != nil {
		return fmt.Errorf("make %s: %w", filepath.Base(file), refused(filepath.Dir(file), err))
	}
	return nil
}

// settleNew fills a file that was just made, and gives it its name; else it is gone.
func settleNew(partial, file string, fill func(partial string) error) error {
	err, moved := fill(partial), false
	if err == nil {
		err = syncFile(partial)
	}
	if err == nil {
		moved, err = take(partial, file, os.Link)
	}
	if !moved {
		err = errors.Join(err, os.Remove(partial))
	}
	if err == nil {
		err = syncFile(filepath.Dir(file))
	}
	return err
}

// untaken says that nothing has a name.
func untaken(file string) error {
	_, err := os.Lstat(file)
	switch {
	case err == nil:
		return taken(file)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("look at the backup's place: %w", err)
	}
	return nil
}

func taken(file string) error {
	return fmt.Errorf("%s is there already; a backup is not written over", file)
}

// take gives a file a name that nothing has. moved says that it has lost its old one. link is os.Link.
func take(partial, file string, link func(from, to string) error) (moved bool, err error) {
	err = link(partial, file)
	switch {
	case errors.Is(err, fs.ErrExist):
		return false, taken(file)
	case !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.ENOSYS):
		return false, err
	}
	// Some file systems know no second names: then an empty file of ours takes the name first.
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return false, taken(file)
	}
	if err != nil {
		return false, err
	}
	if err = errors.Join(f.Close(), os.Rename(partial, file)); err != nil {
		return false, errors.Join(err, os.Remove(file))
	}
	return true, nil
}
