package wire

import (
	"context"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Batch is a call of BatchAppend.
type Batch struct {
	c    *Client
	Call api.Streams_BatchAppendClient
}

// Batch begins a call of BatchAppend that may last as long as ctx.
func (c *Client) Batch(ctx context.Context) *Batch {
	c.T.Helper()
	call, err := c.Streams.BatchAppend(ctx)
	if err != nil {
		c.T.Fatal(err)
	}
	return &Batch{c, call}
}

// BatchOptions says what a batch's append expects of a stream.
func BatchOptions(stream string, expected int64) *api.BatchAppendReq_Options {
	o := &api.BatchAppendReq_Options{StreamIdentifier: Stream(stream)}
	none := &emptypb.Empty{}
	switch expected {
	case NoStream:
		o.ExpectedStreamPosition = &api.BatchAppendReq_Options_NoStream{NoStream: none}
	case Any:
		o.ExpectedStreamPosition = &api.BatchAppendReq_Options_Any{Any: none}
	case Exists:
		o.ExpectedStreamPosition = &api.BatchAppendReq_Options_StreamExists{StreamExists: none}
	default:
		o.ExpectedStreamPosition = &api.BatchAppendReq_Options_StreamPosition{
			StreamPosition: uint64(expected),
		}
	}
	return o
}

// BatchMessages gives an event for each id's name.
func BatchMessages(ids ...string) (all []*api.BatchAppendReq_ProposedMessage) {
	for _, i := range ids {
		m := Message(ID(i), "tested", `{"id":"`+i+`"}`)
		all = append(all, &api.BatchAppendReq_ProposedMessage{
			Id: m.Id, Metadata: m.Metadata, CustomMetadata: m.CustomMetadata, Data: m.Data,
		})
	}
	return all
}

// Send sends a message of an append; options come with its first, final says that it is the last.
func (b *Batch) Send(id *shared.UUID, o *api.BatchAppendReq_Options, final bool, ids ...string) {
	b.c.T.Helper()
	b.SendMessages(id, o, final, BatchMessages(ids...)...)
}

// SendMessages is Send with events of one's own making.
func (b *Batch) SendMessages(
	id *shared.UUID, o *api.BatchAppendReq_Options, final bool,
	messages ...*api.BatchAppendReq_ProposedMessage,
) {
	b.c.T.Helper()
	err := b.Call.Send(&api.BatchAppendReq{
		CorrelationId: id, Options: o, ProposedMessages: messages, IsFinal: final,
	})
	if err != nil {
		_, err = b.Call.Recv()
		b.c.T.Fatalf("the call has ended: %v", err)
	}
}

// Next gives the next answer.
func (b *Batch) Next() *api.BatchAppendResp {
	b.c.T.Helper()
	resp, err := b.Call.Recv()
	if err != nil {
		b.c.T.Fatalf("no answer came: %v", err)
	}
	return resp
}
