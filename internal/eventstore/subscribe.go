package eventstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protowire"

	"prelude/internal/eventlog"
)

// A checkpoint comes every window × interval events that the store looks at.
const (
	window   = 512
	interval = 8
)

// Subscribe implements eventlog.Store. Events of types that begin with "$", the store's own, are
// passed over; a checkpoint stands in for them.
func (s *Store) Subscribe(
	ctx context.Context, after eventlog.Position, filter eventlog.Filter,
) iter.Seq2[eventlog.Signal, error] {
	return func(yield func(eventlog.Signal, error) bool) {
		sub := &subscription{Store: s, at: after, filter: filter, yield: yield}
		sub.run(ctx)
	}
}

// subscription is how far one has come, over all connections.
type subscription struct {
	*Store
	at     eventlog.Position // the last position passed
	head   eventlog.Position // the log's end, as it was just before the subscription was made
	end    eventlog.Position // the log's end, as it was when last asked for
	filter eventlog.Filter
	yield  func(eventlog.Signal, error) bool
	left   bool // the one who listened has gone
	lost   bool // an outage has been reported, and nothing has come since
	heard  bool // something has come since the last pause
	denied bool // the store has refused it, and has not confirmed it since

	last    seenEvent // the newest event that was given, or stood at the log's end
	rewound time.Time // since when the log does not hold what was read of it; zero: it does
}

// seenEvent is an event by which a log is known again.
type seenEvent struct {
	id       uuid.UUID
	stream   string
	revision eventlog.Revision
	at       eventlog.Position
}

// note keeps an event by which the log is known again. The store's own go at any time.
func (u *subscription) note(raw *eventlog.Raw) {
	if raw.Position > u.last.at && !strings.HasPrefix(raw.Stream, "$") {
		u.last = seenEvent{raw.ID, raw.Stream, raw.Revision, raw.Position}
	}
}

// rewoundWithin is how long a log may seem to have lost its end: a follower may be behind the leader that was read
// before.
const rewoundWithin = 5 * time.Second

func (u *subscription) run(ctx context.Context) {
	defer u.withdraw()
	refusals := 0
	for pause := u.address.firstPause; ; pause = min(2*pause, longestPause) {
		u.heard = false
		err := u.connection(ctx)
		if u.left {
			return
		}
		if u.heard {
			pause, refusals = u.address.firstPause, 0
		}
		// What cannot be read now cannot be read at the next attempt either.
		if unreadable(err) {
			refusals++
		}
		if refusals == mostRefusals {
			u.yield(eventlog.Signal{}, fmt.Errorf("subscribe: %w", err))
			return
		}
		if err = u.ending(ctx, err); err != nil {
			u.yield(eventlog.Signal{}, err)
			return
		}
		if !u.lost && !u.yield(eventlog.Signal{Kind: eventlog.Lost}, nil) {
			return
		}
		u.lost = true
		sleepUntil(ctx, u.closed, jitter(pause))
	}
}

// ending says whether an error ends the subscription.
func (u *subscription) ending(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case u.closed.Err() != nil:
		return unavailable(ctx, errClosed)
	case errors.Is(err, eventlog.ErrRewound):
		if u.rewound.IsZero() {
			u.rewound = time.Now()
		}
		if time.Since(u.rewound) < rewoundWithin {
			return nil
		}
		return err
	}
	switch kindOf(err) {
	case refused, gone:
		return fmt.Errorf("subscribe: %w", err)
	case denied, elsewhere:
		if !u.denied {
			u.denied = true
			u.health.refusing.Add(1)
		}
		u.health.bad(following, u.because(err, false))
	}
	return nil
}

// confirmed notes that the store has taken the subscription.
func (u *subscription) confirmed() {
	if u.denied {
		u.denied = false
		u.health.refusing.Add(-1)
	}
	u.health.good(following)
}

// withdraw takes the fault back that a subscription has noted which ends unconfirmed, unless others wait too: perhaps
// nobody subscribes again, who would learn that the fault is over.
func (u *subscription) withdraw() {
	if u.denied && u.health.refusing.Add(-1) == 0 {
		u.health.good(following)
	}
}

// connection subscribes once and hands on what comes, until the connection is lost.
func (u *subscription) connection(ctx context.Context) error {
	waiting, stop := u.patience(ctx)
	defer stop()
	l, err := u.acquire(waiting)
	if err != nil {
		return err
	}
	if err := u.prepare(waiting, l); err != nil {
		return err
	}
	conn, leave, err := l.join()
	if err != nil {
		return err
	}
	call, cancel := context.WithCancel(ctx)
	defer cancel()
	silent := time.AfterFunc(confirmWithin, cancel)
	defer silent.Stop()
	err = u.receive(call, l, conn, u.request(), func(f protowire.Number, raw *eventlog.Raw) error {
		silent.Stop() // the first is the confirmation; after it there may be nothing to say for long
		u.confirmed()
		return u.take(ctx, l, f, raw)
	})
	// Who leaves by itself breaks nothing: others are on the same connection.
	broken := ctx.Err() == nil && !u.left && (kindOf(err) == transport || call.Err() != nil)
	if leave(broken); broken {
		l.doubt()
	}
	return err
}

