package esnode

import (
	"database/sql/driver"
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// wrongVersion refuses an operation whose expected revision does not hold.
type wrongVersion struct {
	stream            string
	expected, current int64
	removal           bool // a delete or a tombstone was refused, not an append
}

func (e *wrongVersion) Error() string {
	operation := "Append"
	if e.removal {
		operation = "Delete"
	}
	return fmt.Sprintf("%s failed due to WrongExpectedVersion. Stream: %s, "+
		"Expected version: %d, Actual version: %d", operation, e.stream, e.expected, e.current)
}

// deleted refuses an operation on a stream that is deleted for good.
type deleted struct{ stream string }

func (e *deleted) Error() string {
	return fmt.Sprintf("Event stream '%s' is deleted.", e.stream)
}

// tooLarge refuses an append whose events are larger than a limit in bytes.
type tooLarge struct{ limit int }

func (e *tooLarge) Error() string {
	return fmt.Sprintf("Maximum Append Size of %d Exceeded.", e.limit)
}

// timedOut says that the node gave an operation up; it may have happened, or may still happen.
type timedOut struct{ reason string }

func (e *timedOut) Error() string { return "Operation timed out: " + e.reason }

// unavailable says that an operation failed for the node's own reasons.
type unavailable struct{ cause error }

func (e *unavailable) Error() string { return "the event store cannot write: " + e.cause.Error() }
func (e *unavailable) Unwrap() error { return e.cause }

// isRefusal tells the caller's mistakes from the node's failures.
func isRefusal(err error) bool {
	var wrong *wrongVersion
	var gone *deleted
	return errors.As(err, &wrong) || errors.As(err, &gone)
}

// damage says where the log is damaged. It is an errDamaged.
type damage struct {
	pos    int64
	id     int64  // of the stream
	stream string // its name, "" where it could not be found
}

func (e *damage) Error() string {
	text := fmt.Sprintf("a record of the log is damaged: position %d", e.pos)
	if e.stream != "" {
		text += fmt.Sprintf(" of the stream %q", e.stream)
	}
	return text
}

// Is says that it is an errDamaged.
func (e *damage) Is(target error) bool { return target == errDamaged }

// named adds the stream's name to a damage.
func (c *conn) named(err error) error {
	var d *damage
	if !errors.As(err, &d) || d.stream != "" {
		return err
	}
	found := *d
	// Where the name cannot be found either, the position must do.
	if c.nameOf != nil {
		_ = c.nameOf.each(func(row []driver.Value) (bool, error) {
			name, _ := row[0].([]byte)
			found.stream = string(name)
			return false, nil
		}, d.id)
	}
	return &found
}

// damageOf makes an errDamaged of what SQLite says of damaged pages.
func damageOf(err error) error {
	var e *sqlite.Error
	if err == nil || errors.Is(err, errDamaged) || !errors.As(err, &e) {
		return err
	}
	switch {
	case e.Code() == sqlite3.SQLITE_IOERR_DATA:
		if n := lastDamaged.Load(); n < 0 {
			return fmt.Errorf("%w: page %d in the write-ahead log", errDamaged, -n)
		}
		return fmt.Errorf("%w: page %d of the file", errDamaged, lastDamaged.Load())
	case e.Code()&0xff == sqlite3.SQLITE_CORRUPT, e.Code()&0xff == sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	return err
}
