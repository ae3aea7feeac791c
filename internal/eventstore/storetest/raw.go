package storetest

import (
	"fmt"

	"google.golang.org/grpc/mem"
)

// raw passes messages on as the bytes that they are. Its name is that of the codec whose bytes these are.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("a %T is passed on", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(*b)}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("a %T is asked for", v)
	}
	*b = data.Materialize()
	return nil
}
