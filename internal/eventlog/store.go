package eventlog

import (
	"context"
	"errors"
	"iter"
	"math"
	"time"

	"github.com/google/uuid"
)

// Position is a place in the order of all events of one log. It grows; nothing else may be read
// into it.
type Position uint64

// ErrNoPosition: no event can have that position.
var ErrNoPosition = errors.New("the event store named a position that no event can have")

// Stored is p as a database keeps it. One of 2^63 or more, such as [End], would be read back as a negative number, at
// which no reader could begin. Error: [ErrNoPosition].
func (p Position) Stored() (int64, error) {
	if p > math.MaxInt64 {
		return 0, ErrNoPosition
	}
	return int64(p), nil
}

// Revision is a place within one stream, from 0. None is that of a stream without events.
type Revision int64

// None is the revision of a stream that has no events.
const None Revision = -1

// Last stands for a stream's last event when reading backwards.
const Last Revision = 1<<63 - 1

// End stands for the log's end when reading it backwards, and for "from now on" when subscribing.
const End Position = 1<<64 - 1

// Raw is an event as the store keeps it.
type Raw struct {
	ID       uuid.UUID
	Stream   string
	Revision Revision
	Position Position
	Type     string
	Data     []byte // JSON
	Meta     []byte // JSON, a flat map of strings
	Created  time.Time
	Binary   bool // Data is stored as something else than JSON; never so of our own events
}

// Proposed is an event that is to be stored. Its id makes a repeated append harmless.
type Proposed struct {
	ID     uuid.UUID
	Type   string
	Data   []byte
	Meta   []byte
	Binary bool // Data is to be stored as something else than JSON
}

// Appended says where an append's last event is.
type Appended struct {
	Revision Revision
	Position Position
}

// What the store answers besides success.
var (
	// ErrMoved: the stream's last revision is not the expected one; nothing was appended.
	ErrMoved = errors.New("the stream has moved")
	// ErrUnavailable: the store did not answer in time; whether it appended is not known, and the same
	// append may be repeated.
	ErrUnavailable = errors.New("the event store does not answer")
	// ErrGone: the stream was deleted for good.
	ErrGone = errors.New("the stream was deleted for good")
	// ErrChanged: a stream was deleted or cut while it was read, so that what was given is not the whole; it may be
	// read again, from where it began.
	ErrChanged = errors.New("a stream changed while it was read")
	// ErrRewound: the log ends before what was read of it earlier, or has another event there: it was restored from an
	// older backup, or is another one.
	ErrRewound = errors.New("the log does not hold what was read of it before")
)

// Direction of a read.
type Direction bool

// The directions.
const (
	Forwards  Direction = false
	Backwards Direction = true
)

// Filter chooses events by the beginning of their stream's name. Without prefixes it lets all pass
// but the store's own ("$…").
type Filter struct{ Prefixes []string }

// SignalKind is what a subscription reports.
type SignalKind int

// The kinds of signals.
const (
	Event      SignalKind = iota + 1 // Raw is the next event
	Checkpoint                       // Position was passed: all that matches before it was given
	CaughtUp                         // all there was when it began has been given; may come more than once
	Lost                             // the connection went away; it goes on by itself when it is back
)

// Signal is one report of a subscription.
type Signal struct {
	Kind     SignalKind
	Raw      Raw      // for Event
	Position Position // up to where all that matches was given; 0: nothing is known to be passed yet
}

// Store is the port to an event store. internal/eventstore implements it over the official client.
// Every call ends when its context does.
type Store interface {
	// Append stores events at the end of stream, all or none, if its last revision is expected, which
	// is exact: a repeat with the same ids at the same revision answers as the first did. Errors:
	// ErrMoved, ErrGone, ErrUnavailable.
	Append(ctx context.Context, stream string, expected Revision, events []Proposed) (Appended, error)
	// Read gives at most limit (0: all) events of a stream from a revision on, that one included. A
	// stream that does not exist gives none. After the first event no revision is left out: where one
	// is missing it ends with ErrChanged.
	Read(ctx context.Context, stream string, from Revision, dir Direction, limit uint64,
	) iter.Seq2[Raw, error]
	// ReadAll gives events of all streams in the log's order: forwards from a position on, that one
	// included; backwards from before it.
	ReadAll(ctx context.Context, from Position, dir Direction, limit uint64,
	) iter.Seq2[Raw, error]
	// Subscribe gives the events after a position (0: from the first; End: from now on) and goes on
	// with those to come, without gap or repeat, also over outages, until the context ends. CaughtUp
	// means: all up to the log's end, as it was before the subscription was made, has passed. Errors:
	// the context's, ErrRewound, or one that no waiting mends.
	Subscribe(ctx context.Context, after Position, filter Filter) iter.Seq2[Signal, error]
}
