package esnode

import (
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strconv"

	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protowire"
)

// event is what a caller wants appended.
type event struct {
	id   uuid.UUID
	kind string
	json bool
	data []byte
	meta []byte
}

// size is what an event counts towards the limits.
func (e *event) size() int { return len(e.data) + len(e.meta) + 2*len(e.kind) }

// record is an event with its place in the log. frame is the ReadResp message that readers get, so
// most of them are served without decoding it.
type record struct {
	pos    int64
	stream int64
	rev    int64
	frame  []byte
}

// fields are the parts of a frame; they alias it.
type fields struct {
	id      uuid.UUID
	stream  []byte
	rev     uint64
	pos     uint64
	kind    []byte
	content []byte
	created int64 // 100 ns ticks since 1970
	data    []byte
	meta    []byte
}

const (
	contentJSON   = "application/json"
	contentBinary = "application/octet-stream"
	sumSize       = 4
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errDamaged = errors.New("the log is damaged")
)

// encoder builds stored records; its buffers are used again, so a record is valid until the next.
type encoder struct{ inner, out []byte }

// largestKept is the largest buffer that is kept for the next record.
const largestKept = 1 << 20

// encode gives the stored form of an event: a checksum and the frame.
func (e *encoder) encode(stream string, rev, pos, created int64, ev *event) []byte {
	if cap(e.out) > largestKept {
		*e = encoder{}
	}
	e.inner = appendRecorded(e.inner[:0], stream, rev, pos, created, ev)
	size := protowire.SizeTag(1) + protowire.SizeBytes(len(e.inner)) +
		protowire.SizeTag(3) + protowire.SizeVarint(uint64(pos))
	b := append(e.out[:0], 0, 0, 0, 0)
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendBytes(b, e.inner)
	b = appendVarint(b, 3, uint64(pos))
	binary.BigEndian.PutUint32(b, crc32.Checksum(b[sumSize:], castagnoli))
	e.out = b
	return b
}

func appendRecorded(b []byte, stream string, rev, pos, created int64, ev *event) []byte {
	high, low := binary.BigEndian.Uint64(ev.id[:8]), binary.BigEndian.Uint64(ev.id[8:])
	size := protowire.SizeTag(1) + protowire.SizeVarint(high) +
		protowire.SizeTag(2) + protowire.SizeVarint(low)
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(protowire.SizeTag(1)+protowire.SizeBytes(size)))
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	b = appendVarint(b, 1, high)
	b = appendVarint(b, 2, low)
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(protowire.SizeTag(3)+protowire.SizeBytes(len(stream))))
	b = protowire.AppendTag(b, 3, protowire.BytesType)
	b = protowire.AppendString(b, stream)
	b = appendVarint(b, 3, uint64(rev))
	b = appendVarint(b, 4, uint64(pos))
	b = appendVarint(b, 5, uint64(pos))
	content := contentBinary
	if ev.json {
		content = contentJSON
	}
	var ticks [20]byte
	b = appendEntry(b, "type", ev.kind)
	b = appendEntry(b, "content-type", content)
	b = appendEntry(b, "created", strconv.AppendInt(ticks[:0], created, 10))
	b = protowire.AppendTag(b, 7, protowire.BytesType)
	b = protowire.AppendBytes(b, ev.meta)
	b = protowire.AppendTag(b, 8, protowire.BytesType)
	return protowire.AppendBytes(b, ev.data)
}

func appendVarint(b []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

func appendEntry[T string | []byte](b []byte, key string, value T) []byte {
	size := protowire.SizeTag(1) + protowire.SizeBytes(len(key)) +
		protowire.SizeTag(2) + protowire.SizeBytes(len(value))
	b = protowire.AppendTag(b, 6, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendString(b, key)
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(len(value)))
	return append(b, value...)
}

// end is the place after a record: where the next one is.
func (r *record) end() int64 { return r.pos + int64(len(r.frame)) }

// recordOf takes a row apart and checks it: its checksum, and that it is the record of its place.
func recordOf(row []driver.Value) (r record, stored []byte, err error) {
	r.pos, _ = row[0].(int64)
	r.stream, _ = row[1].(int64)
	r.rev, _ = row[2].(int64)
	stored, _ = row[3].([]byte)
	if r.frame, err = frameOf(stored); err == nil && !r.inPlace() {
		err = errDamaged
	}
	if err != nil {
		err = &damage{pos: r.pos, id: r.stream}
	}
	return r, stored, err
}

// inPlace says whether the frame is that of the row's position and revision.
func (r *record) inPlace() bool {
	rev, pos := int64(-1), int64(-1)
	err := walk(recordedOf(r.frame), func(field protowire.Number, v uint64, _ []byte) bool {
		switch field {
		case 3:
			rev = int64(v)
		case 4:
			pos = int64(v)
			return false // what the event holds comes after
		}
		return true
	})
	return err == nil && rev == r.rev && pos == r.pos
}

// frameOf checks a stored record and gives its frame.
func frameOf(stored []byte) ([]byte, error) {
	if len(stored) < sumSize {
		return nil, errDamaged
	}
	frame := stored[sumSize:]
	if binary.BigEndian.Uint32(stored) != crc32.Checksum(frame, castagnoli) {
		return nil, errDamaged
	}
	return frame, nil
}
