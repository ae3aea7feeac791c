package esnode

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"prelude/internal/eventlog"
)

// Problem is something that is wrong with a log. Stream and Position are empty where the problem is
// not one of an event.
type Problem struct {
	Stream   string
	Position int64
	Text     string
}

func (p Problem) String() string {
	text := p.Text
	if p.Position > 0 {
		text += fmt.Sprintf(", at position %d", p.Position)
	}
	if p.Stream != "" {
		text += fmt.Sprintf(" of the stream %q", p.Stream)
	}
	return text
}

// Verify reads the whole log of a folder, also beside a node, and tells each problem that it finds:
// pages and records whose checksums are wrong, positions and revisions that do not follow each
// other, events that check refuses, and what SQLite finds wrong with its structure. Its error is
// one that keeps it from looking.
func Verify(
	ctx context.Context, dir string, check func(eventlog.Raw) error, progress Progress,
	tell func(Problem),
) (Counts, error) {
	l, err := look(dir)
	if errors.Is(err, errDamaged) {
		tell(Problem{Text: err.Error()})
		return Counts{}, nil
	}
	if err != nil {
		return Counts{}, err
	}
	c, err := verify(ctx, l.raw, check, progress, tell)
	return c, errors.Join(err, l.close())
}

// verifying is one reading of a log. It looks past the sums of the pages, which it has checked by
// then, so that a record in a damaged page is found by its own.
type verifying struct {
	*conn
	check    func(eventlog.Raw) error
	progress Progress
	tell     func(Problem)
	names    *cache[int64, string]
	last     int64
	next     int64
	count    Counts
}

func verify(
	ctx context.Context, file *os.File, check func(eventlog.Raw) error, progress Progress,
	tell func(Problem),
) (Counts, error) {
	if err := verifyPages(ctx, file, progress, tell); err != nil {
		return Counts{}, err
	}
	c, err := openConn(plainDSN(file.Name(), forReading))
	if err != nil {
		return Counts{}, err
	}
	v := &verifying{conn: c, check: check, progress: progress, tell: tell,
		names: newCache[int64, string](cachedStates), next: 1}
	err = v.run(ctx)
	if errors.Is(err, errDamaged) {
		tell(Problem{Text: err.Error()})
		err = nil
	}
	return v.count, errors.Join(err, c.close())
}

func (v *verifying) run(ctx context.Context) error {
	err := damageOf(v.prepare())
	if err == nil {
		err = v.conn.run("BEGIN")
	}
	if err == nil {
		v.last, err = v.number("SELECT coalesce(max(pos), 0) FROM events")
	}
	for _, step := range []func(context.Context) error{v.records, v.revisions, v.structure} {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = step(ctx)
		}
	}
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	return v.conn.run("ROLLBACK")
}

// records goes through all events in their order.
func (v *verifying) records(ctx context.Context) error {
	all, err := v.statement(columns + "ORDER BY pos")
	if err != nil {
		return err
	}
	err = all.each(func(row []driver.Value) (bool, error) {
		if v.count.Events%reportEvery == reportEvery-1 {
			v.progress.tell("records", v.next, v.last)
		}
		return true, errors.Join(ctx.Err(), v.record(row))
	})
	if err == nil {
		v.progress.tell("records", v.last, v.last)
	}
	return err
}

func (v *verifying) record(row []driver.Value) error {
	r, stored, err := recordOf(row)
	name, nameErr := v.name(r.stream)
	if nameErr != nil {
		return nameErr
	}
	v.count.Events++
	v.count.Bytes += int64(len(stored))
	if r.pos != v.next {
		high, err := v.gapEnd.number(v.next, v.next)
		if err != nil {
			return err
		}
		if high != r.pos {
			v.tell(Problem{name, r.pos, fmt.Sprintf("after position %d something is missing", v.next)})
		}
	}
	v.next = r.pos + int64(max(len(stored)-sumSize, 0))
	if err != nil {
		v.tell(Problem{name, r.pos, "the record's checksum is wrong"})
		return nil //nolint:nilerr // it has been told
	}
	return v.event(&r, name)
}

