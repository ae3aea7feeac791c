package wire

import (
	"errors"
	"io"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// What an append may expect of a stream instead of an exact revision.
const (
	NoStream = -1
	Any      = -2
	Exists   = -4
)

// Message is an event to append, with JSON as its data.
func Message(id uuid.UUID, kind, data string) *api.AppendReq_ProposedMessage {
	return &api.AppendReq_ProposedMessage{
		Id: Structured(id), Data: []byte(data), CustomMetadata: []byte(`{"by":"test"}`),
		Metadata: map[string]string{"type": kind, "content-type": "application/json"},
	}
}

// Answer is how an append, a delete or a tombstone ended.
type Answer struct {
	Rev, Pos int64 // -1 and 0 where the answer names none
	Wrong    *api.AppendResp_WrongExpectedVersion
	Err      error
	Trailers metadata.MD
}

// Trailer gives a trailer's one value, "" where it is not there.
func (a Answer) Trailer(key string) string {
	if v := a.Trailers.Get(key); len(v) == 1 {
		return v[0]
	}
	return ""
}

// Exception is what clients of other languages tell errors by.
func (a Answer) Exception() string { return a.Trailer("exception") }

// Append appends an event for each id's name, whose data hold the name.
func (c *Client) Append(stream string, expected int64, ids ...string) Answer {
	c.T.Helper()
	var messages []*api.AppendReq_ProposedMessage
	for _, i := range ids {
		messages = append(messages, Message(ID(i), "tested", `{"id":"`+i+`"}`))
	}
	return c.Send(stream, expected, messages...)
}

// Send appends events. The store must take the whole request, also where it refuses it.
func (c *Client) Send(
	stream string, expected int64, messages ...*api.AppendReq_ProposedMessage,
) (a Answer) {
	c.T.Helper()
	call, err := c.Streams.Append(Within(c.T), grpc.Trailer(&a.Trailers))
	if err != nil {
		c.T.Fatal(err)
	}
	err = call.Send(&api.AppendReq{Content: &api.AppendReq_Options_{
		Options: appendOptions(stream, expected),
	}})
	for _, m := range messages {
		err = errors.Join(err, call.Send(&api.AppendReq{
			Content: &api.AppendReq_ProposedMessage_{ProposedMessage: m},
		}))
	}
	if err != nil && !errors.Is(err, io.EOF) {
		c.T.Fatalf("send an append: %v", err)
	}
	if err != nil {
		c.T.Error("the store did not take the whole request")
	}
	resp, err := call.CloseAndRecv()
	a.Err, a.Wrong = err, resp.GetWrongExpectedVersion()
	a.Rev, a.Pos = -1, int64(resp.GetSuccess().GetPosition().GetCommitPosition())
	if s, ok := resp.GetSuccess().GetCurrentRevisionOption().(*api.AppendResp_Success_CurrentRevision); ok {
		a.Rev = int64(s.CurrentRevision)
	}
	return a
}

func appendOptions(stream string, expected int64) *api.AppendReq_Options {
	o := &api.AppendReq_Options{StreamIdentifier: Stream(stream)}
	switch expected {
	case NoStream:
		o.ExpectedStreamRevision = &api.AppendReq_Options_NoStream{NoStream: Empty}
	case Any:
		o.ExpectedStreamRevision = &api.AppendReq_Options_Any{Any: Empty}
	case Exists:
		o.ExpectedStreamRevision = &api.AppendReq_Options_StreamExists{StreamExists: Empty}
	default:
		o.ExpectedStreamRevision = &api.AppendReq_Options_Revision{Revision: uint64(expected)}
	}
	return o
}

// Must appends and expects success.
func (c *Client) Must(stream string, expected int64, ids ...string) Answer {
	c.T.Helper()
	a := c.Append(stream, expected, ids...)
	if a.Err != nil || a.Wrong != nil {
		c.T.Fatalf("append to %s at %d: %v %v", stream, expected, a.Err, a.Wrong)
	}
	return a
}

// SetMeta writes a stream's metadata, at whatever revision they are.
func (c *Client) SetMeta(stream, data string) {
	c.T.Helper()
	a := c.Send("$$"+stream, Any, Message(uuid.New(), "$metadata", data))
	if a.Err != nil || a.Wrong != nil {
		c.T.Fatalf("set metadata: %v %v", a.Err, a.Wrong)
	}
}

// Delete deletes a stream softly.
func (c *Client) Delete(stream string, expected int64) (a Answer) {
	o := &api.DeleteReq_Options{StreamIdentifier: Stream(stream)}
	switch expected {
	case NoStream:
		o.ExpectedStreamRevision = &api.DeleteReq_Options_NoStream{NoStream: Empty}
	case Any:
		o.ExpectedStreamRevision = &api.DeleteReq_Options_Any{Any: Empty}
	case Exists:
		o.ExpectedStreamRevision = &api.DeleteReq_Options_StreamExists{StreamExists: Empty}
	default:
		o.ExpectedStreamRevision = &api.DeleteReq_Options_Revision{Revision: uint64(expected)}
	}
	resp, err := c.Streams.Delete(Within(c.T), &api.DeleteReq{Options: o}, grpc.Trailer(&a.Trailers))
	a.Rev, a.Pos, a.Err = -1, int64(resp.GetPosition().GetCommitPosition()), err
	return a
}

// Tombstone deletes a stream for good.
func (c *Client) Tombstone(stream string, expected int64) (a Answer) {
	o := &api.TombstoneReq_Options{StreamIdentifier: Stream(stream)}
	switch expected {
	case NoStream:
		o.ExpectedStreamRevision = &api.TombstoneReq_Options_NoStream{NoStream: Empty}
	case Any:
		o.ExpectedStreamRevision = &api.TombstoneReq_Options_Any{Any: Empty}
	case Exists:
		o.ExpectedStreamRevision = &api.TombstoneReq_Options_StreamExists{StreamExists: Empty}
	default:
		o.ExpectedStreamRevision = &api.TombstoneReq_Options_Revision{Revision: uint64(expected)}
	}
	resp, err := c.Streams.Tombstone(
		Within(c.T), &api.TombstoneReq{Options: o}, grpc.Trailer(&a.Trailers))
	a.Rev, a.Pos, a.Err = -1, int64(resp.GetPosition().GetCommitPosition()), err
	return a
}
