package esnode

import (
	"fmt"
	"math"
	"strings"

	"github.com/google/uuid"
)

// What an operation may expect of a stream instead of an exact revision.
const (
	noStream     = -1
	anyRevision  = -2
	streamExists = -4
)

// appending adds events to a stream, all or none.
type appending struct {
	stream   string
	expected int64
	events   []event
	bytes    int
	limit    int // of bytes
}

func (a *appending) size() int { return a.bytes }

// apply decides by what is expected and what there is, and writes.
func (a *appending) apply(w *writer) (result, error) {
	s, err := w.state(a.stream)
	if err != nil {
		return result{}, err
	}
	if s.dead {
		return result{}, &deleted{a.stream}
	}
	old, write, err := a.decide(w, s)
	if err != nil || !write {
		return old, err
	}
	return a.write(w, s)
}

// decide says whether to write; if not, what the first append of the same events had answered.
func (a *appending) decide(w *writer, s *state) (old result, write bool, err error) {
	switch {
	case a.expected == streamExists && s.deleted():
		return result{}, false, &deleted{a.stream}
	case a.expected == streamExists && s.last < 0 && !s.hasMeta:
		return result{}, false, a.refuse(s)
	case a.expected == streamExists || a.expected == anyRevision:
		return a.repeatedLately(w, s)
	case a.expected == s.last:
		return result{}, true, nil
	case a.expected > s.last, len(a.events) == 0: // nothing repeats nothing
		return result{}, false, a.refuse(s)
	}
	equal, old, err := a.repeated(w, s)
	switch {
	case err != nil:
		return result{}, false, err
	case equal == len(a.events):
		return old, false, nil
	case equal == 0 && a.expected == noStream && s.deleted():
		return result{}, true, nil
	}
	return result{}, false, a.refuse(s)
}

func (a *appending) refuse(s *state) error {
	return &wrongVersion{stream: a.stream, expected: a.expected, current: s.last}
}

// repeated compares the events with those after the expected revision, one by one. This is exact,
// for as long as the log is kept.
func (a *appending) repeated(w *writer, s *state) (equal int, last result, err error) {
	last.rev = a.expected
	err = eachRecord(w.conn.forwards, func(r record) (bool, error) {
		if equal == len(a.events) {
			return false, nil
		}
		f, err := decode(r.frame)
		if err != nil || f.id != a.events[equal].id {
			return false, err
		}
		equal++
		last = w.repeat(s, place{s.id, r.rev, r.pos, f.created})
		return true, nil
	}, s.id, a.expected+1, s.last, int64(math.MaxInt64), int64(len(a.events)+1))
	return equal, last, err
}

// repeatedLately looks the events up among the newest ids, which is all that can be done for a
// caller who expects no exact revision.
func (a *appending) repeatedLately(w *writer, s *state) (old result, write bool, err error) {
	if w.recent == nil {
		if w.recent, err = loadRecent(w.conn, w.begun); err != nil {
			w.recent = nil
			return result{}, false, fmt.Errorf("read the newest ids: %w", err)
		}
	}
	if len(a.events) == 0 {
		return result{}, true, nil
	}
	for i := range a.events {
		p, ok := w.recent.places[a.events[i].id]
		if !ok || p.stream != s.id {
			if i == 0 {
				return result{}, true, nil
			}
			return result{}, false, a.refuse(s)
		}
		old = w.repeat(s, p)
	}
	return old, false, nil
}

// repeat is the answer to the repeat of an append that ended with the event at p. A real store
// looks the event up for its position, so there is none where the stream does not show it.
func (w *writer) repeat(s *state, p place) result {
	again := result{rev: p.rev, pos: p.pos, inFlight: p.pos > w.book.durable.Load()}
	if s.deleted() || p.rev < s.low() || s.tooOld(p.created, w.now()) {
		again.pos = 0
	}
	return again
}

func (a *appending) write(w *writer, s *state) (result, error) {
	left := result{rev: s.last, pos: w.at.last} // of nothing: the log's end
	if len(a.events) == 0 {
		return left, nil
	}
	wasDeleted, before := s.deleted(), s.last+1
	other, err := a.other(w, wasDeleted)
	if err != nil {
		return result{}, err
	}
	for i := range a.events {
		pos, err := w.write(a.stream, s, s.last+1, &a.events[i])
		if err != nil {
			return result{}, err
		}
		left = result{rev: s.last, pos: pos}
	}
	if isMeta(a.stream) {
		return left, a.metaWritten(w, other)
	}
	if wasDeleted {
		return left, w.setMeta(a.stream, s, undeleted(s.rawMeta, before))
	}
	return left, nil
}

// other gives the state of the other stream that an append touches, nil where there is none: a
// metastream's stream, or the metastream of one that comes back. It is looked up before the first write:
// until then damage in it is this append's matter alone, and what is written changes what is found.
func (a *appending) other(w *writer, wasDeleted bool) (*state, error) {
	switch {
	case isMeta(a.stream):
		return w.state(strings.TrimPrefix(a.stream, metaPrefix))
	case wasDeleted:
		return w.state(metaPrefix + a.stream)
	}
	return nil, nil
}

// metaWritten brings the limits of a metastream's stream up to date. Metadata for a stream that was
// deleted softly bring it back, without the events it had; so do those that say that it is deleted.
func (a *appending) metaWritten(w *writer, s *state) error {
	base := strings.TrimPrefix(a.stream, metaPrefix)
	wasDeleted := s.deleted()
	data := a.events[len(a.events)-1].data
	s.hasMeta, s.rawMeta, s.meta = true, data, parseMetadata(data)
	if isMeta(base) {
		s.meta = metaOfMeta
		return nil
	}
	if wasDeleted && !s.dead {
		return w.setMeta(base, s, undeleted(data, s.last+1))
	}
	return nil
}

// setMeta writes a stream's metadata.
func (w *writer) setMeta(stream string, s *state, data []byte) error {
	_, err := w.addMeta(stream, s, data)
	return err
}

func (w *writer) addMeta(stream string, s *state, data []byte) (int64, error) {
	name := metaPrefix + stream
	m, err := w.state(name)
	if err != nil {
		return 0, err
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return 0, fmt.Errorf("make an id: %w", err)
	}
	ev := event{id: id, kind: metadataType, json: true, data: data}
	pos, err := w.write(name, m, m.last+1, &ev)
	s.hasMeta, s.rawMeta, s.meta = true, data, parseMetadata(data)
	return pos, err
}
