package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"prelude/internal/eventlog"
)

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
func (d digests) add(e eventlog.Raw) {
	s := d[e.Stream]
	h := sha256.New()
	h.Write(s.sum[:])
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(e.Revision)))
	h.Write(e.ID[:])
	for _, part := range [][]byte{[]byte(e.Type), e.Data, e.Meta} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write(part)
	}
	if e.Binary {
		h.Write([]byte{1})
	}
	s.last = e.Revision
	h.Sum(s.sum[:0])
	d[e.Stream] = s
}

// restart begins a stream anew at an event: what there was before it, nobody can read.
func (d digests) restart(e eventlog.Raw) { d[e.Stream] = digest{last: e.Revision - 1} }

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

// digestOfTarget reads what the target has now, of each stream from where it begins in the source.
func (c *copying) digestOfTarget(ctx context.Context) ([]byte, error) {
	there := newDigests()
	end, err := head(ctx, c.to)
	if err != nil {
		return nil, err
	}
	for e, err := range c.to.ReadAll(ctx, 0, eventlog.Forwards, 0) {
		if err != nil {
			return nil, fmt.Errorf("read what was copied: %w", err)
		}
		c.gauge.reads("the target's digest", e.Position, end)
		if c.wants(e.Stream) && ours(e) && e.Revision >= c.begins[e.Stream] {
			there.add(e)
		}
	}
	return there.sum(), ctx.Err()
}
