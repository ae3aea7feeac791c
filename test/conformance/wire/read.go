package wire

import (
	"errors"
	"io"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
)

// Options asks for up to 1,000 events of the whole log from its start, ids in the form of numbers.
func Options() *api.ReadReq_Options {
	return &api.ReadReq_Options{
		CountOption:  &api.ReadReq_Options_Count{Count: 1000},
		FilterOption: &api.ReadReq_Options_NoFilter{NoFilter: Empty},
		UuidOption: &api.ReadReq_Options_UUIDOption{
			Content: &api.ReadReq_Options_UUIDOption_Structured{Structured: Empty},
		},
		StreamOption: &api.ReadReq_Options_All{All: &api.ReadReq_Options_AllOptions{
			AllOption: &api.ReadReq_Options_AllOptions_Start{Start: Empty},
		}},
	}
}

// OfStream asks for a stream's events instead.
func OfStream(name string) *api.ReadReq_Options {
	o := Options()
	o.StreamOption = &api.ReadReq_Options_Stream{Stream: &api.ReadReq_Options_StreamOptions{
		StreamIdentifier: Stream(name),
		RevisionOption:   &api.ReadReq_Options_StreamOptions_Start{Start: Empty},
	}}
	return o
}

// From asks for events from a position of the log.
func From(position int64) *api.ReadReq_Options {
	o := Options()
	o.GetAll().AllOption = &api.ReadReq_Options_AllOptions_Position{
		Position: &api.ReadReq_Options_Position{
			CommitPosition: uint64(position), PreparePosition: uint64(position),
		},
	}
	return o
}

// FromEnd asks for what lies at the log's end.
func FromEnd() *api.ReadReq_Options {
	o := Options()
	o.GetAll().AllOption = &api.ReadReq_Options_AllOptions_End{End: Empty}
	return o
}

// AtRevision begins at a revision of the stream that o asks for.
func AtRevision(o *api.ReadReq_Options, rev uint64) *api.ReadReq_Options {
	o.GetStream().RevisionOption = &api.ReadReq_Options_StreamOptions_Revision{Revision: rev}
	return o
}

// AtEnd begins at the end of the stream that o asks for.
func AtEnd(o *api.ReadReq_Options) *api.ReadReq_Options {
	o.GetStream().RevisionOption = &api.ReadReq_Options_StreamOptions_End{End: Empty}
	return o
}

// Backwards turns a read around.
func Backwards(o *api.ReadReq_Options) *api.ReadReq_Options {
	o.ReadDirection = api.ReadReq_Options_Backwards
	return o
}

// Count asks for n events at most.
func Count(o *api.ReadReq_Options, n uint64) *api.ReadReq_Options {
	o.CountOption = &api.ReadReq_Options_Count{Count: n}
	return o
}

// Subscribed makes a subscription of a read.
func Subscribed(o *api.ReadReq_Options) *api.ReadReq_Options {
	o.CountOption = &api.ReadReq_Options_Subscription{
		Subscription: &api.ReadReq_Options_SubscriptionOptions{},
	}
	return o
}

// Filter says which events pass: by their stream, or else their type.
type Filter struct {
	ByType     bool
	Regex      string
	Prefixes   []string
	Window     uint32
	Multiplier uint32
}

// Filtered lets pass what f does; a window and a multiplier of 0 are sent as such.
func Filtered(o *api.ReadReq_Options, f Filter) *api.ReadReq_Options {
	by := &api.ReadReq_Options_FilterOptions_Expression{Regex: f.Regex, Prefix: f.Prefixes}
	filter := &api.ReadReq_Options_FilterOptions{
		Window:                       &api.ReadReq_Options_FilterOptions_Max{Max: f.Window},
		CheckpointIntervalMultiplier: f.Multiplier,
		Filter: &api.ReadReq_Options_FilterOptions_StreamIdentifier{
			StreamIdentifier: by,
		},
	}
	if f.ByType {
		filter.Filter = &api.ReadReq_Options_FilterOptions_EventType{EventType: by}
	}
	o.FilterOption = &api.ReadReq_Options_Filter{Filter: filter}
	return o
}

// Read gives what a read answers.
func (c *Client) Read(o *api.ReadReq_Options) (got []*api.ReadResp, err error) {
	c.T.Helper()
	call, err := c.Streams.Read(Within(c.T), &api.ReadReq{Options: o})
	for err == nil {
		var m *api.ReadResp
		if m, err = call.Recv(); err == nil {
			got = append(got, m)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return got, err
}

// Revisions reads a stream and gives the revisions there are; -1 alone says that it is not found.
func (c *Client) Revisions(stream string) []int64 {
	c.T.Helper()
	got, err := c.Read(OfStream(stream))
	if err != nil {
		c.T.Fatalf("read %s: %v", stream, err)
	}
	return RevisionsOf(got)
}

// RevisionsOf gives the revisions of the events in an answer; -1 says that there is no stream.
func RevisionsOf(got []*api.ReadResp) (revs []int64) {
	for _, m := range got {
		switch {
		case m.GetStreamNotFound() != nil:
			revs = append(revs, -1)
		case m.GetEvent() != nil:
			revs = append(revs, int64(m.GetEvent().GetEvent().GetStreamRevision()))
		}
	}
	return revs
}

// PositionsOf gives the positions of the events in an answer.
func PositionsOf(got []*api.ReadResp) (all []int64) {
	for _, m := range got {
		if e := m.GetEvent(); e != nil {
			all = append(all, int64(e.GetCommitPosition()))
		}
	}
	return all
}

// Meta gives the data of a stream's metadata.
func (c *Client) Meta(stream string) string {
	c.T.Helper()
	got, err := c.Read(OfStream("$$" + stream))
	if err != nil || len(got) != 1 {
		c.T.Fatalf("read metadata: %v, %v", got, err)
	}
	return string(got[0].GetEvent().GetEvent().GetData())
}
