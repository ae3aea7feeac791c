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
		rev, stream, ok := linkTo(string(own.Data))
		if !ok { // a link that is none is an event as any other
			return &api.ReadResp{Content: &api.ReadResp_Event{Event: e}}, nil
		}
		e.Link = own
		if e.Event, err = r.target(rev, stream); err != nil {
			return nil, err
		}
	}
	return &api.ReadResp{Content: &api.ReadResp_Event{Event: e}}, nil
}

// linkTo takes apart the text of a link, "revision@stream".
func linkTo(text string) (rev int64, stream string, ok bool) {
	number, stream, ok := strings.Cut(text, "@")
	rev, err := strconv.ParseInt(number, 10, 64)
	return rev, stream, ok && err == nil
}

// target finds the event that a link points to; there is none where it is gone.
func (r *reading) target(rev int64, name string) (*api.ReadResp_ReadEvent_RecordedEvent, error) {
	s, err := r.book.state(r.ctx, name)
	if err != nil || s.buried() || s.deleted() || rev < s.low() || rev > s.last {
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
