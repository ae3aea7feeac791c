package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"prelude/internal/eventlog"
)

// copying copies one log's events into another, in the order of the whole log, so that what reads the copy sees
// nothing before what it follows from. Each append expects an exact revision: a copy that is begun again cannot
// write anything twice.
type copying struct {
	from, to eventlog.Store
	all      bool // the streams of other applications too
	gauge    *gauge

	there      map[string]place             // where the target's streams end
	limited    map[string]bool              // the target's streams that have metadata
	batch      []eventlog.Raw               // events of one stream that follow each other
	size       int                          // of the batch, in bytes
	meta       map[string]eventlog.Raw      // the last metadata of each stream
	buried     map[string]bool              // streams that were deleted for good
	begins     map[string]eventlog.Revision // where streams begin of which earlier events were removed for good
	digests    digests
	copied     int
	skipped    int
	limitsKept int // metadata that the target has now, of all streams
	bare       int // of them those of streams without events
	own        int // events of the store's own streams, which are left out
	others     others
}

// place is a stream's last event.
type place struct {
	revision eventlog.Revision
	id       uuid.UUID
}

// What an append holds at most; every version of the store takes 1 MiB.
const (
	copyEvents = 500
	copyBytes  = 1<<20 - 64<<10
)

const (
	metastream = "$$"
	tombstone  = "$streamDeleted"
)

// copyAll copies what is not there yet.
func (c *copying) copyAll(ctx context.Context) error {
	c.digests, c.meta = newDigests(), map[string]eventlog.Raw{}
	c.buried, c.begins = map[string]bool{}, map[string]eventlog.Revision{}
	if err := c.survey(ctx); err != nil {
		return err
	}
	total, err := head(ctx, c.from)
	if err != nil {
		return err
	}
	for e, err := range c.from.ReadAll(ctx, 0, eventlog.Forwards, 0) {
		if err == nil {
			c.gauge.reads("events", e.Position, total)
			err = c.take(ctx, e)
		}
		if err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.flush(ctx); err != nil {
		return err
	}
	return c.something(ctx)
}

// something refuses a source that holds nothing but other applications' events.
func (c *copying) something(ctx context.Context) error {
	if c.others.events == 0 || len(c.digests)+len(c.meta)+len(c.buried) > 0 {
		return nil
	}
	ids, err := c.identities(ctx)
	if err == nil && len(ids[0]) == 0 {
		err = errNoneOfOurs
	}
	return err
}

// wants says that a stream is one to copy, as far as its name tells.
func (c *copying) wants(stream string) bool {
	_, err := eventlog.ParseStream(stream)
	return !kept(stream) && (c.all || err == nil)
}

// ours says that an event is one to copy: it is none of the store's own, of the log's id, or one that a copy made.
func ours(e eventlog.Raw) bool {
	return !kept(e.Stream) && e.Type != tombstone && !isFiller(e)
}

// kept says that a stream is the log's own, and stays with it.
func kept(stream string) bool {
	return strings.HasPrefix(stream, "$") || stream == eventlog.IdentityStream.String()
}

// limitsOf gives the stream that an event has metadata of.
func limitsOf(e eventlog.Raw) (stream string, ok bool) {
	stream, ok = strings.CutPrefix(e.Stream, metastream)
	return stream, ok && !kept(stream)
}

func head(ctx context.Context, store eventlog.Store) (eventlog.Position, error) {
	return (&eventlog.Log{Store: store}).Head(ctx)
}

// take passes one event of the source.
func (c *copying) take(ctx context.Context, e eventlog.Raw) error {
	name, isLimits := limitsOf(e)
	switch {
	case isLimits && c.wants(name):
		c.meta[name] = e
		return nil
	case isLimits:
		return nil // of a stream that is left, whose events are counted
	case strings.HasPrefix(e.Stream, "$"):
		c.own++
		return nil
	case !kept(e.Stream) && !c.wants(e.Stream):
		c.others.pass(e.Stream)
		return nil
	case e.Type == tombstone:
		c.buried[e.Stream] = true
		return nil
	case !ours(e):
		return nil
	}
	if e.Revision != c.digests.last(e.Stream)+1 {
		if err := c.bridge(ctx, e); err != nil {
			return err
		}
	}
	c.digests.add(e)
	if end, ok := c.there[e.Stream]; ok && e.Revision <= end.revision {
		c.skipped++
		return nil
	}
	return c.enqueue(ctx, e)
}

// enqueue adds an event to the batch, which is appended first if the event does not fit.
func (c *copying) enqueue(ctx context.Context, e eventlog.Raw) error {
	bytes := len(e.Data) + len(e.Meta) + len(e.Type)
	if n := len(c.batch); n > 0 && (c.batch[0].Stream != e.Stream || n == copyEvents || c.size+bytes > copyBytes) {
		if err := c.flush(ctx); err != nil {
			return err
		}
	}
	c.batch = append(c.batch, e)
	c.size += bytes
	return nil
}

func (c *copying) flush(ctx context.Context) error {
	if len(c.batch) == 0 {
		return nil
	}
	proposed := make([]eventlog.Proposed, len(c.batch))
	for i, e := range c.batch {
		proposed[i] = eventlog.Proposed{ID: e.ID, Type: e.Type, Data: e.Data, Meta: e.Meta, Binary: e.Binary}
	}
	if err := c.append(ctx, c.batch[0].Stream, c.batch[0].Revision, proposed); err != nil {
		return err
	}
	c.copied += len(c.batch)
	clear(c.batch)
	c.batch, c.size = c.batch[:0], 0
	return nil
}

// append writes events to the target, the first of which gets a revision.
func (c *copying) append(ctx context.Context, stream string, first eventlog.Revision, all []eventlog.Proposed) error {
	_, err := c.to.Append(ctx, stream, first-1, all)
	if errors.Is(err, eventlog.ErrMoved) || errors.Is(err, eventlog.ErrGone) {
		return fmt.Errorf("the target holds other events in the stream %s: copy to an empty store: %w",
			printable(stream), err)
	}
	if err != nil {
		return fmt.Errorf("copy %s: %w", printable(stream), err)
	}
	return nil
}
