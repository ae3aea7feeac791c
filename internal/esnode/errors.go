package esnode

import (
	"errors"
	"fmt"

	"github.com/google/uuid"
)

// wrongVersion refuses an operation whose expected revision does not hold.
type wrongVersion struct {
	stream            string
	expected, current int64
}

func (e *wrongVersion) Error() string {
	return fmt.Sprintf("Append failed due to WrongExpectedVersion. Stream: %s, "+
		"Expected version: %d, Actual version: %d", e.stream, e.expected, e.current)
}

// deleted refuses an operation on a stream that is deleted for good.
type deleted struct{ stream string }

func (e *deleted) Error() string {
	return fmt.Sprintf("Event stream '%s' is deleted.", e.stream)
}

// tooLarge refuses an event, or a whole append where event is nil, for its size in bytes.
type tooLarge struct {
	event       uuid.UUID
	size, limit int
}

func (e *tooLarge) Error() string {
	if e.event == uuid.Nil {
		return fmt.Sprintf("Maximum Append Size of %d Exceeded.", e.limit)
	}
	return fmt.Sprintf("Event with Id: %s, Size: %d, exceeds Maximum Append Event Size of %d.",
		e.event, e.size, e.limit)
}

// unavailable says that an operation failed for the node's own reasons.
type unavailable struct{ cause error }

func (e *unavailable) Error() string { return "the event store cannot write: " + e.cause.Error() }
func (e *unavailable) Unwrap() error { return e.cause }

// isRefusal tells the caller's mistakes from the node's failures.
func isRefusal(err error) bool {
	var wrong *wrongVersion
	var gone *deleted
	return errors.As(err, &wrong) || errors.As(err, &gone)
}
