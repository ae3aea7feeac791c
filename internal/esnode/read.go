package esnode

import (
	"context"
	"math"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
)

// Read answers reads and subscriptions, of a stream or of all.
func (s *service) Read(req *api.ReadReq, out api.Streams_ReadServer) error {
	r, err := s.reading(req.GetOptions(), out)
	if err == nil {
		err = r.run(req.GetOptions())
	}
	return statusOf(out.Context(), err)
}

// reading is one call of Read.
type reading struct {
	*service
	ctx       context.Context
	out       api.Streams_ReadServer
	back      bool
	links     bool // events that point to others are sent with those
	stringIDs bool
	tell      bool // the caller understands the messages of the first and the last revision
	filter    *filter
	closing   <-chan struct{} // nil: the call is cut off when the node closes
}

func (s *service) reading(o *api.ReadReq_Options, out api.Streams_ReadServer) (*reading, error) {
	if o.GetFilterOption() == nil || o.GetUuidOption().GetContent() == nil {
		return nil, &invalid{text: "filter and uuid options are required"}
	}
	_, stringIDs := o.GetUuidOption().GetContent().(*api.ReadReq_Options_UUIDOption_String_)
	r := &reading{
		service: s, ctx: out.Context(), out: out,
		back:      o.GetReadDirection() == api.ReadReq_Options_Backwards,
		links:     o.GetResolveLinks(),
		stringIDs: stringIDs,
		tell:      o.GetControlOption().GetCompatibility() >= 1,
		closing:   s.ending(),
	}
	var err error
	if f := o.GetFilter(); f != nil && o.GetAll() != nil {
		r.filter, err = newFilter(f)
	}
	return r, err
}

func (r *reading) run(o *api.ReadReq_Options) error {
	_, subscribe := o.GetCountOption().(*api.ReadReq_Options_Subscription)
	count := o.GetCount()
	switch {
	case !subscribe && (count == 0 || r.filter != nil && r.filter.window == 0):
		return r.unanswered()
	case subscribe && r.back:
		return &invalid{text: "subscriptions go forwards"}
	case subscribe && r.filter != nil && r.filter.interval == 0:
		return &invalid{text: "a window and a checkpoint interval are above 0", unhandled: true}
	}
	switch of := o.GetStreamOption().(type) {
	case *api.ReadReq_Options_All:
		if subscribe {
			return r.subscribeAll(of.All)
		}
		return r.readAll(of.All, count)
	case *api.ReadReq_Options_Stream:
		name, err := streamName(of.Stream.GetStreamIdentifier())
		if err != nil {
			return err
		}
		if subscribe {
			return r.subscribeStream(name, of.Stream)
		}
		return r.readStream(name, of.Stream, count)
	}
	return &invalid{text: "what to read is required"}
}

// stopped says that the node is closing: what could go on for long must end.
func (r *reading) stopped() error {
	select {
	case <-r.closing:
		return errStopping
	default:
		return r.ctx.Err()
	}
}

// unanswered waits for the caller's deadline, as a real store does with what it meets an exception in
// after it has taken the request.
func (r *reading) unanswered() error {
	select {
	case <-r.closing:
		return errStopping
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}

// limit is how many events to ask for at once.
func limit(count uint64) int { return int(min(count, pageEvents)) }

// readAll gives events of the whole log: forwards the one at the position too, backwards not.
func (r *reading) readAll(o *api.ReadReq_Options_AllOptions, count uint64) error {
	low, high, err := r.span(o)
	for err == nil && count > 0 && low <= high {
		var p page
		if p, err = r.book.all(r.ctx, low, high, r.back, r.ask(count)); err != nil {
			return err
		}
		for i := range p.records {
			rec := &p.records[i]
			if r.back {
				high = rec.pos - 1
			} else {
				low = rec.pos + 1
			}
			pass, err := r.filter.passes(rec)
			if err != nil {
				return err
			}
			if !pass {
				continue
			}
			if err := r.send(rec); err != nil {
				return err
			}
			if count--; count == 0 {
				return nil
			}
		}
		if p.end {
			return nil
		}
		err = r.stopped()
	}
	return err
}

func (r *reading) ask(count uint64) int {
	if r.filter != nil {
		return pageEvents
	}
	return limit(count)
}

// span gives the first and the last position that a read of the log covers.
func (r *reading) span(o *api.ReadReq_Options_AllOptions) (low, high int64, err error) {
	durable := r.book.durable.Load()
	var at int64
	switch from := o.GetAllOption().(type) {
	case *api.ReadReq_Options_AllOptions_Start:
		at = 0
	case *api.ReadReq_Options_AllOptions_End:
		at = math.MaxInt64
	case *api.ReadReq_Options_AllOptions_Position:
		at, err = positionOf(from.Position)
	default:
		err = &invalid{text: "a position is required"}
	}
	if r.back {
		return 0, min(durable, at-1), err
	}
	return at, durable, err
}

// positionOf reads a position of the log. Clients for .NET write the log's end as the largest number twice.
// That no event begins at a position is no mistake: a real store goes on from the next event.
func positionOf(p *api.ReadReq_Options_Position) (int64, error) {
	commit, prepare := p.GetCommitPosition(), p.GetPreparePosition()
	switch {
	case commit == math.MaxUint64 && prepare == math.MaxUint64:
		return math.MaxInt64, nil
	case commit < prepare, commit > math.MaxInt64:
		return 0, errNoPosition
	}
	return int64(commit), nil
}

var errNoPosition = &invalid{text: "no position of the log", unhandled: true}

// send gives the caller an event.
func (r *reading) send(rec *record) error {
	if !r.stringIDs && !r.links {
		return r.out.SendMsg(rec)
	}
	resp, err := r.resolve(rec)
	if err != nil {
		return err
	}
	return r.out.Send(resp)
}
