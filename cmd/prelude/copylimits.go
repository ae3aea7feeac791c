package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/google/uuid"

	"prelude/internal/esnode"
	"prelude/internal/eventlog"
)

// A filler stands in the target for an event that was removed for good from the source, so that those after it keep
// their revisions. The stream's $tb hides it from those who read the stream, its type from those who read all.
const fillerType = "$filler"

// standIns are the names of what a copy makes itself: whoever makes it again makes the same.
var standIns = uuid.MustParse("6f4f0c5e-58a1-4b0a-9a35-0d1f6a3c7b52")

func fillerID(stream string, at eventlog.Revision) uuid.UUID {
	return uuid.NewSHA1(standIns, fmt.Appendf(nil, "%s@%d", stream, at))
}

func isFiller(e eventlog.Raw) bool {
	return e.Type == fillerType && e.ID == fillerID(e.Stream, e.Revision)
}

// deleted as a revision is before none that there can be: what begins there shows nothing.
const deleted eventlog.Revision = math.MaxInt64

// bridge makes good for the events that the source lacks before one of a stream. They must be such as nobody could
// read there any more.
func (c *copying) bridge(ctx context.Context, e eventlog.Raw) error {
	last := c.digests.last(e.Stream)
	shown, err := c.shown(ctx, e.Stream)
	if err != nil {
		return err
	}
	if e.Revision <= last || shown < e.Revision {
		return fmt.Errorf("the source lacks events of %s between the revisions %d and %d", printable(e.Stream), last,
			e.Revision)
	}
	if err := c.flush(ctx); err != nil {
		return err
	}
	c.begins[e.Stream] = e.Revision
	c.digests.restart(e)
	if end, ok := c.there[e.Stream]; ok {
		last = max(last, end.revision)
	}
	if last+1 >= e.Revision {
		return nil
	}
	// First what hides them: a copy may be cut off at any moment.
	if err := c.limit(ctx, e.Stream, madeUp(e.Stream, eventlog.Raw{}, esnode.Raised(nil, int64(e.Revision)))); err != nil {
		return err
	}
	return c.fill(ctx, e.Stream, last+1, e.Revision)
}

// shown is the first revision of a stream that its readers are given in the source.
func (c *copying) shown(ctx context.Context, stream string) (eventlog.Revision, error) {
	for e, err := range c.from.Read(ctx, stream, 0, eventlog.Forwards, 0) {
		switch {
		case errors.Is(err, eventlog.ErrGone):
			return deleted, nil
		case err != nil:
			return 0, fmt.Errorf("read where %s begins: %w", printable(stream), err)
		case !isFiller(e):
			return e.Revision, nil
		}
	}
	return deleted, nil
}

// fill appends fillers from a revision on, up to before another.
func (c *copying) fill(ctx context.Context, stream string, from, to eventlog.Revision) error {
	for from < to {
		n := min(to-from, copyEvents)
		all := make([]eventlog.Proposed, n)
		for i := range n {
			all[i] = eventlog.Proposed{ID: fillerID(stream, from+i), Type: fillerType, Data: []byte("{}")}
		}
		if err := c.append(ctx, stream, from, all); err != nil {
			return err
		}
		from += n
	}
	return nil
}

// finish copies the metadata of streams, which hide what they hid in the source, and gives the target an id.
func (c *copying) finish(ctx context.Context) (string, error) {
	names := map[string]bool{}
	for name := range c.meta {
		names[name] = true
	}
	for name := range c.begins {
		names[name] = true
	}
	maps.Copy(names, c.buried)
	for i, name := range slices.Sorted(maps.Keys(names)) {
		c.gauge.tell("metadata", int64(i+1), int64(len(names)))
		p, err := c.limits(ctx, name)
		if err == nil {
			err = c.limit(ctx, name, p)
		}
		if err != nil {
			return "", err
		}
		c.limitsKept++
		if _, copied := c.digests[name]; !copied {
			c.bare++
		}
	}
	ids, err := c.identities(ctx)
	if err != nil {
		return "", err
	}
	if len(ids[1]) > 0 {
		return ids[1][0], nil
	}
	slices.Reverse(ids[0])
	return identify(ctx, c.to, ids[0]...)
}

// limits are the metadata that a stream is to have in the target: the source's, and what hides there what they do not.
func (c *copying) limits(ctx context.Context, name string) (eventlog.Proposed, error) {
	e, before := c.meta[name], c.begins[name]
	switch {
	case c.buried[name]:
		before = deleted
	case bytes.Contains(e.Data, []byte(`"$maxAge"`)): // in the target all events are young
		shown, err := c.shown(ctx, name)
		if err != nil {
			return eventlog.Proposed{}, err
		}
		before = max(before, min(shown, c.digests.last(name)+1))
	}
	data := e.Data
	if before > 0 || !json.Valid(data) {
		data = esnode.Raised(data, int64(before))
	}
	if bytes.Equal(data, e.Data) {
		return eventlog.Proposed{ID: e.ID, Type: e.Type, Data: e.Data, Meta: e.Meta, Binary: e.Binary}, nil
	}
	return madeUp(name, e, data), nil
}

// madeUp are a stream's metadata that are not in the source, made of those that are.
func madeUp(name string, e eventlog.Raw, data []byte) eventlog.Proposed {
	id := uuid.NewSHA1(standIns, fmt.Appendf(nil, "%s%s %s %s", metastream, name, e.ID, data))
	return eventlog.Proposed{ID: id, Type: "$metadata", Data: data, Meta: e.Meta}
}

// limit writes a stream's metadata to the target, unless they are there. A store brings a stream that was deleted
// softly back with metadata of its own, which come after those that it was given; then they are written once more.
func (c *copying) limit(ctx context.Context, name string, p eventlog.Proposed) error {
	for range 3 {
		last := eventlog.None
		for e, err := range c.to.Read(ctx, metastream+name, eventlog.Last, eventlog.Backwards, 1) {
			if err != nil {
				return fmt.Errorf("read the metadata of %s in the target: %w", printable(name), err)
			}
			if e.ID == p.ID {
				return nil
			}
			last = e.Revision
		}
		if _, err := c.to.Append(ctx, metastream+name, last, []eventlog.Proposed{p}); err != nil {
			return fmt.Errorf("copy the metadata of %s: %w", printable(name), err)
		}
	}
	return fmt.Errorf("the target does not keep the metadata of %s", printable(name))
}
