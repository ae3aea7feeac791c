package esnode

import (
	"fmt"

	"github.com/google/uuid"
)

// removing deletes a stream: softly, by its metadata, or for good, by a tombstone.
type removing struct {
	stream   string
	expected int64
	forGood  bool
}

func (r *removing) size() int { return len(r.stream) }

func (r *removing) apply(w *writer) (result, error) {
	s, err := w.state(r.stream)
	if err != nil {
		return result{}, err
	}
	if s.dead || r.expected == streamExists && s.deleted() {
		return result{}, &deleted{r.stream}
	}
	if !r.allowed(s) {
		return result{}, &wrongVersion{
			stream: r.stream, expected: r.expected, current: s.last, removal: true,
		}
	}
	if r.forGood {
		return r.bury(w, s)
	}
	pos, err := w.addMeta(r.stream, s, fmt.Appendf(nil, `{"$tb":%d}`, int64(deletedBefore)))
	return result{rev: s.last, pos: pos}, err
}

func (r *removing) allowed(s *state) bool {
	existed := s.last >= 0 || s.hasMeta
	switch r.expected {
	case anyRevision:
		return existed || r.forGood
	case streamExists:
		return existed
	case noStream:
		return (s.last < 0 || s.deleted()) && (existed || r.forGood)
	}
	return r.expected == s.last
}

func (r *removing) bury(w *writer, s *state) (result, error) {
	// It is looked up before the first write: until then damage in it is this removal's matter alone.
	m, err := w.state(metaPrefix + r.stream)
	if err != nil {
		return result{}, err
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return result{}, fmt.Errorf("make an id: %w", err)
	}
	pos, err := w.write(r.stream, s, deletedBefore, &event{id: id, kind: tombstoneType})
	if err == nil {
		m.orphan = true
	}
	return result{rev: s.last, pos: pos}, err
}