// confirmWithin is how long a store may take to confirm a subscription.
const confirmWithin = 5 * time.Second

// prepare asks, on the node that will be subscribed to, for the log's end, before the subscription is made: when that
// has caught up, it has passed all up to there. From then on, too, an outage cannot make "from now on" mean later. A
// log that ends before what was read of it, or has something else there, is not the one that was read.
func (u *subscription) prepare(ctx context.Context, l *link) (err error) {
	newest, err := u.newestOn(ctx, l)
	if err != nil {
		return err
	}
	u.head = newest.Position
	switch {
	case u.at == eventlog.End:
		u.at = u.head
	case u.head < u.at:
		return eventlog.ErrRewound
	case u.last.stream != "":
		if err := u.recognise(ctx, l); err != nil {
			return err
		}
	}
	u.rewound = time.Time{}
	u.note(&newest)
	return nil
}

// recognise looks for the newest event that is known. A stream that was deleted or cut tells nothing: it loses events
// only after something was set in its metadata. Nor does one that may not be read.
func (u *subscription) recognise(ctx context.Context, l *link) error {
	raw, err := u.firstOn(ctx, l, request(1, eventlog.Forwards, ofStream(u.last.stream, u.last.revision)))
	switch kind := kindOf(err); {
	case kind == gone, kind == denied:
		return nil
	case err != nil || raw.Revision == u.last.revision && raw.ID == u.last.id:
		return err
	case raw.ID != uuid.Nil && raw.Revision == u.last.revision:
		return eventlog.ErrRewound
	}
	raw, err = u.firstOn(ctx, l, request(1, eventlog.Backwards, ofStream("$$"+u.last.stream, eventlog.Last)))
	if kind := kindOf(err); kind == gone || kind == denied || raw.ID != uuid.Nil {
		return nil
	}
	if err == nil {
		err = eventlog.ErrRewound
	}
	return err
}

func (u *subscription) request() *api.ReadReq {
	req := request(0, eventlog.Forwards, ofAll(u.at))
	req.Options.CountOption = &api.ReadReq_Options_Subscription{
		Subscription: &api.ReadReq_Options_SubscriptionOptions{},
	}
	req.Options.FilterOption = &api.ReadReq_Options_Filter{Filter: filterOf(u.filter)}
	return req
}

// take hands on what the store says.
func (u *subscription) take(ctx context.Context, l *link, f protowire.Number, raw *eventlog.Raw) error {
	signal := signalOf(f, raw)
	switch signal.Kind {
	case eventlog.CaughtUp:
		signal.Position = max(u.at, u.head)
	case eventlog.Checkpoint:
		if f == fieldCheckpoint && signal.Position > max(u.head, u.end) {
			// Nothing but the store's word stands for it, and whatever lies before it would be passed over for good.
			asking, stop := u.patience(ctx)
			defer stop()
			var err error
			if u.end, err = u.endOn(asking, l); err != nil {
				return err
			}
			if signal.Position > u.end {
				u.logger.Warn("a checkpoint of the event store lies beyond its end, and is not heeded")
				return nil
			}
		}
	case eventlog.Event:
		u.note(raw)
	}
	if !u.pass(signal) {
		u.left = true
		return errEnough
	}
	return nil
}

// pass hands on a signal, unless its position was passed before; false says to stop.
func (u *subscription) pass(signal eventlog.Signal) bool {
	switch {
	case signal.Kind == 0:
		return true // the store has confirmed, or says something new
	case signal.Kind == eventlog.CaughtUp:
		u.at = signal.Position
	case signal.Position <= u.at:
		return true
	default:
		u.at = signal.Position
	}
	u.heard, u.lost = true, false
	return u.yield(signal, nil)
}

func signalOf(f protowire.Number, raw *eventlog.Raw) eventlog.Signal {
	switch {
	case f == fieldCaughtUp:
		return eventlog.Signal{Kind: eventlog.CaughtUp}
	case f == fieldCheckpoint, f == fieldEvent && strings.HasPrefix(raw.Type, "$"):
		return eventlog.Signal{Kind: eventlog.Checkpoint, Position: raw.Position}
	case f == fieldEvent:
		return eventlog.Signal{Kind: eventlog.Event, Raw: *raw, Position: raw.Position}
	}
	return eventlog.Signal{}
}

func filterOf(f eventlog.Filter) *api.ReadReq_Options_FilterOptions {
	streams := &api.ReadReq_Options_FilterOptions_Expression{Prefix: f.Prefixes}
	if len(f.Prefixes) == 0 {
		streams.Regex = `^[^$]`
	}
	return &api.ReadReq_Options_FilterOptions{
		Filter: &api.ReadReq_Options_FilterOptions_StreamIdentifier{StreamIdentifier: streams},
		Window: &api.ReadReq_Options_FilterOptions_Max{Max: window},

		CheckpointIntervalMultiplier: interval,
	}
}

func sleepUntil(ctx, closed context.Context, d time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(closed, cancel)()
	sleep(ctx, d)
}
