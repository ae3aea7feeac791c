package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"

	"prelude/internal/eventlog"
)

// copying copies one log's events into another, in the order of the whole log, so that what reads the copy sees
// nothing before what it follows from. Each append expects an exact revision: a copy that is begun again cannot
// write anything twice.
type copying struct {
	from, to eventlog.Store
	gauge    *gauge

	there      map[string]place        // where the target's streams end
	batch      []eventlog.Raw          // events of one stream that follow each other
	size       int                     // of the batch, in bytes
	meta       map[string]eventlog.Raw // the last metadata of each stream
	beheaded   map[string]eventlog.Revision
	digests    digests
	copied     int
	skipped    int
	tombstones int
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
	c.there, c.digests = map[string]place{}, newDigests()
	c.meta, c.beheaded = map[string]eventlog.Raw{}, map[string]eventlog.Revision{}
	err := c.read(ctx, c.to, func(e eventlog.Raw) error {
		c.there[e.Stream] = place{e.Revision, e.ID}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read what is there: %w", err)
	}
	if len(c.there) > 0 {
		if err := c.refuseOthers(ctx); err != nil {
			return err
		}
	}
	total, err := head(ctx, c.from)
	if err != nil {
		return err
	}
	for e, err := range c.from.ReadAll(ctx, 0, eventlog.Forwards, 0) {
		if err == nil {
			c.gauge.tell(int64(e.Position), int64(total))
			err = c.take(ctx, e)
		}
		if err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return c.flush(ctx)
}

// read gives the events of a log that are copied; passed over are the store's own, the log's id and the streams
// that cannot be copied.
func (c *copying) read(ctx context.Context, store eventlog.Store, fn func(eventlog.Raw) error) error {
	for e, err := range store.ReadAll(ctx, 0, eventlog.Forwards, 0) {
		if err == nil && ours(e) {
			err = fn(e)
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

func ours(e eventlog.Raw) bool {
	return !strings.HasPrefix(e.Stream, "$") && e.Stream != eventlog.IdentityStream.String() && e.Type != tombstone
}

func head(ctx context.Context, store eventlog.Store) (eventlog.Position, error) {
	return (&eventlog.Log{Store: store}).Head(ctx)
}

var errOthers = errors.New("the target holds events that are not of this log; nothing was copied. " +
	"Copy to an empty store")

// refuseOthers holds the ends of the target's streams against the source.
func (c *copying) refuseOthers(ctx context.Context) error {
	unknown := maps.Clone(c.there)
	err := c.read(ctx, c.from, func(e eventlog.Raw) error {
		if c.there[e.Stream] == (place{e.Revision, e.ID}) {
			delete(unknown, e.Stream)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("hold the target against the source: %w", err)
	}
	for name := range unknown {
		return fmt.Errorf("%w (one is in the stream %s)", errOthers, name)
	}
	return nil
}

// take passes one event of the source.
func (c *copying) take(ctx context.Context, e eventlog.Raw) error {
	if !ours(e) {
		if name, ok := strings.CutPrefix(e.Stream, metastream); ok {
			c.meta[name] = e
		} else if e.Type == tombstone {
			c.tombstones++
		}
		return nil
	}
	last := c.digests.last(e.Stream)
	if _, ok := c.beheaded[e.Stream]; ok {
		return nil
	}
	if e.Revision != last+1 {
		if last != eventlog.None {
			return fmt.Errorf("the source lacks events of %s between the revisions %d and %d", e.Stream, last, e.Revision)
		}
		c.beheaded[e.Stream] = e.Revision
		return nil
	}
	if !json.Valid(e.Data) {
		return fmt.Errorf("event %d of %s is no JSON: only logs of JSON are copied", e.Revision, e.Stream)
	}
	if err := c.digests.add(e); err != nil {
		return err
	}
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
		proposed[i] = eventlog.Proposed{ID: e.ID, Type: e.Type, Data: e.Data, Meta: e.Meta}
	}
	first := c.batch[0]
	_, err := c.to.Append(ctx, first.Stream, first.Revision-1, proposed)
	if errors.Is(err, eventlog.ErrMoved) || errors.Is(err, eventlog.ErrGone) {
		return fmt.Errorf("the target holds other events in the stream %s: copy to an empty store: %w", first.Stream, err)
	}
	if err != nil {
		return fmt.Errorf("copy %s: %w", first.Stream, err)
	}
	c.copied += len(c.batch)
	clear(c.batch)
	c.batch, c.size = c.batch[:0], 0
	return nil
}

// finish copies the limits of streams, which hide what they hid in the source, and gives the target an id.
func (c *copying) finish(ctx context.Context) (string, error) {
	for _, name := range slices.Sorted(maps.Keys(c.meta)) {
		e, last, same := c.meta[name], eventlog.None, false
		if _, copied := c.digests[name]; !copied {
			continue
		}
		for raw, err := range c.to.Read(ctx, e.Stream, eventlog.Last, eventlog.Backwards, 1) {
			if err != nil {
				return "", fmt.Errorf("read the limits of %s: %w", name, err)
			}
			last, same = raw.Revision, raw.ID == e.ID
		}
		if same {
			continue
		}
		proposed := []eventlog.Proposed{{ID: e.ID, Type: e.Type, Data: e.Data, Meta: e.Meta}}
		if _, err := c.to.Append(ctx, e.Stream, last, proposed); err != nil {
			return "", fmt.Errorf("copy the limits of %s: %w", name, err)
		}
	}
	for raw, err := range c.to.Read(ctx, eventlog.IdentityStream.String(), eventlog.Last, eventlog.Backwards, 1) {
		if err != nil {
			return "", fmt.Errorf("read the target's id: %w", err)
		}
		rec, err := eventlog.Decode(raw)
		if err != nil {
			return "", fmt.Errorf("read the target's id: %w", err)
		}
		if known, ok := rec.Event.(eventlog.Identified); ok {
			return known.Log, nil
		}
	}
	ids, err := (&eventlog.Log{Store: c.from}).Identities(ctx)
	if err != nil {
		return "", fmt.Errorf("read the source's id: %w", err)
	}
	slices.Reverse(ids)
	return identify(ctx, c.to, ids...)
}

// digests are a log's streams: where each ends, and a hash that goes on from event to event.
type digests map[string]digest

type digest struct {
	last eventlog.Revision
	sum  [sha256.Size]byte
}

func newDigests() digests { return digests{} }

func (d digests) last(stream string) eventlog.Revision {
	if s, ok := d[stream]; ok {
		return s.last
	}
	return eventlog.None
}

// add takes the next event of a stream in: all that is the same in a copy.
func (d digests) add(e eventlog.Raw) error {
	s := d[e.Stream]
	h := sha256.New()
	h.Write(s.sum[:])
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(e.Revision)))
	h.Write(e.ID[:])
	for _, part := range [][]byte{[]byte(e.Type), e.Data, e.Meta} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write(part)
	}
	s.last = e.Revision
	h.Sum(s.sum[:0])
	d[e.Stream] = s
	return nil
}

// sum is the digest of the whole log: of the streams' names and digests, in the names' order.
func (d digests) sum() []byte {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(d)) {
		s := d[name]
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(name))))
		h.Write([]byte(name))
		h.Write(s.sum[:])
	}
	return h.Sum(nil)
}
