package esnode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// format is the version of the file, its tables and the records in them. 1 had no sums in its pages
// and did not know of gaps.
const format = 2

// application tells the file of a log from other databases: "PrLg".
const application = 0x50724c67

// The head of a database, as SQLite documents it: where what is looked at here stands.
const (
	headSize          = 100
	headPageSize      = 16
	headWrite         = 18 // how it is written and read: 1 with a journal, 2 with a write-ahead log
	headRead          = 19
	headReserved      = 20
	headPages         = 28
	headVersion       = 60
	headApplication   = 68
	headSQLiteVersion = 96
)

var magic = []byte("SQLite format 3\x00")

// errForeign says that a file is not a log.
var errForeign = errors.New("is not an event log of Prelude; nothing was changed")

// formatOf reads a file's format from its head, before SQLite touches it. A file of no format of
// ours, or of a newer one, is refused.
func formatOf(file string) (int, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, fmt.Errorf("open the log: %w", err)
	}
	head := make([]byte, headSize)
	_, err = io.ReadFull(f, head)
	if err = errors.Join(err, f.Close()); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return 0, fmt.Errorf("%s %w", file, errForeign)
		}
		return 0, fmt.Errorf("read the log's head: %w", err)
	}
	version := int(binary.BigEndian.Uint32(head[headVersion:]))
	switch {
	case !bytes.HasPrefix(head, magic):
		return 0, fmt.Errorf("%s %w", file, errForeign)
	case binary.BigEndian.Uint32(head[headApplication:]) == 0:
		return oldFormat(file)
	case binary.BigEndian.Uint32(head[headApplication:]) != application:
		return 0, fmt.Errorf("%s %w", file, errForeign)
	case version > format:
		return 0, fmt.Errorf("the log %s has format %d, this program knows up to %d: use a newer one; "+
			"nothing was changed", file, version, format)
	}
	return version, nil
}

// oldFormat recognises a log of format 1, whose head said nothing of it.
func oldFormat(file string) (int, error) {
	// It may be anybody's: it is not written to, not even by a checkpoint.
	c, err := openConn(plainDSN(file, "&mode=ro&_pragma=query_only(1)"))
	if err != nil {
		return 0, err
	}
	version, err := c.number("PRAGMA user_version")
	found := int64(0)
	if err == nil {
		found, err = c.number("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND " +
			"name IN ('streams', 'events')")
	}
	if err = errors.Join(err, c.close()); err != nil {
		return 0, fmt.Errorf("look at the log %s: %w", file, err)
	}
	if version != 1 || found != 2 {
		return 0, fmt.Errorf("%s %w", file, errForeign)
	}
	return 1, nil
}

// makeLive turns a file that is whole into one with a write-ahead log, as SQLite would; but SQLite
// would need a journal for it, and a crash in the middle would leave one.
func makeLive(file string) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open the new log: %w", err)
	}
	page := make([]byte, pageSize)
	if _, err = f.ReadAt(page, 0); err == nil {
		page[headWrite], page[headRead] = 2, 2
		sumPage(page, 1)
		_, err = f.WriteAt(page, 0)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write the new log's head: %w", err)
	}
	return nil
}

// writeEmpty writes a database of one page, which has room for sums, and of our format.
func writeEmpty(file string) error {
	page := make([]byte, pageSize)
	copy(page, magic)
	binary.BigEndian.PutUint16(page[headPageSize:], pageSize)
	page[headWrite], page[headRead], page[headReserved] = 1, 1, pageReserved
	page[21], page[22], page[23] = 64, 32, 32       // fractions, which are fixed
	binary.BigEndian.PutUint32(page[24:], 1)        // how often it was changed
	binary.BigEndian.PutUint32(page[headPages:], 1) // its pages
	binary.BigEndian.PutUint32(page[44:], 4)        // the schema's format
	binary.BigEndian.PutUint32(page[56:], 1)        // texts are UTF-8
	binary.BigEndian.PutUint32(page[headVersion:], format)
	binary.BigEndian.PutUint32(page[headApplication:], application)
	binary.BigEndian.PutUint32(page[92:], 1) // the pages were right at that change
	binary.BigEndian.PutUint32(page[headSQLiteVersion:], 3_045_000)
	page[headSize] = 13 // an empty leaf of the schema's table
	binary.BigEndian.PutUint16(page[headSize+5:], pageContent)
	sumPage(page, 1)
	if err := os.WriteFile(file, page, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(file), err)
	}
	return nil
}
