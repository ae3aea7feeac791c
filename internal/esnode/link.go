package esnode

import (
	"math"
	"strconv"
	"strings"
	"time"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
)

// resolve gives an event as a message; one that points to another brings that along, unless it is
// gone.
func (r *reading) resolve(rec *record) (*api.ReadResp, error) {
	own, err := recorded(rec.frame, r.stringIDs)
	if err != nil {
		return nil, err
	}
	e := &api.ReadResp_ReadEvent{
		Event:    own,
		Position: &api.ReadResp_ReadEvent_CommitPosition{CommitPosition: uint64(rec.pos)},
	}
	if r.links && own.Metadata["type"] == linkType {
		e.Link = own
		if e.Event, err = r.target(string(own.Data)); err != nil {
			return nil, err
		}
	}
	return &api.ReadResp{Content: &api.ReadResp_Event{Event: e}}, nil
}

// target finds the event that a link, "revision@stream", points to.
func (r *reading) target(link string) (*api.ReadResp_ReadEvent_RecordedEvent, error) {
	number, name, ok := strings.Cut(link, "@")
	rev, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil {
		return nil, nil //nolint:nilerr // what names no event points to none, as in the store that it speaks for
	}
	s, err := r.book.state(r.ctx, name)
	if err != nil || s.dead || s.deleted() || rev < s.low() || rev > s.last {
		return nil, err
	}
	p, err := r.book.stream(r.ctx, s.id, rev, min(rev, math.MaxInt64-1), false, 1)
	if err != nil || len(p.records) == 0 {
		return nil, err
	}
	old, err := s.expired(&p.records[0], time.Now())
	if err != nil || old {
		return nil, err
	}
	return recorded(p.records[0].frame, r.stringIDs)
}
