package esnode

import (
	"context"
	"math"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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
	if !subscribe && count == 0 {
		return status.Error(codes.Unknown, "the count must be above 0")
	}
	if subscribe && r.back {
		return &invalid{text: "subscriptions go forwards"}
	}
	if subscribe && r.filter != nil && r.filter.interval == 0 {
		return &invalid{text: "a filter's window and checkpoint interval must be above 0"}
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
		at, err = r.position(from.Position.GetCommitPosition(), r.badRead())
	default:
		err = &invalid{text: "a position is required"}
	}
	if r.back {
		return 0, min(durable, at-1), err
	}
	return at, durable, err
}

// position checks that an event begins at a position: one of another log, or of a lost part of this
// one, would skip events silently. The log's start is a position too.
func (r *reading) position(commit uint64, bad error) (int64, error) {
	if commit == 0 {
		return 0, nil
	}
	if commit <= uint64(r.book.durable.Load()) {
		found, err := r.book.holds(r.ctx, int64(commit))
		if err != nil || found {
			return int64(commit), err
		}
	}
	return 0, bad
}

var errBadSubscription = &invalid{text: "Trying to read from an invalid position."}

// badRead is how a read from an invalid position ends; clients tell it by the words.
func (r *reading) badRead() error {
	if r.filter != nil {
		return status.Error(codes.Unknown, "Unexpected FilteredReadAllResult: InvalidPosition")
	}
	return status.Error(codes.Unknown, "Unexpected ReadAllResult: InvalidPosition")
}

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
