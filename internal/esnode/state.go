package esnode

import (
	"database/sql/driver"
	"strings"
)

// state is what an append or a read must know of a stream.
type state struct {
	id      int64 // 0: the stream has never been written to
	last    int64 // the last revision, -1 without events; a tombstone is not counted
	lastPos int64
	dead    bool // it has a tombstone
	orphan  bool // it holds metadata of a stream that has a tombstone: it can be written, not read
	meta    limits
	rawMeta []byte // the last metadata event's data
	hasMeta bool
}

// buried says that nobody can read the stream any more.
func (s *state) buried() bool { return s.dead || s.orphan }

func (s *state) deleted() bool { return s.meta.before == deletedBefore }

// low is the first revision that the limits leave.
func (s *state) low() int64 {
	low := s.meta.before
	if s.meta.maxCount > 0 {
		low = max(low, s.last-s.meta.maxCount+1)
	}
	return low
}

// load reads a stream's state from the database, as it was at a position of the log.
func (c *conn) load(stream string, until int64) (s state, err error) {
	s.last = -1
	if s.id, err = c.streamID.number([]byte(stream)); err != nil {
		return s, err
	}
	if err := c.loadHead(&s, until); err != nil {
		return s, err
	}
	if isMeta(stream) {
		s.meta = metaOfMeta
		base := state{last: -1}
		base.id, err = c.streamID.number([]byte(strings.TrimPrefix(stream, metaPrefix)))
		if err == nil {
			err = c.loadHead(&base, until)
		}
		s.orphan = base.dead
		return s, err
	}
	return s, c.loadMeta(stream, &s, until)
}

func (c *conn) loadHead(s *state, until int64) error {
	if s.id == 0 {
		return nil
	}
	return c.head.each(func(row []driver.Value) (bool, error) {
		rev, _ := row[0].(int64)
		pos, _ := row[1].(int64)
		if rev == deletedBefore {
			s.dead = true
			return true, nil
		}
		s.last, s.lastPos = rev, pos
		return false, nil
	}, s.id, until)
}

func (c *conn) loadMeta(stream string, s *state, until int64) error {
	id, err := c.streamID.number([]byte(metaPrefix + stream))
	if err != nil || id == 0 {
		return err
	}
	return eachRecord(c.backwards, func(r record) (bool, error) {
		f, err := decode(r.frame)
		if err != nil {
			return false, err
		}
		s.hasMeta, s.rawMeta, s.meta = true, f.data, parseMetadata(f.data)
		return false, nil
	}, id, int64(0), int64(deletedBefore-1), until, int64(1))
}

// eachRecord runs a query for records and calls fn with each until it says to stop.
func eachRecord(s *stmt, fn func(record) (bool, error), args ...any) error {
	return s.each(func(row []driver.Value) (bool, error) {
		r, _, err := recordOf(row)
		if err != nil {
			return false, err
		}
		return fn(r)
	}, args...)
}
