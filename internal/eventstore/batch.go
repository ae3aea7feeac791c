package eventstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"prelude/internal/eventlog"
)

// appends is the call that all appends of a link share: one message to the store for each, and one
// back. Stores carry out those of one stream in the order in which they come.
type appends struct {
	call   api.Streams_BatchAppendClient
	cancel context.CancelCauseFunc
	salt   int64 // of the ids by which answers are known
	queue  chan *api.BatchAppendReq

	mu      sync.Mutex
	last    int64
	waiting map[int64]chan<- outcome
	bytes   int // of those that wait
	quiet   quiet

	answered bool          // that any append was
	err      error         // why the call ended
	ended    chan struct{} // closed when it has
}

type outcome struct {
	left eventlog.Appended
	err  error
}

const (
	queued = 256
	// maxPart is about how many bytes of events go into one message; a larger append takes several.
	maxPart = 1 << 20
)

var nothing = &emptypb.Empty{}

// open gives the link's call for appends, and begins one where there is none that works.
func (l *link) open(s *Store) (*appends, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errReplaced
	}
	if a := l.appends; a != nil && a.why() == nil {
		return a, nil
	}
	ctx, cancel := context.WithCancelCause(s.closed)
	call, err := api.NewStreamsClient(l.conn).BatchAppend(ctx)
	if err != nil {
		cancel(nil)
		return nil, fmt.Errorf("begin to append: %w", err)
	}
	id := uuid.New()
	a := &appends{
		call: call, cancel: cancel, salt: int64(binary.BigEndian.Uint64(id[:])),
		queue: make(chan *api.BatchAppendReq, queued), waiting: map[int64]chan<- outcome{},
		ended: make(chan struct{}),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Err() != nil {
		cancel(nil)
		return nil, errClosed
	}
	s.work.Go(func() { a.send(ctx) })
	s.work.Go(func() { a.receive(ctx) })
	l.appends = a
	return a, nil
}

// why says why the call ended; nil while it goes on.
func (a *appends) why() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// do sends one append and waits for its answer, for at most the time of an attempt. Errors:
// eventlog.ErrMoved, eventlog.ErrGone, errLate, errSilent, what ended the call, the context's.
func (a *appends) do(
	ctx context.Context, stream string, expected eventlog.Revision, events []eventlog.Proposed,
) (eventlog.Appended, error) {
	answer, size := make(chan outcome, 1), 0
	for i := range events {
		size += sizeOf(&events[i])
	}
	if err := ctx.Err(); err != nil {
		return eventlog.Appended{}, err
	}
	n, patience := a.begin(answer, size)
	o := a.wait(ctx, patience, answer, a.parts(n, options(ctx, stream, expected, patience), events))
	if silent := a.leave(n, size); silent && (errors.Is(o.err, errLate) || o.err != nil && ctx.Err() != nil) {
		o.err = fmt.Errorf("%w: %w", errSilent, o.err)
	}
	return o.left, o.err
}

// begin gives an append its number and the time of an attempt: what is under way before it takes some.
func (a *appends) begin(answer chan<- outcome, size int) (n int64, patience time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last++
	a.waiting[a.last] = answer
	a.bytes += size
	a.quiet.begin()
	return a.last, attemptTimeOf(a.bytes)
}

// leave waits no longer, and says whether nobody has been answered for as long as an attempt takes.
func (a *appends) leave(n int64, size int) (silent bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	silent = a.quiet.end() >= attemptTimeOf(a.bytes)
	delete(a.waiting, n)
	a.bytes -= size
	return silent
}

func (a *appends) wait(
	ctx context.Context, patience time.Duration, answer <-chan outcome, parts []*api.BatchAppendReq,
) outcome {
	late := time.NewTimer(patience)
	defer late.Stop()
	queue, all := a.queue, len(parts)
	defer func() {
		if n := len(parts); n > 0 && n < all {
			a.cancel(errCut) // else the store keeps the parts that it has for as long as the call lasts
		}
	}()
	for {
		var next *api.BatchAppendReq
		if len(parts) == 0 {
			queue = nil // all is sent
		} else {
			next = parts[0]
		}
		select {
		case queue <- next:
			parts = parts[1:]
		case o := <-answer:
			parts = nil // what is not sent of it, the store does not wait for
			return o
		case <-a.ended:
			return outcome{err: a.why()}
		case <-ctx.Done():
			return outcome{err: ctx.Err()}
		case <-late.C:
			return outcome{err: errLate}
		}
	}
}

// parts are the messages of an append.
func (a *appends) parts(
	n int64, o *api.BatchAppendReq_Options, events []eventlog.Proposed,
) (all []*api.BatchAppendReq) {
	id := &shared.UUID{Value: &shared.UUID_Structured_{Structured: &shared.UUID_Structured{
		MostSignificantBits: a.salt, LeastSignificantBits: n,
	}}}
	part := &api.BatchAppendReq{CorrelationId: id, Options: o}
	size := 0
	for i := range events {
		if size += sizeOf(&events[i]); size > maxPart && len(part.ProposedMessages) > 0 {
			all = append(all, part)
			part, size = &api.BatchAppendReq{CorrelationId: id}, sizeOf(&events[i])
		}
		part.ProposedMessages = append(part.ProposedMessages, proposed(&events[i]))
	}
	part.IsFinal = true
	return append(all, part)
}

