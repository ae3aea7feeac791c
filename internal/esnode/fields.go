package esnode

import (
	"encoding/binary"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// walk calls fn with each field of a message: v for numbers, b for bytes.
func walk(m []byte, fn func(field protowire.Number, v uint64, b []byte) bool) error {
	for len(m) > 0 {
		field, kind, n := protowire.ConsumeTag(m)
		if n < 0 {
			return errDamaged
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
			n = -1
		}
		if n < 0 {
			return errDamaged
		}
		m = m[n:]
		if !fn(field, v, b) {
			return nil
		}
	}
	return nil
}

// first gives the bytes of the first occurrence of a field.
func first(m []byte, field protowire.Number) (found []byte) {
	_ = walk(m, func(f protowire.Number, _ uint64, b []byte) bool {
		if f == field {
			found = b
		}
		return f != field
	})
	return found
}

// recordedOf gives the RecordedEvent within a frame.
func recordedOf(frame []byte) []byte { return first(first(frame, 1), 1) }

// streamOf gives the name of a frame's stream without decoding the rest.
func streamOf(frame []byte) []byte { return first(first(recordedOf(frame), 2), 3) }

// decode takes a frame apart.
func decode(frame []byte) (f fields, err error) {
	err = walk(recordedOf(frame), func(field protowire.Number, v uint64, b []byte) bool {
		switch field {
		case 1:
			_ = walk(first(b, 1), func(field protowire.Number, v uint64, _ []byte) bool {
				if field == 1 || field == 2 {
					binary.BigEndian.PutUint64(f.id[8*(field-1):], v)
				}
				return true
			})
		case 2:
			f.stream = first(b, 3)
		case 3:
			f.rev = v
		case 5:
			f.pos = v
		case 6:
			err = f.entry(first(b, 1), first(b, 2))
			return err == nil
		case 7:
			f.meta = b
		case 8:
			f.data = b
		}
		return true
	})
	return f, err
}

func (f *fields) entry(key, value []byte) (err error) {
	switch string(key) {
	case "type":
		f.kind = value
	case "content-type":
		f.content = value
	case "created":
		f.created, err = strconv.ParseInt(string(value), 10, 64)
	}
	return err
}
