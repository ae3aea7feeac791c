package esnode

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
)

// plainDSN names a database without sums: one of format 1, or one whose damage is looked at.
func plainDSN(file, more string) string {
	u := url.URL{Scheme: "file", Path: file}
	return u.String() + "?_pragma=busy_timeout(10000)" + more
}

// Progress is told now and then how far a pass over a log has come; total may grow meanwhile. One that
// cannot say how far it is tells 0 of 0 when it begins. nil is told nothing.
type Progress func(pass string, done, total int64)

func (p Progress) tell(pass string, done, total int64) {
	if p != nil {
		p(pass, done, total)
	}
}

// of names passes that are over a part of what is done.
func (p Progress) of(part string) Progress {
	return func(pass string, done, total int64) { p.tell(part+pass, done, total) }
}

// Counts say what was gone through.
type Counts struct{ Events, Streams, Bytes int64 }

// upgrade brings a log to this program's format. It is copied into a new file in one transaction,
// each record checked, and the new file takes the old one's place at the end.
func upgrade(file string, version int, progress Progress) error {
	from, err := openConn(plainDSN(file, ""))
	if err != nil {
		return err
	}
	err = replace(file, func(partial string) error {
		_, err := (&rewriting{from: from, file: partial, old: version, progress: progress}).run(context.Background())
		if err = errors.Join(err, from.close()); err == nil {
			// What lies beside the old file would be taken for the new one's.
			err = alone(file)
		}
		if err == nil {
			err = makeLive(partial)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("bring the log from format %d to %d: %w", version, format, err)
	}
	return nil
}

// copyingPass is the pass that takes longest.
const copyingPass = "records"

// upgrading logs each tenth of the way of a log to this format.
func upgrading(logger *slog.Logger) Progress {
	tenths := int64(0)
	return func(pass string, done, total int64) {
		if pass == copyingPass && total > 0 && 10*done/total > tenths {
			tenths = 10 * done / total
			logger.Info("event log is brought to this program's format", "percent", 10*tenths)
		}
	}
}

// rewriting copies a log into a new file: all of it, or what keeps lets through. What is left out
// is noted as gaps, so that the places where it was are still places of this log.
type rewriting struct {
	from     *conn
	file     string
	old      int // the format of from, where it is an older one
	keeps    func(*record) (bool, error)
	progress Progress

	to     *conn
	insert *stmt
	addGap *stmt
	count  Counts
	next   int64 // the place after the last record passed
	last   int64
	low    int64 // the gap under way is from here to high
	high   int64
}

const (
	reportEvery = 4096 // records or pages
	buildDSN    = "&vfs=" + sumsVFS + "&_pragma=journal_mode(OFF)&_pragma=synchronous(OFF)" +
		"&_pragma=locking_mode(EXCLUSIVE)&_pragma=cache_size(-64000)"
)

func (r *rewriting) run(ctx context.Context) (Counts, error) {
	if err := writeEmpty(r.file); err != nil {
		return Counts{}, err
	}
	var err error
	if r.to, err = openConn(plainDSN(r.file, buildDSN)); err != nil {
		return Counts{}, err
	}
	err = r.to.run("BEGIN;" + tables)
	if err == nil {
		err = r.fill(ctx)
	}
	if err == nil {
		r.progress.tell("the index", 0, 0)
		err = r.to.run(index + "COMMIT;")
	}
	return r.count, errors.Join(damageOf(err), r.to.close())
}

func (r *rewriting) fill(ctx context.Context) error {
	// One transaction, so that what is written meanwhile is not seen in part.
	if err := r.from.run("BEGIN"); err != nil {
		return err
	}
	err := r.streams(ctx)
	if err == nil {
		r.last, err = r.from.number("SELECT coalesce(max(pos), 0) FROM events")
	}
	if err == nil {
		err = r.events(ctx)
	}
	if err == nil {
		r.progress.tell(copyingPass, r.last, r.last)
	}
	return errors.Join(err, r.from.run("ROLLBACK"))
}

func (r *rewriting) streams(ctx context.Context) error {
	total, err := r.from.number("SELECT count(*) FROM streams")
	if err != nil {
		return err
	}
	from, err := r.from.statement("SELECT id, name FROM streams ORDER BY id")
	if err != nil {
		return err
	}
	to, err := r.to.statement("INSERT INTO streams (id, name) VALUES (?, ?)")
	if err != nil {
		return err
	}
	return from.each(func(row []driver.Value) (bool, error) {
		if r.count.Streams++; r.count.Streams%reportEvery == 0 || r.count.Streams == total {
			r.progress.tell("streams", r.count.Streams, total)
		}
		if err := ctx.Err(); err != nil {
			return false, err
		}
		return true, to.do(row[0], row[1])
	})
}

func (r *rewriting) events(ctx context.Context) error {
	from, err := r.from.statement(columns + "ORDER BY pos")
	if err != nil {
		return err
	}
	r.insert, err = r.to.statement("INSERT INTO events (pos, stream, rev, rec) VALUES (?, ?, ?, ?)")
	if err == nil {
		r.addGap, err = r.to.statement("INSERT INTO gaps (low, high) VALUES (?, ?)")
	}
	if err != nil {
		return err
	}
	r.next = 1
	seen := 0
	err = from.each(func(row []driver.Value) (bool, error) {
		if seen++; seen%reportEvery == 0 {
			if err := ctx.Err(); err != nil {
				return false, err
			}
			r.progress.tell(copyingPass, r.next, r.last)
		}
		return true, r.pass(row)
	})
	if err == nil {
		err = r.endGap()
	}
	return err
}

// pass copies one record, or notes that it is left out.
func (r *rewriting) pass(row []driver.Value) error {
	rec, stored, err := recordOf(row)
	if err != nil {
		return r.from.named(err)
	}
	if rec.pos != r.next {
		if err := r.oldGap(rec.pos); err != nil {
			return err
		}
	}
	r.next = rec.end()
	if r.keeps != nil && rec.pos != r.last {
		keep, err := r.keeps(&rec)
		if err != nil {
			return err
		}
		if !keep {
			return r.leaveOut(rec.pos, rec.end())
		}
	}
	r.count.Events++
	r.count.Bytes += int64(len(stored))
	return r.insert.do(rec.pos, rec.stream, rec.rev, stored)
}

// oldGap takes over what an earlier copy left out before a place. Anything else that is missing is
// damage.
func (r *rewriting) oldGap(pos int64) error {
	high := int64(0)
	if r.old != 1 {
		var err error
		if high, err = r.from.gapEnd.number(r.next, r.next); err != nil {
			return err
		}
	}
	if high != pos {
		return fmt.Errorf("%w: nothing is at position %d", errDamaged, r.next)
	}
	return r.leaveOut(r.next, high)
}

func (r *rewriting) leaveOut(low, high int64) error {
	if low == r.high {
		r.high = high
		return nil
	}
	err := r.endGap()
	r.low, r.high = low, high
	return err
}

func (r *rewriting) endGap() error {
	if r.high == 0 {
		return nil
	}
	return r.addGap.do(r.low, r.high)
}
