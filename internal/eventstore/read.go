package eventstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"

	"prelude/internal/eventlog"
)

// mostRefusals is how often in a row a read may fail for an unknown reason.
const mostRefusals = 3

var empty = &shared.Empty{}

// Read implements eventlog.Store. One that is cut off goes on after the last event given; without a
// deadline it gives up after 10 s without an event.
func (s *Store) Read(
	ctx context.Context, stream string, from eventlog.Revision, dir eventlog.Direction, limit uint64,
) iter.Seq2[eventlog.Raw, error] {
	return s.events(ctx, reader{
		what: stream, dir: dir, left: count(limit),
		ask: func(last *eventlog.Raw, n uint64) *api.ReadReq {
			at := from
			switch {
			case last != nil && dir == eventlog.Backwards:
				at = last.Revision - 1
			case last != nil:
				at = last.Revision + 1
			}
			return request(n, dir, ofStream(stream, at))
		},
		done: func(last *eventlog.Raw) bool {
			return dir == eventlog.Backwards && (from < 0 || last != nil && last.Revision == 0)
		},
	})
}

// ReadAll implements eventlog.Store; what is said of Read holds for it too.
func (s *Store) ReadAll(
	ctx context.Context, from eventlog.Position, dir eventlog.Direction, limit uint64,
) iter.Seq2[eventlog.Raw, error] {
	return s.events(ctx, reader{
		what: "all events", all: true, dir: dir, left: count(limit),
		ask: func(last *eventlog.Raw, n uint64) *api.ReadReq {
			if last == nil {
				return request(n, dir, ofAll(from))
			}
			// Forwards the position's own event comes again, and is passed over.
			return request(max(n, n+1), dir, ofAll(last.Position))
		},
		done: func(*eventlog.Raw) bool { return dir == eventlog.Backwards && from == 0 },
	})
}

// reader is a read and how to go on with it.
type reader struct {
	what string
	all  bool // of the whole log; else of a stream
	dir  eventlog.Direction
	left uint64
	ask  func(last *eventlog.Raw, n uint64) *api.ReadReq
	done func(last *eventlog.Raw) bool // nothing can lie beyond
	last *eventlog.Raw
}

func (s *Store) events(ctx context.Context, first reader) iter.Seq2[eventlog.Raw, error] {
	return func(yield func(eventlog.Raw, error) bool) {
		r := first // a sequence may be read more than once
		pause, since, refusals := firstPause, time.Now(), 0
		var why error
		for r.left > 0 && !r.done(r.last) {
			before := r.last
			more, err := s.part(ctx, &r, yield)
			if !more {
				return
			}
			why = telling(why, err)
			if r.last != before {
				pause, since, refusals = firstPause, time.Now(), 0
			}
			// A store says "unknown" of some mistakes too, as of a position that is none.
			if (unreadable(err) || unknown(err)) && ctx.Err() == nil && s.closed.Err() == nil {
				refusals++
			}
			if refusals == mostRefusals {
				yield(eventlog.Raw{}, fmt.Errorf("read %s: %w", r.what, err))
				return
			}
			_, bounded := ctx.Deadline()
			if s.closed.Err() != nil || !bounded && time.Since(since) > s.address.deadline ||
				!sleep(ctx, jitter(pause)) {
				s.health.gaveUp()
				yield(eventlog.Raw{}, fmt.Errorf("read %s: %w", r.what, unavailable(ctx, why)))
				return
			}
			pause = min(2*pause, longestPause)
		}
	}
}

