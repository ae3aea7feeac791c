package esnode

import (
	"math"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
)

// readStream gives events of one stream, within its limits.
func (r *reading) readStream(
	name string, o *api.ReadReq_Options_StreamOptions, count uint64,
) error {
	s, err := r.book.state(r.ctx, name)
	switch {
	case err != nil:
		return err
	case s.dead:
		return &deleted{name}
	case s.last < 0 || s.deleted():
		return r.out.Send(&api.ReadResp{Content: &api.ReadResp_StreamNotFound_{
			StreamNotFound: &api.ReadResp_StreamNotFound{
				StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte(name)},
			},
		}})
	}
	low, high := s.low(), s.last
	from, err := revision(o, 0)
	if err != nil {
		return err
	}
	g := &gap{from: from, low: low, end: s.last + 1, page: int64(min(count, firstPage))}
	if r.back {
		high, g = min(high, from), nil
	} else {
		low = max(low, from)
	}
	if err := r.sendStream(&s, low, high, count, g); err != nil || !r.tell {
		return err
	}
	if err := r.passed(g, s.last+1); err != nil {
		return err
	}
	return r.out.Send(&api.ReadResp{
		Content: &api.ReadResp_LastStreamPosition{LastStreamPosition: uint64(s.last)},
	})
}

// sendStream gives events of a range of revisions.
func (r *reading) sendStream(s *state, low, high int64, count uint64, g *gap) error {
	for count > 0 && low <= high {
		p, err := r.book.stream(r.ctx, s.id, low, high, r.back, limit(count))
		if err != nil {
			return err
		}
		for i := range p.records {
			rec := &p.records[i]
			if r.back {
				high = rec.rev - 1
			} else {
				low = rec.rev + 1
			}
			old, err := s.expired(rec, time.Now())
			if err != nil {
				return err
			}
			if old {
				continue
			}
			if err := r.passed(g, rec.rev); err != nil {
				return err
			}
			if err := r.send(rec); err != nil {
				return err
			}
			count--
		}
		if p.end {
			return nil
		}
		if err := r.stopped(); err != nil {
			return err
		}
	}
	return nil
}

// expired says whether a record is older than its stream's limit.
func (s *state) expired(r *record, now time.Time) (bool, error) {
	if s.meta.maxAge == 0 {
		return false, nil
	}
	f, err := decode(r.frame)
	return f.created < now.Add(-s.meta.maxAge).UnixNano()/100, err
}

// revision gives the revision that a request names; the end is beyond all.
func revision(o *api.ReadReq_Options_StreamOptions, start int64) (int64, error) {
	switch from := o.GetRevisionOption().(type) {
	case *api.ReadReq_Options_StreamOptions_Start:
		return start, nil
	case *api.ReadReq_Options_StreamOptions_End:
		return math.MaxInt64, nil
	case *api.ReadReq_Options_StreamOptions_Revision:
		return int64(min(from.Revision, math.MaxInt64-1)), nil
	}
	return 0, &invalid{text: "a revision is required"}
}

// firstPage is how many events the store that we speak for reads at once. Clients see it only here.
const firstPage = 32

// gap is what a forward read passes over before its first event. Where its first page has none,
// clients that understand it are told where the stream goes on.
type gap struct {
	from int64 // the revision that was asked for
	low  int64 // the first that the stream's limits leave
	end  int64 // the one after the last
	page int64 // how many revisions the first page has; 0 once it is known what it has
}

// passed tells, before the event at rev or at the end of the stream, whether the first page had it.
func (r *reading) passed(g *gap, rev int64) error {
	if g == nil || !r.tell || g.page == 0 {
		return nil
	}
	last := g.from + min(g.page, math.MaxInt64-g.from) - 1
	g.page = 0
	if rev <= last && rev < g.end {
		return nil
	}
	if last < g.low {
		rev = g.low
	}
	if rev == g.from {
		return nil
	}
	return r.out.Send(&api.ReadResp{
		Content: &api.ReadResp_FirstStreamPosition{FirstStreamPosition: uint64(rev)},
	})
}