// options say too until when the store need not begin: nobody waits any longer then.
func options(
	ctx context.Context, stream string, expected eventlog.Revision, patience time.Duration,
) *api.BatchAppendReq_Options {
	if until, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(until))
	}
	o := &api.BatchAppendReq_Options{
		StreamIdentifier:       &shared.StreamIdentifier{StreamName: []byte(stream)},
		ExpectedStreamPosition: &api.BatchAppendReq_Options_NoStream{NoStream: nothing},
		DeadlineOption: &api.BatchAppendReq_Options_Deadline{
			Deadline: durationpb.New(patience),
		},
	}
	if expected >= 0 {
		o.ExpectedStreamPosition = &api.BatchAppendReq_Options_StreamPosition{
			StreamPosition: uint64(expected),
		}
	}
	return o
}

// The two kinds of content that a store tells apart.
const (
	contentJSON   = "application/json"
	contentBinary = "application/octet-stream"
)

func proposed(e *eventlog.Proposed) *api.BatchAppendReq_ProposedMessage {
	content := contentJSON
	if e.Binary {
		content = contentBinary
	}
	return &api.BatchAppendReq_ProposedMessage{
		Id: &shared.UUID{Value: &shared.UUID_Structured_{Structured: &shared.UUID_Structured{
			MostSignificantBits:  int64(binary.BigEndian.Uint64(e.ID[:8])),
			LeastSignificantBits: int64(binary.BigEndian.Uint64(e.ID[8:])),
		}}},
		Metadata:       map[string]string{"type": e.Type, "content-type": content},
		CustomMetadata: e.Meta,
		Data:           e.Data,
	}
}

// send passes on what is queued. Why a message could not be sent, receive hears.
func (a *appends) send(ctx context.Context) {
	for {
		select {
		case part := <-a.queue:
			if a.call.Send(part) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// receive hands out answers until the call ends.
func (a *appends) receive(ctx context.Context) {
	defer a.cancel(nil)
	for {
		r, err := a.call.Recv()
		if err != nil {
			err = readable(err, a.call.Trailer())
			if cause := context.Cause(ctx); errors.Is(cause, errSilent) || errors.Is(cause, errCut) {
				err = cause // ours: the connection may be well
			}
			a.end(err)
			return
		}
		id := r.GetCorrelationId().GetStructured()
		if id.GetMostSignificantBits() != a.salt {
			continue
		}
		a.mu.Lock()
		a.quiet.heard()
		a.answered = true
		answer := a.waiting[id.GetLeastSignificantBits()]
		delete(a.waiting, id.GetLeastSignificantBits())
		a.mu.Unlock()
		if answer != nil { // else its caller has left
			answer <- outcomeOf(r)
		}
	}
}

// end notes why the call ended. Where appends were answered on it before, its end refuses none of those under way: they
// may have been done.
func (a *appends) end(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.answered && kindOf(err) == refused {
		err = errors.New(err.Error())
	}
	a.err = fmt.Errorf("the call for appends ended: %w", err)
	close(a.ended)
}

func outcomeOf(r *api.BatchAppendResp) outcome {
	if ok := r.GetSuccess(); ok != nil {
		left := eventlog.Appended{Revision: eventlog.Revision(ok.GetCurrentRevision())}
		var err error
		left.Position, err = positionOf(ok.GetPosition().GetCommitPosition())
		return outcome{left: left, err: err}
	}
	e := r.GetError()
	if e == nil {
		return outcome{err: errOdd}
	}
	var kind string
	var detail []byte
	if details := e.GetDetails(); len(details) > 0 {
		kind, detail = details[0].GetTypeUrl(), details[0].GetValue()
	}
	switch kind[strings.LastIndexByte(kind, '.')+1:] {
	case "WrongExpectedVersion":
		return outcome{err: movedTo(detail)}
	case "StreamDeleted":
		return outcome{err: eventlog.ErrGone}
	case "AccessDenied":
		return outcome{err: status.Error(codes.PermissionDenied, e.GetMessage())}
	case "Timeout":
		return outcome{err: status.Error(codes.DeadlineExceeded, e.GetMessage())}
	}
	code := codes.Code(e.GetCode())
	if code == codes.OK {
		// It is how a node says, by its words alone, that it is not ready, too busy, or knows no leader.
		return outcome{err: fmt.Errorf("%w: %s", errNotLeader, strings.ToValidUTF8(e.GetMessage(), "?"))}
	}
	return outcome{err: status.Error(code, e.GetMessage())}
}

// movedError is eventlog.ErrMoved with the stream's last revision, as the refusal names it.
type movedError struct{ actual eventlog.Revision }

func (movedError) Error() string { return eventlog.ErrMoved.Error() }

// Is has it be eventlog.ErrMoved.
func (movedError) Is(target error) bool {
	return target == eventlog.ErrMoved
}

// movedTo reads a shared.WrongExpectedVersion.
func movedTo(detail []byte) error {
	var m shared.WrongExpectedVersion
	if proto.Unmarshal(detail, &m) != nil {
		return eventlog.ErrMoved
	}
	if actual, ok := m.GetCurrentStreamRevisionOption().(*shared.WrongExpectedVersion_CurrentStreamRevision); ok &&
		actual.CurrentStreamRevision <= math.MaxInt64 {
		return movedError{eventlog.Revision(actual.CurrentStreamRevision)}
	}
	return eventlog.ErrMoved
}