// part reads until the end, which makes more false, or until something is wrong with the
// connection.
func (s *Store) part(
	ctx context.Context, r *reader, yield func(eventlog.Raw, error) bool,
) (more bool, err error) {
	waiting, stop := s.patience(ctx)
	l, err := s.acquire(waiting)
	stop()
	if err != nil {
		return true, err
	}
	call, heard, done := s.progress(ctx)
	defer done()
	wanted, changed := true, false
	err = s.receive(call, l, l.conn, r.ask(r.last, r.left), func(f protowire.Number, raw *eventlog.Raw) error {
		heard()
		switch f {
		case fieldEvent:
			if changed = r.skips(raw); !changed {
				wanted = r.give(raw, yield)
			}
		case fieldMissing: // after an event it is no end: stores read page by page, and look anew for each
			changed, wanted = r.last != nil, false
		}
		if changed || !wanted {
			return errEnough
		}
		return nil
	})
	switch {
	case changed, r.last != nil && kindOf(err) == gone:
		yield(eventlog.Raw{}, fmt.Errorf("read %s: %w", r.what, eventlog.ErrChanged))
		return false, nil
	case err == nil || !wanted:
		s.health.good(reading)
		return false, nil
	}
	err = s.because(err, false)
	switch kindOf(err) {
	case gone:
		yield(eventlog.Raw{}, eventlog.ErrGone)
		return false, nil
	case refused:
		yield(eventlog.Raw{}, fmt.Errorf("read %s: %w", r.what, err))
		return false, nil
	case denied, elsewhere:
		s.health.bad(reading, err)
	}
	return true, err
}

// skips says whether an event leaves out others of its stream, between the last that was given and itself: they were
// cut off while the stream was read.
func (r *reader) skips(e *eventlog.Raw) bool {
	if r.all || r.last == nil {
		return false
	}
	if r.dir == eventlog.Backwards {
		return e.Revision < r.last.Revision-1
	}
	return e.Revision > r.last.Revision+1
}

// progress bounds a call without a deadline: it ends when nothing was heard for as long as such
// calls are patient.
func (s *Store) progress(ctx context.Context) (call context.Context, heard, done func()) {
	if _, bounded := ctx.Deadline(); bounded {
		return ctx, func() {}, func() {}
	}
	call, cancel := context.WithCancel(ctx)
	silent := time.AfterFunc(s.address.deadline, cancel)
	return call, func() { silent.Reset(s.address.deadline) }, func() {
		silent.Stop()
		cancel()
	}
}

// after says whether an event lies after the last that was given. Stores before 22.6 say of no
// event in a stream where it stands in the whole log.
func (r *reader) after(e *eventlog.Raw) bool {
	if r.all {
		return e.Position > r.last.Position
	}
	return e.Revision > r.last.Revision
}

// give hands on an event, unless it was given before; false says to stop.
func (r *reader) give(e *eventlog.Raw, yield func(eventlog.Raw, error) bool) bool {
	if r.last != nil && (r.dir == eventlog.Forwards) != r.after(e) {
		return true
	}
	r.last = e
	r.left--
	return yield(*e, nil) && r.left > 0
}

// errEnough ends a call whose rest nobody wants.
var errEnough = errors.New("enough was read")

// readCall describes the method Read, whose answers are decoded here.
var readCall = grpc.StreamDesc{StreamName: "Read", ServerStreams: true}

// receive makes a call of Read over a connection of a link and hands each answer to fn, until one of the two ends; nil
// says that the store came to the end. What the call's end says of the link is heeded.
func (s *Store) receive(
	ctx context.Context, l *link, conn *grpc.ClientConn, req *api.ReadReq,
	fn func(protowire.Number, *eventlog.Raw) error,
) error {
	call, cancel := context.WithCancel(ctx)
	defer cancel()
	heard := false
	l.waits()
	err := readOver(call, conn, req, func(f protowire.Number, raw *eventlog.Raw) error {
		if !heard {
			heard = true
			l.answered(true)
		}
		return fn(f, raw)
	})
	end, quiet := errors.Is(err, io.EOF), time.Duration(0)
	if !heard {
		quiet = l.answered(end || kindOf(err) != transport && ctx.Err() == nil)
	}
	switch {
	case end:
		return nil
	case ctx.Err() == nil && conn != l.conn && kindOf(err) == transport:
		l.doubt() // the connection is of calls that stay; that for the others may be well
	case ctx.Err() == nil:
		s.judge(ctx, l, err)
	case quiet >= doubtTime:
		l.doubt()
	}
	return err
}

// readOver makes a call of Read; io.EOF is its regular end.
func readOver(
	ctx context.Context, conn *grpc.ClientConn, req *api.ReadReq, fn func(protowire.Number, *eventlog.Raw) error,
) error {
	stream, err := conn.NewStream(ctx, &readCall, api.Streams_Read_FullMethodName)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(req); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	var m message
	var d decoder
	for {
		if err := stream.RecvMsg(&m); err != nil {
			return readable(err, stream.Trailer())
		}
		f, raw, err := d.decode(&m)
		if err != nil {
			return err
		}
		if err := fn(f, &raw); err != nil {
			return err
		}
	}
}

