package eventstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"prelude/internal/eventlog"
)

// doubtTime is how long a call goes unanswered before its connection is in doubt, broken or not.
const doubtTime = 2500 * time.Millisecond

// call runs fn with a client, in a goroutine of its own: the client may wait for ever, the caller
// does not. What fn answers after the context has ended is lost.
func call[T any](
	ctx context.Context, s *Store, fn func(context.Context, *client) (T, error),
) (T, error) {
	var none T
	c, err := s.acquire(ctx)
	if err != nil {
		return none, unavailable(ctx, err)
	}
	type answer struct {
		value T
		err   error
	}
	answers, started := make(chan answer, 1), time.Now()
	s.spawn(c, func() {
		var a answer
		a.err = c.within(ctx, func(ctx context.Context) (err error) {
			a.value, err = fn(ctx, c)
			return err
		})
		answers <- a
	})
	select {
	case a := <-answers:
		s.judge(c, a.err)
		return a.value, a.err
	case <-ctx.Done():
		if time.Since(started) >= doubtTime {
			s.replace(c)
		}
		return none, unavailable(ctx, ctx.Err())
	case <-s.closed.Done():
		return none, unavailable(ctx, errClosed)
	}
}

// spawn starts a goroutine that uses an acquired client and gives it back.
func (s *Store) spawn(c *client, fn func()) {
	go func() {
		defer c.leave()
		fn()
	}()
}

// within runs fn with a context that also ends with the client, and makes an error of a panic: the
// client panics on messages that it does not know, and when it is closed in use.
func (c *client) within(ctx context.Context, fn func(context.Context) error) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.life, cancel)()
	entered := sync.OnceFunc(c.asked)
	defer entered()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the event store's client panicked: %v", p)
		}
	}()
	return fn(entering{ctx, entered})
}

// judge retires a client whose connection or state is in doubt.
func (s *Store) judge(c *client, err error) {
	if kindOf(err) == transport {
		s.replace(c)
	}
}

// kind is what an error means for the call that got it.
type kind int

const (
	fine      kind = iota
	moved          // the expected revision does not hold
	gone           // the stream is deleted for good
	missing        // the stream does not exist
	refused        // no waiting mends it
	ambiguous      // not known whether it was done; the client is fine
	transport      // not known whether it was done; the client is in doubt
)

// kindOf looks through all wrapping: the client wraps its own errors, and its FromError does not.
func kindOf(err error) kind {
	if err == nil {
		return fine
	}
	var e *esdb.Error
	if errors.As(err, &e) {
		switch e.Code() {
		case esdb.ErrorCodeWrongExpectedVersion:
			return moved
		case esdb.ErrorCodeStreamDeleted:
			return gone
		case esdb.ErrorCodeResourceNotFound:
			return missing
		case esdb.ErrorCodeUnauthenticated, esdb.ErrorCodeAccessDenied,
			esdb.ErrorCodeUnsupportedFeature:
			return refused
		case esdb.ErrorUnavailable, esdb.ErrorCodeConnectionClosed:
			return transport
		}
	}
	switch s, _ := status.FromError(err); s.Code() {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.Unauthenticated,
		codes.PermissionDenied, codes.Unimplemented, codes.DataLoss:
		return refused
	case codes.Unavailable:
		return transport
	}
	return ambiguous
}

// ended says that a read came to its end. Only the bare error does: the client wraps the same one
// when it could not send an append.
func ended(err error) bool { return err == io.EOF } //nolint:errorlint // see above

// unavailable says that the store did not answer. The context's own end stays recognisable.
func unavailable(ctx context.Context, cause error) error {
	if err := ctx.Err(); err != nil && !errors.Is(cause, err) {
		return fmt.Errorf("%w: %w: %w", eventlog.ErrUnavailable, err, cause)
	}
	return fmt.Errorf("%w: %w", eventlog.ErrUnavailable, cause)
}
