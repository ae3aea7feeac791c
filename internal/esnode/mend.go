package esnode

import (
	"errors"
	"fmt"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// fault is what is wrong with the disk, and when to look again.
type fault struct {
	err   error
	worse bool // it is the log that is wrong: only an operator can mend it
	until time.Time
	pause time.Duration
}

// How long the writer waits before it opens the log again after a fault of the disk.
const (
	firstMend   = 50 * time.Millisecond
	longestMend = 5 * time.Second
)

var errShorter = errors.New("the log is shorter than what was acknowledged: " +
	"put it back from a backup")

// suspect closes the connection after a fault of the disk: what the file holds is known only when
// it is opened again. A full disk needs no such thing; there is nothing in doubt about it.
func (w *writer) suspect(err error) {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		w.fault.worse = true
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY:
	default:
		return
	}
	w.fault.err = err
	w.shut()
	w.later()
}

func (w *writer) shut() {
	if err := w.conn.close(); err != nil {
		w.logger.Error("event store's connection did not close", "error", err)
	}
	w.conn = nil
}

func (w *writer) later() {
	w.fault.pause = min(max(2*w.fault.pause, firstMend), longestMend)
	w.fault.until = time.Now().Add(w.fault.pause)
}

// mend opens the log again after a fault, once the pause is over, and finds where it stands.
func (w *writer) mend() error {
	if w.conn != nil {
		return nil
	}
	if w.fault.worse || time.Now().Before(w.fault.until) {
		return w.fault.err
	}
	if err := w.reopen(); err != nil {
		w.logger.Error("event store cannot write yet", "error", err)
		w.fault.err = err
		w.later()
		return err
	}
	w.logger.Info("event store writes again", "position", w.at.last)
	w.fault = fault{}
	return nil
}

// reopen may find more than was acknowledged: a commit that failed at the very end may be there
// after all.
func (w *writer) reopen() error {
	c, err := openWriting(w.file)
	if err != nil {
		return err
	}
	w.conn = c
	if w.publisher != nil {
		w.publisher.settle()
	}
	if err = w.resume(); err != nil {
		w.fault.worse = errors.Is(err, errShorter)
		w.shut()
		return fmt.Errorf("read the log's end: %w", err)
	}
	return nil
}

var errFull = errors.New("the event store's disk is full; nothing was stored")

// isFull says that there was no room.
func isFull(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_FULL
}
