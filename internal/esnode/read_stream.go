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
	from, err := revision(o, 0)
	if err == nil && from == math.MaxInt64 && !r.back {
		err = &invalid{text: "a stream is read forwards from a revision", unhandled: true}
	}
	if err != nil {
		return err
	}
	s, found, err := r.readable(name)
	if err != nil || !found {
		return err
	}
	w := &window{
		name: name, state: s, low: s.low(), high: s.last, count: count, look: r.moods.page(),
	}
	if r.back {
		w.high = min(w.high, from)
	} else {
		w.gap = &gap{from: from, low: w.low, end: s.last + 1, page: int64(min(count, firstPage))}
		w.low = max(w.low, from)
	}
	if found, err = r.sendStream(w); err != nil || !found || !r.tell {
		return err
	}
	if err := r.passed(w.gap, w.last+1); err != nil {
		return err
	}
	return r.out.Send(&api.ReadResp{
		Content: &api.ReadResp_LastStreamPosition{LastStreamPosition: uint64(w.last)},
	})
}

// readable looks a stream up; where it is not found, the caller has been told.
func (r *reading) readable(name string) (s state, found bool, err error) {
	s, err = r.book.state(r.ctx, name)
	switch {
	case err != nil:
		return s, false, err
	case s.buried():
		return s, false, &deleted{name}
	case s.last < 0 || s.deleted():
		return s, false, r.out.Send(&api.ReadResp{Content: &api.ReadResp_StreamNotFound_{
			StreamNotFound: &api.ReadResp_StreamNotFound{
				StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte(name)},
			},
		}})
	}
	return s, true, nil
}

// window is what a read of a stream has still to give.
type window struct {
	state
	name      string
	low, high int64 // revisions
	count     uint64
	look      int  // events until the stream is looked at anew; 0: it is not
	gap       *gap // nil: backwards
}

// sendStream gives the events of a window. It says false where the stream was deleted meanwhile, which
// only a read that looks anew for each page sees.
func (r *reading) sendStream(w *window) (found bool, err error) {
	for w.count > 0 && w.low <= w.high {
		p, err := r.book.stream(r.ctx, w.id, w.low, w.high, r.back, w.page())
		if err == nil {
			err = r.sendPage(w, &p)
		}
		if err == nil && !p.end {
			err = r.stopped()
		}
		if err != nil || p.end {
			return true, err
		}
		if found, err := r.renew(w, len(p.records)); err != nil || !found {
			return false, err
		}
	}
	return true, nil
}

// page is how many events to ask for at once.
func (w *window) page() int {
	if w.look > 0 {
		return min(w.look, limit(w.count))
	}
	return limit(w.count)
}

// renew looks at the stream anew when so many events more have been read that it is time.
func (r *reading) renew(w *window, read int) (found bool, err error) {
	if w.look -= read; w.look > 0 || r.moods.page() == 0 {
		return true, nil
	}
	w.look = r.moods.page()
	if w.state, found, err = r.readable(w.name); err != nil || !found {
		return false, err
	}
	w.low = max(w.low, w.state.low())
	if !r.back {
		w.high = w.last
	}
	return true, nil
}

func (r *reading) sendPage(w *window, p *page) error {
	for i := range p.records {
		rec := &p.records[i]
		if r.back {
			w.high = rec.rev - 1
		} else {
			w.low = rec.rev + 1
		}
		old, err := w.expired(rec, time.Now())
		if err != nil {
			return err
		}
		if old {
			continue
		}
		if err := r.passed(w.gap, rec.rev); err != nil {
			return err
		}
		if err := r.send(rec); err != nil {
			return err
		}
		w.count--
	}
	return nil
}

// expired says whether a record is older than its stream's limit.
func (s *state) expired(r *record, now time.Time) (bool, error) {
	if s.meta.maxAge == 0 {
		return false, nil
	}
	f, err := decode(r.frame)
	return s.tooOld(f.created, now), err
}

// tooOld is expired by when an event was created, in 100 ns ticks since 1970.
func (s *state) tooOld(created int64, now time.Time) bool {
	return s.meta.maxAge != 0 && created < now.Add(-s.meta.maxAge).UnixNano()/100
}

// revision gives the revision that a request names; the end is beyond all.
func revision(o *api.ReadReq_Options_StreamOptions, start int64) (int64, error) {
	switch from := o.GetRevisionOption().(type) {
	case *api.ReadReq_Options_StreamOptions_Start:
		return start, nil
	case *api.ReadReq_Options_StreamOptions_End:
		return math.MaxInt64, nil
	case *api.ReadReq_Options_StreamOptions_Revision:
		if from.Revision == math.MaxUint64 { // how -1 reads as a number without a sign
			return math.MaxInt64, nil
		}
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
