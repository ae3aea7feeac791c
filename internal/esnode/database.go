package esnode

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
)

const tables = `
CREATE TABLE streams (id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE);
CREATE TABLE events (
	pos    INTEGER PRIMARY KEY,
	stream INTEGER NOT NULL REFERENCES streams (id),
	rev    INTEGER NOT NULL,
	rec    BLOB    NOT NULL
);
CREATE TABLE gaps (low INTEGER PRIMARY KEY, high INTEGER NOT NULL);
`

// index finds a stream's events. A file that is filled at once gets it last, which is faster.
const index = "CREATE UNIQUE INDEX events_stream ON events (stream, rev);"

const logFile = "log.db"

// dsn names the database. Both pragmas are in it so that no connection can be without them:
// synchronous=FULL is what makes an answered append durable.
func dsn(file string, more string) string {
	u := url.URL{Scheme: "file", Path: file}
	return u.String() + "?vfs=" + sumsVFS + "&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)" +
		"&_pragma=busy_timeout(10000)&_pragma=journal_size_limit(67108864)" + more
}

// What the connections differ in. A larger write-ahead log means fewer of the pauses in which it is
// copied back. A page is not written before its transaction is: what is written there twice has a
// wrong sum in between.
const (
	forWriting = "&_pragma=wal_autocheckpoint(4000)&_pragma=cache_size(-32000)&_pragma=cache_spill(0)"
	forReading = "&_pragma=query_only(1)&_pragma=cache_size(-4000)"
)

// openDatabase opens the writing connection and some reading ones, with the tables there.
func openDatabase(file string, readers int) (w *conn, r []*conn, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll(append(r, w)))
		}
	}()
	if w, err = openWriting(file); err != nil {
		return nil, nil, err
	}
	for range readers {
		c, err := openReading(file)
		if err != nil {
			return w, r, err
		}
		r = append(r, c)
	}
	return w, r, nil
}

// openWriting opens a connection that writes, and makes the tables where there are none. What a
// crash left in the write-ahead log is brought into the file, so that nothing of it can be taken
// for what is written next. It does not wait for those who read: with them there, it was no crash.
func openWriting(file string) (*conn, error) {
	c, err := openConn(dsn(file, forWriting))
	if err != nil {
		return nil, err
	}
	made, err := c.number("SELECT count(*) FROM sqlite_schema")
	if err == nil && made == 0 {
		err = c.run("BEGIN IMMEDIATE;" + tables + index + "COMMIT;")
	}
	if err == nil {
		err = c.run("PRAGMA busy_timeout=0; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA busy_timeout=10000")
	}
	if err == nil {
		err = c.prepare()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the log: %w", damageOf(err)), c.close())
	}
	return c, nil
}

func openReading(file string) (*conn, error) {
	c, err := openConn(dsn(file, forReading))
	if err != nil {
		return nil, err
	}
	if err := c.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the log: %w", damageOf(err)), c.close())
	}
	return c, nil
}

// logIn gives the path of a folder's log: made where there is none, brought to this program's
// format where it has an older one. The folder's lock must be held.
func logIn(dir string, progress Progress) (string, error) {
	file, err := filepath.Abs(filepath.Join(dir, logFile))
	if err != nil {
		return "", fmt.Errorf("find the log: %w", err)
	}
	if err := registerSums(); err != nil {
		return "", err
	}
	version, err := formatOf(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return file, create(file)
	case err != nil:
		return "", err
	case version < format:
		return file, upgrade(file, version, progress)
	}
	return file, checkTail(file)
}

// create makes a log without tables. It is there whole or not at all.
func create(file string) error {
	if err := orphaned(file); err != nil {
		return err
	}
	return replace(file, func(partial string) error {
		if err := writeEmpty(partial); err != nil {
			return err
		}
		return makeLive(partial)
	})
}

// replace makes a file under another name, syncs it and then gives it its own.
func replace(file string, fill func(partial string) error) error {
	partial := file + ".partial"
	if err := os.Remove(partial); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove what an earlier attempt left: %w", err)
	}
	err := fill(partial)
	if err == nil {
		err = syncFile(partial)
	}
	if err == nil {
		err = os.Rename(partial, file)
	}
	if err == nil {
		return syncFile(filepath.Dir(file))
	}
	if e := os.Remove(partial); e != nil && !errors.Is(e, fs.ErrNotExist) {
		err = errors.Join(err, e)
	}
	return fmt.Errorf("make %s: %w", filepath.Base(file), refused(filepath.Dir(file), err))
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func closeAll(conns []*conn) error {
	var errs []error
	for _, c := range conns {
		if c != nil {
			errs = append(errs, c.close())
		}
	}
	return errors.Join(errs...)
}
