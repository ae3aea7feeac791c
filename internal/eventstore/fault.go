package eventstore

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"prelude/internal/eventlog"
)

// kind is what an error means for the call that got it.
type kind int

const (
	fine      kind = iota
	moved          // the expected revision does not hold
	gone           // the stream is deleted for good
	refused        // no waiting mends it
	denied         // who asks may not: it is waited for like an outage, for somebody may be about to mend it
	elsewhere      // the node says that it is not the one to ask
	ambiguous      // not known whether it was done; the connection is fine
	transport      // not known whether it was done; the connection is of no use
)

var (
	// errOdd is an answer that cannot be one to what was asked.
	errOdd = errors.New("the answer is not to be trusted")
	// errNotLeader: the node is not the leader, or is not ready, or too busy.
	errNotLeader = errors.New("the node is not the one to ask")
	// errSilent ends a call that gave no answer for too long.
	errSilent = errors.New("the event store was silent")
	// errCut ends a call of which one who left has sent a part of an append alone.
	errCut = errors.New("an append was given up half sent")
	// errLate ends an attempt that got no answer for too long, while others did.
	errLate = errors.New("the event store's answer is late")
)

func kindOf(err error) kind {
	switch {
	case err == nil:
		return fine
	case errors.Is(err, eventlog.ErrMoved):
		return moved
	case errors.Is(err, eventlog.ErrGone):
		return gone
	case errors.Is(err, errNotLeader):
		return elsewhere
	case errors.Is(err, errReplaced):
		return transport
	}
	s, _ := status.FromError(err)
	switch s.Code() {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.Unimplemented, codes.DataLoss, codes.AlreadyExists,
		codes.NotFound:
		return refused
	case codes.Unauthenticated, codes.PermissionDenied:
		return denied
	case codes.Unavailable:
		if slices.Contains(notReady, s.Message()) {
			return elsewhere
		}
		return transport
	case codes.Unknown:
		if s.Message() == noLeader {
			return elsewhere
		}
	case codes.Canceled, // the connection was closed
		codes.Internal: // a call that ended without a status, as those of a store that stops do
		return transport
	}
	return ambiguous
}

// What stores (24.6) say where they cannot be asked, in a status of its own or as the answer to one append of many.
var (
	notReady = []string{"Server Is Not Ready", "Server Is Too Busy", "Server Is Busy"}
	noLeader = "No leader info available in response"
)

// unreadable says that an answer came and could not be taken: it is none, or larger than any.
func unreadable(err error) bool {
	return errors.Is(err, errOdd) || status.Code(err) == codes.ResourceExhausted
}

// unknown says that the store ended a call without saying why.
func unknown(err error) bool {
	s, said := status.FromError(err)
	return said && s.Code() == codes.Unknown && kindOf(err) == ambiguous
}

// readable gives the meaning of a call's end, which the trailer tells.
func readable(err error, trailer metadata.MD) error {
	for _, exception := range trailer.Get("exception") {
		switch exception {
		case "stream-deleted":
			return eventlog.ErrGone
		case "not-leader":
			return errNotLeader
		}
	}
	return err
}

// unavailable says that the store did not answer. The context's own end stays recognisable.
func unavailable(ctx context.Context, cause error) error {
	if err := ctx.Err(); err != nil && !errors.Is(cause, err) {
		return fmt.Errorf("%w: %w: %w", eventlog.ErrUnavailable, err, cause)
	}
	return fmt.Errorf("%w: %w", eventlog.ErrUnavailable, cause)
}
