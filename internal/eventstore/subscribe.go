package eventstore

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
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
	filter eventlog.Filter
	yield  func(eventlog.Signal, error) bool
	left   bool // the one who listened has gone
	lost   bool // an outage has been reported, and nothing has come since
	heard  bool // something has come since the last pause
}

func (u *subscription) run(ctx context.Context) {
	refusals := 0
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		u.heard = false
		err := u.connection(ctx)
		if u.left {
			return
		}
		if u.heard {
			pause, refusals = firstPause, 0
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
	}
	switch kindOf(err) {
	case refused, gone:
		return fmt.Errorf("subscribe: %w", err)
	}
	return nil
}

// connection subscribes once and hands on what comes, until the connection is lost.
func (u *subscription) connection(ctx context.Context) error {
	if u.at == eventlog.End {
		// From here on an outage cannot make "from now on" mean later.
		waiting, stop := u.patience(ctx)
		at, err := u.end(waiting)
		stop()
		if err != nil {
			return err
		}
		u.at = at
	}
	waiting, stop := u.patience(ctx)
	l, err := u.acquire(waiting)
	stop()
	if err != nil {
		return err
	}
	return u.receive(ctx, l, u.request(), func(f protowire.Number, raw *eventlog.Raw) error {
		if !u.pass(signalOf(f, raw)) {
			u.left = true
			return errEnough
		}
		return nil
	})
}

func (u *subscription) request() *api.ReadReq {
	req := request(0, eventlog.Forwards, ofAll(u.at))
	req.Options.CountOption = &api.ReadReq_Options_Subscription{
		Subscription: &api.ReadReq_Options_SubscriptionOptions{},
	}
	req.Options.FilterOption = &api.ReadReq_Options_Filter{Filter: filterOf(u.filter)}
	return req
}

// pass hands on a signal, unless its position was passed before; false says to stop.
func (u *subscription) pass(signal eventlog.Signal) bool {
	switch {
	case signal.Kind == 0:
		return true // the store has confirmed, or says something new
	case signal.Kind == eventlog.CaughtUp:
		signal.Position = u.at
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
