// Package eventlog is the log as the application sees it: typed events in streams, with who did it
// and why beside each, and with people's texts sealed under keys of the vault. It holds the
// registry of event names, the codec, and the port to the store. It does not know gRPC, Postgres or
// HTTP.
package eventlog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"time"

	"github.com/google/uuid"

	"prelude/domain"
)

// Record is an event with all that is known of it. Its secrets are sealed until [Log.Open] is
// asked.
type Record struct {
	ID       uuid.UUID
	Stream   Stream
	Revision Revision
	Position Position
	Name     string // as registered: preset.created.v1
	Event    any    // the domain's type, by value; nil where the name is not registered
	Meta     Meta
	Late     bool // its stream was held back: it comes after what is newer
}

// Log reads and appends typed events. Without Keys, secrets stay sealed and appending is refused.
type Log struct {
	Store Store
	Keys  Keys
	known ends
}

// Append seals the events' secrets and stores the events at the end of stream, all or none, if its
// last revision is expected. Their ids follow from the step, so the same append can be repeated. It
// returns the events as they are stored, still open too. The errors are the store's.
func (l *Log) Append(ctx context.Context, s Stream, expected Revision, meta Meta, events []any,
) (Appended, []any, error) {
	return l.append(ctx, registered.written, s, expected, meta, events)
}

// append stores events under those of some names that are theirs.
func (l *Log) append(ctx context.Context, names map[reflect.Type]string, s Stream, expected Revision, meta Meta,
	events []any) (Appended, []any, error) {
	sealed, proposed, err := l.propose(ctx, names, s, expected, meta, events)
	if err != nil {
		return Appended{}, nil, err
	}
	size := 0
	for _, p := range proposed {
		size += len(p.Data) + len(p.Meta)
	}
	if size > maxAppend {
		return Appended{}, nil, errTooLarge
	}
	done, err := l.Store.Append(ctx, s.String(), expected, proposed)
	if err != nil {
		return Appended{}, nil, fmt.Errorf("append to a %s stream: %w", s.Category, err)
	}
	return done, sealed, nil
}

// maxAppend is the most bytes of one append: below the 1 MiB that every version of the store takes.
const maxAppend = 1<<20 - 16<<10

var errTooLarge = &domain.Error{Kind: domain.TooLarge, Code: "too_large",
	Detail: "All texts of the request together are more than the log takes at once, about 750 KiB."}

// Read gives a stream's records from a revision on, that one included. An event whose name is not
// registered is an error: a state without it would be wrong.
func (l *Log) Read(ctx context.Context, s Stream, from Revision, dir Direction,
) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for raw, err := range l.unbroken(ctx, s, from, dir, false) {
			if err != nil {
				yield(Record{}, fmt.Errorf("read a %s stream: %w", s.Category, err))
				return
			}
			rec, err := registered.recordOf(s, raw)
			if err == nil && rec.Event == nil {
				err = fmt.Errorf("%w: %s", ErrUnknownEvent, raw.Type)
			}
			if !yield(rec, err) || err != nil {
				return
			}
		}
	}
}

// ReadOnly is Read for events of some types: others are passed over, and not even decoded. Whoever names a revision in
// the middle of a stream goes on from what they know: where the first event is another, it ends with ErrChanged.
func (l *Log) ReadOnly(ctx context.Context, s Stream, from Revision, dir Direction, types []any,
) iter.Seq2[Record, error] {
	wanted := NamesOf(types...)
	return func(yield func(Record, error) bool) {
		for raw, err := range l.unbroken(ctx, s, from, dir, from != 0 && from != Last) {
			if err != nil {
				yield(Record{}, fmt.Errorf("read a %s stream: %w", s.Category, err))
				return
			}
			if !wanted[raw.Type] {
				continue
			}
			rec, err := registered.recordOf(s, raw)
			if !yield(rec, err) || err != nil {
				return
			}
		}
	}
}

// unbroken reads a stream and ends with ErrChanged before an event whose revision does not follow that of the one
// before it: what was folded of such a read would be a wrong state. With exact the first must be the one at from.
func (l *Log) unbroken(ctx context.Context, s Stream, from Revision, dir Direction, exact bool) iter.Seq2[Raw, error] {
	step := Revision(1)
	if dir == Backwards {
		step = -1
	}
	return func(yield func(Raw, error) bool) {
		next := from
		for raw, err := range l.Store.Read(ctx, s.String(), from, dir, 0) {
			if err == nil && exact && raw.Revision != next {
				err = fmt.Errorf("%w: revision %d is missing", ErrChanged, next)
			}
			if !yield(raw, err) || err != nil {
				return
			}
			next, exact = raw.Revision+step, true
		}
	}
}

// One gives the record of a stream at a revision.
func (l *Log) One(ctx context.Context, s Stream, at Revision) (Record, error) {
	for raw, err := range l.Store.Read(ctx, s.String(), at, Forwards, 1) {
		if err != nil {
			return Record{}, err
		}
		return registered.recordOf(s, raw)
	}
	return Record{}, fmt.Errorf("no event %d in a %s stream", at, s.Category)
}

// Identity is the log's id; empty: it has none yet.
func (l *Log) Identity(ctx context.Context) (string, error) {
	ids, err := l.Identities(ctx)
	if err != nil || len(ids) == 0 {
		return "", err
	}
	return ids[0], nil
}

// Identities are the log's id and those that it had before it was restored or copied, the newest first.
func (l *Log) Identities(ctx context.Context) (ids []string, err error) {
	all, err := l.Identified(ctx)
	for _, i := range all {
		ids = append(ids, i.Log)
	}
	return ids, err
}

// Identified is all that the log says of itself, the newest first.
func (l *Log) Identified(ctx context.Context) (all []Identified, err error) {
	for rec, err := range l.Read(ctx, IdentityStream, Last, Backwards) {
		if err != nil {
			return nil, err
		}
		identified, ok := rec.Event.(Identified)
		if !ok {
			return nil, errIdentity
		}
		all = append(all, identified)
	}
	return all, nil
}

var errIdentity = errors.New("the log's identity stream holds something else")

// Meta is what is known of an event besides itself: who, why and as part of what.
type Meta struct {
	Org         string
	User        string
	Key         string // the API key
	Job         string // set where the program acted by itself
	Command     uuid.UUID
	Step        uuid.UUID
	Attempt     uuid.UUID // random, for each time that it was decided; of old events Nil
	Body        string    // HMAC of the command's body, base64
	Rule        string    // the rule that allowed it
	Correlation string    // the request
	At          time.Time
}