func (v *verifying) event(r *record, name string) error {
	f, err := decode(r.frame)
	switch {
	case err != nil:
		v.tell(Problem{name, r.pos, "the record cannot be read"})
	case string(f.stream) != name:
		v.tell(Problem{name, r.pos, fmt.Sprintf("the record is of the stream %q", f.stream)})
	case v.check != nil:
		raw := eventlog.Raw{
			ID: f.id, Stream: name, Revision: eventlog.Revision(r.rev),
			Position: eventlog.Position(r.pos), Type: string(f.kind), Data: f.data, Meta: f.meta,
			Created: time.Unix(0, f.created*100),
		}
		if err := v.check(raw); err != nil {
			v.tell(Problem{name, r.pos, err.Error()})
		}
	}
	return nil
}

func (v *verifying) name(id int64) (string, error) {
	if name, ok := v.names.get(id); ok {
		return name, nil
	}
	name := ""
	err := v.nameOf.each(func(row []driver.Value) (bool, error) {
		b, _ := row[0].([]byte)
		name = string(b)
		return false, nil
	}, id)
	v.names.put(id, name)
	return name, err
}

// revisions goes through all streams: their revisions follow each other, and their positions grow.
func (v *verifying) revisions(ctx context.Context) error {
	removed, err := v.number("SELECT count(*) FROM gaps")
	if err != nil {
		return err
	}
	all, err := v.statement(
		"SELECT stream, rev, pos FROM events INDEXED BY events_stream ORDER BY stream, rev")
	if err != nil {
		return err
	}
	var stream, rev, pos, seen int64
	return all.each(func(row []driver.Value) (bool, error) {
		if seen++; seen%reportEvery == 0 || seen == v.count.Events {
			v.progress.tell("revisions", seen, v.count.Events)
		}
		id, _ := row[0].(int64)
		r, _ := row[1].(int64)
		p, _ := row[2].(int64)
		fresh := id != stream
		if fresh {
			v.count.Streams++
			stream, rev, pos = id, r-1, 0
		}
		// The beginning of a stream may have been removed; a tombstone ends it wherever it is.
		begun := r == 0 || removed > 0 || r == deletedBefore
		if r != rev+1 && r != deletedBefore || p <= pos || fresh && !begun {
			name, err := v.name(id)
			if err != nil {
				return false, err
			}
			v.tell(Problem{name, p, fmt.Sprintf("revision %d does not follow the one before", r)})
		}
		rev, pos = r, p
		return true, ctx.Err()
	})
}

// structure has SQLite look at its tables and indexes, which says nothing of how far it is.
func (v *verifying) structure(context.Context) error {
	v.progress.tell("structure", 0, 0)
	all, err := v.statement("PRAGMA integrity_check(100)")
	if err != nil {
		return err
	}
	return all.each(func(row []driver.Value) (bool, error) {
		if text, _ := row[0].(string); text != "ok" {
			v.tell(Problem{Text: "SQLite: " + text})
		}
		return true, nil
	})
}

// lockPage is a page that SQLite never uses: locks stand there.
const lockPage = 1<<30/pageSize + 1

// verifyPages checks the sums of all pages. Where a node writes at the same time, a page may be
// read in the middle of a write; so one that is wrong is read again.
func verifyPages(ctx context.Context, f *os.File, progress Progress, tell func(Problem)) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("look at the log's file: %w", err)
	}
	page, pages := make([]byte, pageSize), info.Size()/pageSize
	for number := int64(1); err == nil; number++ {
		if number%reportEvery == 0 || number == pages {
			progress.tell("pages", number, pages)
		}
		right := number == lockPage
		for range 3 {
			if right {
				break
			}
			_, err = f.ReadAt(page, (number-1)*pageSize)
			right = err != nil || summedPage(page, number)
		}
		if !right {
			tell(Problem{Text: fmt.Sprintf("the checksum of page %d of the file is wrong", number)})
		}
		err = errors.Join(err, ctx.Err())
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return err
}