// end gives the position of the log's last event, 0 of an empty log. It tries again while the
// connection is what fails.
func (s *Store) end(ctx context.Context) (eventlog.Position, error) {
	for {
		l, err := s.acquire(ctx)
		if err != nil {
			return 0, unavailable(ctx, err)
		}
		last, err := s.endOn(ctx, l)
		kind := kindOf(err)
		if kind != transport && kind != elsewhere || s.closed.Err() != nil || !sleep(ctx, jitter(firstPause)) {
			return last, err
		}
	}
}

// endOn is end as the node of a link knows it.
func (s *Store) endOn(ctx context.Context, l *link) (last eventlog.Position, err error) {
	newest, err := s.newestOn(ctx, l)
	return newest.Position, err
}

// newestOn is the log's newest event; the zero one: there is none.
func (s *Store) newestOn(ctx context.Context, l *link) (eventlog.Raw, error) {
	return s.firstOn(ctx, l, request(1, eventlog.Backwards, ofAll(eventlog.End)))
}

// firstOn is the first event of a read; the zero one: there is none.
func (s *Store) firstOn(ctx context.Context, l *link, req *api.ReadReq) (first eventlog.Raw, err error) {
	err = s.receive(ctx, l, l.conn, req, func(f protowire.Number, raw *eventlog.Raw) error {
		if f == fieldEvent {
			first = *raw
		}
		return nil
	})
	return first, err
}

// tryRead asks the node of a link whether the log can be read now.
func (s *Store) tryRead(ctx context.Context, l *link) error {
	_, err := s.endOn(ctx, l)
	if err = s.because(err, false); err == nil {
		s.health.good(reading)
		return nil
	}
	if ctx.Err() == nil {
		s.health.bad(reading, err)
	}
	return err
}

// request is a read of at most n events.
func request(n uint64, dir eventlog.Direction, from any) *api.ReadReq {
	o := &api.ReadReq_Options{
		CountOption:  &api.ReadReq_Options_Count{Count: n},
		FilterOption: &api.ReadReq_Options_NoFilter{NoFilter: empty},
		UuidOption: &api.ReadReq_Options_UUIDOption{
			Content: &api.ReadReq_Options_UUIDOption_Structured{Structured: empty},
		},
	}
	if dir == eventlog.Backwards {
		o.ReadDirection = api.ReadReq_Options_Backwards
	}
	switch from := from.(type) {
	case *api.ReadReq_Options_Stream:
		o.StreamOption = from
	case *api.ReadReq_Options_All:
		o.StreamOption = from
	}
	return &api.ReadReq{Options: o}
}

func ofStream(name string, from eventlog.Revision) *api.ReadReq_Options_Stream {
	o := &api.ReadReq_Options_StreamOptions{
		StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte(name)},
		RevisionOption: &api.ReadReq_Options_StreamOptions_Revision{
			Revision: uint64(max(from, 0)),
		},
	}
	if from == eventlog.Last {
		o.RevisionOption = &api.ReadReq_Options_StreamOptions_End{End: empty}
	}
	return &api.ReadReq_Options_Stream{Stream: o}
}

func ofAll(from eventlog.Position) *api.ReadReq_Options_All {
	o := &api.ReadReq_Options_AllOptions{}
	switch from {
	case 0:
		o.AllOption = &api.ReadReq_Options_AllOptions_Start{Start: empty}
	case eventlog.End:
		o.AllOption = &api.ReadReq_Options_AllOptions_End{End: empty}
	default:
		o.AllOption = &api.ReadReq_Options_AllOptions_Position{Position: &api.ReadReq_Options_Position{
			CommitPosition: uint64(from), PreparePosition: uint64(from),
		}}
	}
	return &api.ReadReq_Options_All{All: o}
}

func count(limit uint64) uint64 {
	if limit == 0 {
		return math.MaxInt64
	}
	return limit
}
