package storetest

import (
	"fmt"

	"google.golang.org/grpc/mem"
)

// raw passes messages on as the bytes that they are. Its name is that of the codec whose bytes these are.
type raw struct{}

// Name is that of the codec which clients and stores use.
func (raw) Name() string { return "proto" }

// Marshal takes a pointer to the bytes.
func (raw) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("a %T is passed on", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(*b)}, nil
}

// Unmarshal gives the bytes.
func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("a %T is asked for", v)
	}
	*b = data.Materialize()
	return nil
}
