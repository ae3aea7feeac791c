package esnode

import (
	"context"
	"errors"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
)

var nothing = &emptypb.Empty{}

// errTimeout has the word for an append whose deadline came before its outcome.
var errTimeout = errors.New("Timeout") // clients look for the word

// response is the answer to an append of a batch. A refusal is in it, too: the call goes on.
func (b *batched) response() *api.BatchAppendResp {
	r := &api.BatchAppendResp{CorrelationId: b.id, StreamIdentifier: b.name}
	if b.err != nil {
		r.Result = &api.BatchAppendResp_Error{Error: failure(b.err)}
		return r
	}
	ok := &api.BatchAppendResp_Success{}
	if b.rev < 0 {
		ok.CurrentRevisionOption = &api.BatchAppendResp_Success_NoStream{NoStream: nothing}
	} else {
		ok.CurrentRevisionOption = &api.BatchAppendResp_Success_CurrentRevision{
			CurrentRevision: uint64(b.rev),
		}
	}
	if b.pos == 0 {
		ok.PositionOption = &api.BatchAppendResp_Success_NoPosition{NoPosition: nothing}
	} else {
		at := uint64(b.pos)
		ok.PositionOption = &api.BatchAppendResp_Success_Position{
			Position: &shared.AllStreamPosition{CommitPosition: at, PreparePosition: at},
		}
	}
	r.Result = &api.BatchAppendResp_Success_{Success: ok}
	return r
}

// failure gives an error as clients look for it: by the type of its one detail.
func failure(err error) *rpc.Status {
	var wrong *wrongVersion
	var gone *deleted
	var large *tooLarge
	var bad *invalid
	var failed *unavailable
	var late *timedOut
	switch {
	case errors.As(err, &wrong):
		return because(codes.AlreadyExists, err, wrong.detail())
	case errors.As(err, &gone):
		return because(codes.NotFound, err, &shared.StreamDeleted{
			StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte(gone.stream)},
		})
	case errors.As(err, &large):
		return because(codes.InvalidArgument, err,
			&shared.MaximumAppendSizeExceeded{MaxAppendSize: uint32(large.limit)})
	case errors.As(err, &bad):
		return because(codes.InvalidArgument, err, &shared.BadRequest{Message: bad.text})
	case errors.As(err, &late):
		return because(codes.DeadlineExceeded, err, &shared.Timeout{})
	case errors.Is(err, context.DeadlineExceeded):
		return because(codes.DeadlineExceeded, errTimeout, &shared.Timeout{})
	case errors.Is(err, errDamaged):
		return because(codes.DataLoss, err, &shared.Unknown{})
	case isFull(err):
		return because(codes.ResourceExhausted, errFull, &shared.Unknown{})
	case errors.As(err, &failed):
		return because(codes.Unavailable, err, &shared.Unknown{})
	}
	return because(codes.Unknown, err, &shared.Unknown{})
}

func because(c codes.Code, err error, detail proto.Message) *rpc.Status {
	packed, packErr := anypb.New(detail)
	if packErr != nil {
		// Clients that find no detail break; an empty one of a known type says at least that it failed.
		packed = &anypb.Any{TypeUrl: "type.googleapis.com/event_store.client.Unknown"}
	}
	return &rpc.Status{Code: int32(c), Message: err.Error(), Details: []*anypb.Any{packed}}
}

func (e *wrongVersion) detail() *shared.WrongExpectedVersion {
	d := &shared.WrongExpectedVersion{}
	if e.current < 0 {
		d.CurrentStreamRevisionOption = &shared.WrongExpectedVersion_CurrentNoStream{
			CurrentNoStream: nothing,
		}
	} else {
		d.CurrentStreamRevisionOption = &shared.WrongExpectedVersion_CurrentStreamRevision{
			CurrentStreamRevision: uint64(e.current),
		}
	}
	switch e.expected {
	case noStream:
		d.ExpectedStreamPositionOption = &shared.WrongExpectedVersion_ExpectedNoStream{
			ExpectedNoStream: nothing,
		}
	case anyRevision:
		d.ExpectedStreamPositionOption = &shared.WrongExpectedVersion_ExpectedAny{
			ExpectedAny: nothing,
		}
	case streamExists:
		d.ExpectedStreamPositionOption = &shared.WrongExpectedVersion_ExpectedStreamExists{
			ExpectedStreamExists: nothing,
		}
	default:
		d.ExpectedStreamPositionOption = &shared.WrongExpectedVersion_ExpectedStreamPosition{
			ExpectedStreamPosition: uint64(e.expected),
		}
	}
	return d
}
