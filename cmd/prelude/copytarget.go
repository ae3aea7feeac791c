package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"prelude/internal/eventlog"
)

var (
	errSameLog = errors.New("PRELUDE_COPY_FROM and PRELUDE_COPY_TO lead to the same log, or to copies of its files: " +
		"copy to another store")
	errNothing    = errors.New("PRELUDE_COPY_FROM: the log there is empty: there is nothing to copy")
	errNoneOfOurs = errors.New("PRELUDE_COPY_FROM: no log of Prelude is there: there is nothing to copy. " +
		"--all copies what other applications have there")
	errOthers = errors.New("the target holds events that are not of this log; nothing was copied. " +
		"Copy to an empty store")
)

// apart makes sure that the two stores hold different logs. Addresses do not tell. A log's first event does: a store
// gives it the time at which it took it, so it is not the same in a copy.
func (c *copying) apart(ctx context.Context) error {
	source, err := first(ctx, c.from)
	if err != nil {
		return fmt.Errorf("PRELUDE_COPY_FROM: %w", err)
	}
	if source.Stream == "" {
		return errNothing
	}
	target, err := first(ctx, c.to)
	if err != nil {
		return fmt.Errorf("PRELUDE_COPY_TO: %w", err)
	}
	if source.ID == target.ID && source.Position == target.Position && source.Created.Equal(target.Created) {
		return errSameLog
	}
	ids, err := c.identities(ctx)
	if err == nil && len(ids[0]) > 0 && len(ids[1]) > 0 && ids[0][0] == ids[1][0] {
		err = errSameLog // its first events may have been removed on one side
	}
	return err
}

// first is a log's first event; the zero value: it has none.
func first(ctx context.Context, store eventlog.Store) (eventlog.Raw, error) {
	for e, err := range store.ReadAll(ctx, 0, eventlog.Forwards, 1) {
		return e, err
	}
	return eventlog.Raw{}, nil
}

// identities are the ids of the source and of the target.
func (c *copying) identities(ctx context.Context) (ids [2][]string, err error) {
	for i, store := range []eventlog.Store{c.from, c.to} {
		if ids[i], err = (&eventlog.Log{Store: store}).Identities(ctx); err != nil {
			return ids, fmt.Errorf("read the id of the %s: %w", []string{"source", "target"}[i], err)
		}
	}
	return ids, nil
}

// survey notes what is in the target, and refuses what no earlier copy of this log has left there.
func (c *copying) survey(ctx context.Context) error {
	c.there, c.limited = map[string]place{}, map[string]bool{}
	end, err := head(ctx, c.to)
	if err != nil {
		return err
	}
	for e, err := range c.to.ReadAll(ctx, 0, eventlog.Forwards, 0) {
		if err != nil {
			return fmt.Errorf("read what is there: %w", err)
		}
		c.gauge.reads("what is there", e.Position, end)
		switch name, isLimits := limitsOf(e); {
		case isLimits && c.wants(name):
			c.limited[name] = true
		case !c.wants(e.Stream):
		case e.Type == tombstone: // a copy never writes one
			return fmt.Errorf("%w (the stream %s was deleted for good)", errOthers, printable(e.Stream))
		default:
			c.there[e.Stream] = place{e.Revision, e.ID}
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(c.there)+len(c.limited) == 0 {
		return c.refuseServed(ctx)
	}
	return c.refuseOthers(ctx)
}

// refuseServed refuses a target that has no events yet, and is another Prelude's already.
func (c *copying) refuseServed(ctx context.Context) error {
	ids, err := c.identities(ctx)
	if err == nil && len(ids[1]) > 0 &&
		!slices.ContainsFunc(ids[0], func(id string) bool { return slices.Contains(ids[1], id) }) {
		err = fmt.Errorf("%w (it has the id of another log)", errOthers)
	}
	return err
}

// refuseOthers holds the ends of the target's streams, and which of them have metadata, against the source.
func (c *copying) refuseOthers(ctx context.Context) error {
	ids, err := c.identities(ctx)
	if err != nil {
		return err
	}
	// A copy that came to its end has the source's id among its own.
	complete := len(ids[0]) > 0 && slices.Contains(ids[1], ids[0][0])
	unknown, limited, seen := maps.Clone(c.there), maps.Clone(c.limited), map[string]bool{}
	total, err := head(ctx, c.from)
	if err != nil {
		return err
	}
	for e, err := range c.from.ReadAll(ctx, 0, eventlog.Forwards, 0) {
		if err != nil {
			return fmt.Errorf("hold the target against the source: %w", err)
		}
		c.gauge.reads("what is there, beside the source", e.Position, total)
		name, isLimits := limitsOf(e)
		switch end, ok := c.there[e.Stream]; {
		case isLimits:
			delete(limited, name)
		case !c.wants(e.Stream):
		case e.Type == tombstone:
			delete(limited, e.Stream)
		case !ours(e):
		default:
			if !seen[e.Stream] && e.Revision > 0 {
				delete(limited, e.Stream) // they hide what stands for the events before
			}
			cut := complete && !seen[e.Stream] && end.revision < e.Revision // what was copied is gone from the source
			seen[e.Stream] = true
			stands := ok && end.revision < e.Revision && end.id == fillerID(e.Stream, end.revision)
			if cut || stands || end == (place{e.Revision, e.ID}) {
				delete(unknown, e.Stream)
			}
		}
	}
	if names := slices.Sorted(maps.Keys(unknown)); len(names) > 0 {
		return fmt.Errorf("%w (one is in the stream %s)", errOthers, printable(names[0]))
	}
	if names := slices.Sorted(maps.Keys(limited)); len(names) > 0 {
		return fmt.Errorf("%w (metadata of the stream %s)", errOthers, printable(names[0]))
	}
	return ctx.Err()
}
