package esnode

import (
	"context"
	"errors"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

var errStopping = status.Error(codes.Unavailable, "the event store is stopping")

// invalid is a caller's mistake, with the trailers that tell clients which.
type invalid struct {
	text     string
	trailers []string // key, value, …

	// unhandled: a call ends with UNKNOWN and without the reason, as where a real store meets an
	// exception that it does not handle. In a batch it is a bad request as any other.
	unhandled bool
}

func (e *invalid) Error() string { return e.text }

// statusOf turns an error into a gRPC status and sets the trailers that clients read.
func statusOf(ctx context.Context, err error) error {
	var failed *unavailable
	var late *timedOut
	mistake := mistakeOf(ctx, err)
	switch {
	case err == nil:
		return nil
	case mistake != nil:
		return mistake
	case errors.As(err, &late):
		return status.Error(codes.Aborted, late.Error())
	case errors.Is(err, errDamaged):
		return status.Error(codes.DataLoss, err.Error())
	case isFull(err):
		// Not UNAVAILABLE, for which clients leave a node that still answers all reads.
		return status.Error(codes.ResourceExhausted, errFull.Error())
	case errors.As(err, &failed):
		return status.Error(codes.Unavailable, failed.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, err.Error())
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, err.Error())
	}
	if s, ok := status.FromError(err); ok {
		return s.Err()
	}
	return status.Error(codes.Unknown, err.Error())
}

// mistakeOf is statusOf for what the caller's request is refused for; nil for all else.
func mistakeOf(ctx context.Context, err error) error {
	var wrong *wrongVersion
	var gone *deleted
	var bad *invalid
	var large *tooLarge
	switch {
	case errors.As(err, &gone):
		trailer(ctx, "exception", "stream-deleted", "stream-name", gone.stream)
		return status.Error(codes.FailedPrecondition, gone.Error())
	case errors.As(err, &wrong):
		trailer(ctx, "exception", "wrong-expected-version", "stream-name", wrong.stream,
			"expected-version", strconv.FormatInt(wrong.expected, 10),
			"actual-version", strconv.FormatInt(wrong.current, 10))
		return status.Error(codes.FailedPrecondition, wrong.Error())
	case errors.As(err, &bad) && bad.unhandled:
		return status.Error(codes.Unknown, "Exception was thrown by handler.")
	case errors.As(err, &bad):
		trailer(ctx, bad.trailers...)
		return status.Error(codes.InvalidArgument, bad.text)
	case errors.As(err, &large):
		trailer(ctx, "exception", "maximum-append-size-exceeded",
			"maximum-append-size", strconv.Itoa(large.limit))
		return status.Error(codes.InvalidArgument, large.Error())
	}
	return nil
}

func trailer(ctx context.Context, pairs ...string) {
	// It can fail only after the call has ended; then nobody reads it.
	_ = grpc.SetTrailer(ctx, metadata.Pairs(pairs...))
}
