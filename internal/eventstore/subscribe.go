package eventstore

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"

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
	lost   bool // an outage has been reported, and nothing has come since
	heard  bool // something has come since the last pause
}

func (u *subscription) run(ctx context.Context) {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		u.heard = false
		more, err := u.connection(ctx)
		if !more {
			return
		}
		if u.heard {
			pause = firstPause
		}
		if err = u.ending(ctx, err); err != nil {
			u.yield(eventlog.Signal{}, err)
			return
		}
		if !u.lost && !u.give(eventlog.Signal{Kind: eventlog.Lost}) {
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
	case refused, gone, missing:
		return fmt.Errorf("subscribe: %w", err)
	}
	return nil
}

// connection subscribes once and hands on what comes, until the connection is lost. Each has its
// own pump, so nothing of an earlier one can come late.
func (u *subscription) connection(ctx context.Context) (more bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if u.at == eventlog.End {
		// From here on an outage cannot make "from now on" mean later.
		waiting, stop := u.patience(ctx)
		at, err := u.end(waiting)
		stop()
		if err != nil {
			return true, err
		}
		u.at = at
	}
	waiting, stop := u.patience(ctx)
	c, err := u.acquire(waiting)
	stop()
	if err != nil {
		return true, err
	}
	p := newPump[eventlog.Signal]()
	from := u.at
	u.spawn(c, func() {
		p.end(c.within(ctx, func(ctx context.Context) error {
			return listen(ctx, c, from, u.filter, p)
		}))
	})
	var items []eventlog.Signal
	for {
		var ended bool
		if items, ended, err = p.take(ctx, items); ended {
			break
		}
		for i := range items {
			if !u.pass(&items[i]) {
				return false, nil
			}
		}
	}
	u.judge(c, err)
	return true, err
}

// pass hands on a signal, unless its position was passed before; false says to stop.
func (u *subscription) pass(signal *eventlog.Signal) bool {
	u.heard, u.lost = true, false
	switch {
	case signal.Kind == eventlog.CaughtUp:
		signal.Position = u.at
	case signal.Position <= u.at:
		return true
	default:
		u.at = signal.Position
	}
	return u.give(*signal)
}

func (u *subscription) give(signal eventlog.Signal) bool { return u.yield(signal, nil) }

// listen subscribes and pumps until the connection is lost.
func listen(
	ctx context.Context, c *client, from eventlog.Position, filter eventlog.Filter,
	to *pump[eventlog.Signal],
) error {
	sub, err := c.raw.SubscribeToAll(ctx, esdb.SubscribeToAllOptions{
		From: position(from), Filter: filterOf(filter),
		MaxSearchWindow: window, CheckpointInterval: interval,
	})
	if err != nil {
		return err
	}
	defer func() { _ = sub.Close() }()
	for {
		signal, err := signalOf(sub.Recv())
		if err != nil {
			return err
		}
		if signal.Kind != 0 && !to.put(ctx, signal, len(signal.Raw.Data)+len(signal.Raw.Meta)) {
			return ctx.Err()
		}
	}
}

func signalOf(e *esdb.SubscriptionEvent) (eventlog.Signal, error) {
	switch {
	case e.SubscriptionDropped != nil:
		return eventlog.Signal{}, fmt.Errorf("subscription dropped: %w", e.SubscriptionDropped.Error)
	case e.EventAppeared != nil:
		raw := rawOf(e.EventAppeared.OriginalEvent())
		if strings.HasPrefix(raw.Type, "$") {
			return eventlog.Signal{Kind: eventlog.Checkpoint, Position: raw.Position}, nil
		}
		return eventlog.Signal{Kind: eventlog.Event, Raw: raw, Position: raw.Position}, nil
	case e.CheckPointReached != nil:
		at := eventlog.Position(e.CheckPointReached.Commit)
		return eventlog.Signal{Kind: eventlog.Checkpoint, Position: at}, nil
	case e.CaughtUp != nil:
		return eventlog.Signal{Kind: eventlog.CaughtUp}, nil
	}
	return eventlog.Signal{}, nil
}

func filterOf(f eventlog.Filter) *esdb.SubscriptionFilter {
	if len(f.Prefixes) > 0 {
		return &esdb.SubscriptionFilter{Type: esdb.StreamFilterType, Prefixes: f.Prefixes}
	}
	return &esdb.SubscriptionFilter{Type: esdb.StreamFilterType, Regex: `^[^$]`}
}

func sleepUntil(ctx, closed context.Context, d time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(closed, cancel)()
	sleep(ctx, d)
}
