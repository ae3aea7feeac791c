package eventstore

import (
	"encoding/binary"
	"math"
	"strconv"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"prelude/internal/eventlog"
)

// codec leaves answers to reads as they come, for the decoder; all else is done as gRPC does it.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(proto.Name)} }

// Unmarshal decodes a message from the wire.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if m, ok := v.(*message); ok {
		m.wire = data.Materialize()
		return nil
	}
	return c.CodecV2.Unmarshal(data, v)
}

// message is an answer to a read, a ReadResp.
type message struct{ wire []byte }

// The fields of a ReadResp that matter here; what else there is, is passed over.
const (
	fieldEvent      = 1
	fieldCheckpoint = 3
	fieldMissing    = 4
	fieldCaughtUp   = 8
)

// positionOf takes a position that a store has sent. Every one comes through here: of a checkpoint, of an event, of an
// append. Stores count in 63 bits. 2^64−1, their −1, means that there is none: a filtered subscription to which nothing
// has matched since the log's beginning is sent it as a checkpoint (24.6), a store before 22.6 sends it with each event
// of a stream. It is 0 here, before the first event. All else beyond 63 bits is no position.
func positionOf(v uint64) (eventlog.Position, error) {
	switch {
	case v == math.MaxUint64:
		return 0, nil
	case v > math.MaxInt64:
		return 0, errOdd
	}
	return eventlog.Position(v), nil
}

// decoder takes answers apart. The official client's own decoding costs several times as much, and
// ends the process on an event whose time it cannot read.
type decoder struct {
	stream string            // the last stream's name; events of one stream come together
	types  map[string]string // the types seen, which are few
}

// decode gives the field that a message holds, and of an event or a checkpoint what is in it.
func (d *decoder) decode(m *message) (field protowire.Number, raw eventlog.Raw, err error) {
	err = walk(m.wire, func(f protowire.Number, _ uint64, b []byte) error {
		field = f
		switch f {
		case fieldEvent:
			raw, err = d.event(b)
			return err
		case fieldCheckpoint:
			return walk(b, func(f protowire.Number, v uint64, _ []byte) error {
				if f == 1 {
					raw.Position, err = positionOf(v)
				}
				return err
			})
		}
		return nil
	})
	return field, raw, err
}

// event reads a ReadEvent. Its first field is the event; links are not asked for.
func (d *decoder) event(b []byte) (raw eventlog.Raw, err error) {
	err = walk(b, func(f protowire.Number, _ uint64, b []byte) error {
		if f != 1 {
			return nil
		}
		return walk(b, func(f protowire.Number, v uint64, b []byte) error {
			return d.recorded(&raw, f, v, b)
		})
	})
	if err == nil && (raw.Stream == "" || raw.ID == uuid.Nil) {
		err = errOdd
	}
	return raw, err
}

// recorded reads a field of a RecordedEvent.
func (d *decoder) recorded(raw *eventlog.Raw, f protowire.Number, v uint64, b []byte) error {
	switch f {
	case 1:
		return identify(&raw.ID, b)
	case 2:
		return walk(b, func(f protowire.Number, _ uint64, b []byte) error {
			if f == 3 {
				raw.Stream = d.name(b)
			}
			return nil
		})
	case 3:
		if v > math.MaxInt64 {
			return errOdd
		}
		raw.Revision = eventlog.Revision(v)
	case 5:
		var err error
		raw.Position, err = positionOf(v)
		return err
	case 6:
		return d.entry(raw, b)
	case 7:
		raw.Meta = b
	case 8:
		raw.Data = b
	}
	return nil
}

// entry reads one of the metadata that the store keeps of every event.
func (d *decoder) entry(raw *eventlog.Raw, b []byte) error {
	var key, value []byte
	err := walk(b, func(f protowire.Number, _ uint64, b []byte) error {
		if f == 1 {
			key = b
		} else {
			value = b
		}
		return nil
	})
	switch string(key) {
	case "type":
		raw.Type = d.kind(value)
	case "content-type":
		raw.Binary = string(value) != contentJSON
	case "created": // in ticks of 100 ns
		ticks, err := strconv.ParseInt(string(value), 10, 64)
		if err != nil {
			return errOdd
		}
		raw.Created = time.Unix(ticks/1e7, ticks%1e7*100).UTC()
	}
	return err
}

func (d *decoder) name(b []byte) string {
	if d.stream != string(b) {
		d.stream = string(b)
	}
	return d.stream
}

// mostTypes bounds what is kept: a store may hold anybody's events.
const mostTypes = 1000

func (d *decoder) kind(b []byte) string {
	if known, ok := d.types[string(b)]; ok {
		return known
	}
	if d.types == nil || len(d.types) >= mostTypes {
		d.types = map[string]string{}
	}
	s := string(b)
	d.types[s] = s
	return s
}

// identify reads a UUID, which was asked for in its structured form.
func identify(id *uuid.UUID, b []byte) error {
	return walk(b, func(f protowire.Number, _ uint64, b []byte) error {
		if f != 1 {
			return errOdd
		}
		return walk(b, func(f protowire.Number, v uint64, _ []byte) error {
			if f == 1 || f == 2 {
				binary.BigEndian.PutUint64(id[8*(f-1):], v)
			}
			return nil
		})
	})
}

// walk calls fn with each field of a message: v for numbers, b for bytes.
func walk(m []byte, fn func(f protowire.Number, v uint64, b []byte) error) error {
	for len(m) > 0 {
		f, kind, n := protowire.ConsumeTag(m)
		if n < 0 {
			return errOdd
		}
		m = m[n:]
		var v uint64
		var b []byte
		switch kind {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(m)
		case protowire.BytesType:
			b, n = protowire.ConsumeBytes(m)
		default:
			n = protowire.ConsumeFieldValue(f, kind, m)
		}
		if n < 0 {
			return errOdd
		}
		m = m[n:]
		if err := fn(f, v, b); err != nil {
			return err
		}
	}
	return nil
}
