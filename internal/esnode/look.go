package esnode

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"prelude/internal/filelock"
)

// looking is a log that is open beside the node that may have it: SQLite lets other processes read,
// each what was committed when it began. The node must be another process's: a process that opens
// and closes a file loses the locks that SQLite has on it.
type looking struct {
	file string
	lock *filelock.Lock // nil: a node has the folder
	raw  *os.File       // the file as it is; closed after conn, for a close ends the locks that conn has
	conn *conn          // that checks the pages
}

// look opens the log of a folder to read it. Where no node has the folder, none gets it meanwhile.
func look(dir string) (*looking, error) {
	file, err := present(dir)
	if err != nil {
		return nil, err
	}
	l := &looking{file: file}
	l.lock, err = lockDir(dir)
	if errors.Is(err, ErrLocked) {
		err = registerSums()
	} else if err == nil {
		err = settled(file)
	}
	if err == nil {
		l.raw, err = os.Open(file)
	}
	if err == nil {
		l.conn, err = openReading(file)
	}
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *looking) close() error {
	var errs []error
	if l.conn != nil {
		errs = append(errs, l.conn.close())
	}
	if l.raw != nil {
		errs = append(errs, l.raw.Close())
	}
	if l.lock != nil {
		errs = append(errs, l.lock.Close())
	}
	return errors.Join(errs...)
}

// settled brings what a crash left beside the file into it, as the next start would.
func settled(file string) error {
	if err := current(file); err != nil {
		return err
	}
	c, err := openWriting(file)
	if err != nil {
		return err
	}
	return c.close()
}

// present gives the path of a folder's log, which must be there.
func present(dir string) (string, error) {
	file, err := filepath.Abs(filepath.Join(dir, logFile))
	if err != nil {
		return "", fmt.Errorf("find the log: %w", err)
	}
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("there is no log in %s", dir)
	} else if err != nil {
		return "", fmt.Errorf("look at the log: %w", err)
	}
	return file, nil
}

// current refuses what only the node brings to this program's format.
func current(file string) error {
	if err := registerSums(); err != nil {
		return err
	}
	version, err := formatOf(file)
	if err == nil && version < format {
		err = fmt.Errorf("the log has format %d: start the server once, which brings it to %d",
			version, format)
	}
	if err == nil {
		err = checkTail(file)
	}
	return err
}
