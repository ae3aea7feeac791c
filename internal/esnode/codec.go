package esnode

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// codec sends records as they are stored, everything else as gRPC does.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(proto.Name)} }

// Marshal encodes a message for the wire.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if r, ok := v.(*record); ok {
		return mem.BufferSlice{mem.SliceBuffer(r.frame)}, nil
	}
	return c.CodecV2.Marshal(v)
}
