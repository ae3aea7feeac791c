package esnode

import (
	"database/sql/driver"

	"github.com/google/uuid"
)

// place is where an event is, and when it was made.
type place struct{ stream, rev, pos, created int64 }

const recentIDs = 100_000

// recent remembers the ids of the newest events since the node started, for appends that expect no
// exact revision. It is filled from the log when first asked, so it costs nothing to those who always
// expect one. Like a real store it forgets all ids when the node stops, and keeps an id's first place
// where several streams have it.
type recent struct {
	places map[uuid.UUID]place
	ring   []uuid.UUID
	next   int
}

func (r *recent) add(id uuid.UUID, p place) {
	if r == nil {
		return
	}
	if _, known := r.places[id]; known {
		return
	}
	if len(r.ring) < recentIDs {
		r.ring = append(r.ring, id)
	} else {
		delete(r.places, r.ring[r.next])
		r.ring[r.next] = id
		r.next = (r.next + 1) % recentIDs
	}
	r.places[id] = p
}

// loadRecent reads the ids of the log's newest events, of those after a position.
func loadRecent(c *conn, after int64) (*recent, error) {
	var from int64
	err := c.nthLast.each(func(row []driver.Value) (bool, error) {
		from, _ = row[0].(int64)
		return false, nil
	}, int64(recentIDs))
	if err != nil {
		return nil, err
	}
	r := &recent{places: map[uuid.UUID]place{}}
	err = eachRecord(c.allForwards, func(rec record) (bool, error) {
		f, err := decode(rec.frame)
		r.add(f.id, place{rec.stream, rec.rev, rec.pos, f.created})
		return true, err
	}, max(from, after+1), int64(deletedBefore), int64(recentIDs))
	return r, err
}
