package esnode

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
)

// format is the version of the tables and of the records in them.
const format = 1

const schema = `
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

// dsn names the database. Both pragmas are in it so that no connection can be without them:
// synchronous=FULL is what makes an answered append durable.
func dsn(file string, more string) string {
	u := url.URL{Scheme: "file", Path: file}
	return u.String() + "?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)" +
		"&_pragma=busy_timeout(10000)&_pragma=journal_size_limit(67108864)" + more
}

// openDatabase opens the writing connection and some reading ones, with the tables there.
func openDatabase(dir string, readers int) (w *conn, r []*conn, err error) {
	file, err := filepath.Abs(filepath.Join(dir, "log.db"))
	if err != nil {
		return nil, nil, fmt.Errorf("find the log: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll(append(r, w)))
		}
	}()
	// A larger write-ahead log means fewer of the pauses in which it is copied back.
	w, err = openConn(dsn(file, "&_pragma=wal_autocheckpoint(4000)&_pragma=cache_size(-32000)"))
	if err != nil {
		return nil, nil, err
	}
	if err := migrate(w); err != nil {
		return w, nil, err
	}
	for range readers {
		c, err := openConn(dsn(file, "&_pragma=query_only(1)&_pragma=cache_size(-4000)"))
		if err != nil {
			return w, r, err
		}
		r = append(r, c)
	}
	for _, c := range append(r, w) {
		if err := c.prepare(); err != nil {
			return w, r, err
		}
	}
	return w, r, nil
}

func migrate(c *conn) error {
	version, err := c.number("PRAGMA user_version")
	switch {
	case err != nil:
		return fmt.Errorf("read the log's format: %w", err)
	case version > format:
		return fmt.Errorf("the log has format %d, this program knows up to %d: use a newer one",
			version, format)
	case version == format:
		return nil
	}
	if err := c.run("BEGIN IMMEDIATE;" + schema + "COMMIT;"); err != nil {
		return fmt.Errorf("create the log's tables: %w", err)
	}
	return nil
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
