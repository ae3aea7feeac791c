package esnode

import (
	"context"
	"errors"
	"io"
	"sync"
	"unicode/utf8"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
)

const (
	maxMessage = 17 << 20
	// largestAppend is the most that MaxAppendSize may be, as a real store's.
	largestAppend = 16 << 20
	maxName       = 8 << 10
)

// service is the Streams API.
type service struct {
	api.UnimplementedStreamsServer
	book    *logbook
	writer  *writer
	limit   int // of an append, in bytes
	notices notices
	moods   *Moods
	closing <-chan struct{}
	readers *sync.WaitGroup // what may outlive a call by a moment
}

// ending gives what tells a call that the node closes; nil where the call is to be cut off instead.
func (s *service) ending() <-chan struct{} {
	if s.moods.cuts() {
		return nil
	}
	return s.closing
}

// Append adds the events of one call to one stream, all or none.
func (s *service) Append(stream api.Streams_AppendServer) error {
	ctx := stream.Context()
	a, err := receive(stream, s.limit)
	if err != nil {
		return statusOf(ctx, err)
	}
	left, err := s.writer.submit(ctx, a)
	var wrong *wrongVersion
	if errors.As(err, &wrong) {
		return stream.SendAndClose(refusal(wrong))
	}
	if err != nil {
		return statusOf(ctx, err)
	}
	return stream.SendAndClose(success(left))
}

// receive reads a whole append. After a mistake it reads on to the end before it says so: a client
// that is still sending takes an early answer for a broken connection.
func receive(stream api.Streams_AppendServer, limit int) (*appending, error) {
	a := &appending{limit: limit}
	var fault error
	for first := true; ; first = false {
		req, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF) && first:
			return nil, &invalid{text: "an append begins with its options"}
		case errors.Is(err, io.EOF):
			return a, fault
		case err != nil:
			return nil, err
		case fault != nil:
			a.events = nil
		case first:
			fault = a.options(req.GetOptions())
		default:
			fault = a.add(req.GetProposedMessage())
		}
	}
}

func (a *appending) options(o *api.AppendReq_Options) error {
	if o == nil {
		return &invalid{text: "an append begins with its options"}
	}
	var err error
	if a.stream, err = streamName(o.GetStreamIdentifier()); err != nil {
		return err
	}
	a.expected, err = expectation(o.GetExpectedStreamRevision())
	return err
}

// proposed is an event of an append, of either kind of call.
type proposed interface {
	GetId() *shared.UUID
	GetMetadata() map[string]string
	GetCustomMetadata() []byte
	GetData() []byte
}

func (a *appending) add(p proposed) error {
	id, err := eventID(p.GetId())
	if err != nil {
		return err
	}
	kind, content, err := kindOf(p.GetMetadata())
	if err != nil {
		return err
	}
	e := event{
		id: id, kind: kind, json: content == contentJSON,
		data: p.GetData(), meta: p.GetCustomMetadata(),
	}
	a.bytes += e.size()
	if a.bytes > a.limit {
		return &tooLarge{limit: a.limit}
	}
	a.events = append(a.events, e)
	return nil
}

func eventID(p *shared.UUID) (uuid.UUID, error) {
	id, err := uuidOf(p)
	if err != nil || id == uuid.Nil {
		return id, &invalid{text: "an event needs an id", unhandled: true}
	}
	return id, nil
}

// kindOf gives an event's type and its content type, which must both be there.
func kindOf(properties map[string]string) (kind, content string, err error) {
	for _, p := range []struct {
		key   string
		value *string
	}{{"type", &kind}, {"content-type", &content}} {
		v, ok := properties[p.key]
		if !ok {
			return "", "", &invalid{
				text: "Required Metadata Property '" + p.key + "' is missing",
				trailers: []string{"exception", "missing-required-metadata-property",
					"required-metadata-properties", "type,content-type"},
			}
		}
		*p.value = v
	}
	if kind == "" {
		return "", "", &invalid{text: "an event needs a type", unhandled: true}
	}
	return kind, content, nil
}

func streamName(p *shared.StreamIdentifier) (string, error) {
	name := string(p.GetStreamName())
	if name == "" || name == metaPrefix || len(name) > maxName || !utf8.ValidString(name) {
		return "", &invalid{text: "invalid stream name"}
	}
	return name, nil
}

// Delete deletes a stream softly: it can be written to again, from where it ended.
func (s *service) Delete(ctx context.Context, req *api.DeleteReq) (*api.DeleteResp, error) {
	o := req.GetOptions()
	left, err := s.remove(ctx, o.GetStreamIdentifier(), o.GetExpectedStreamRevision(), false)
	if err != nil {
		return nil, statusOf(ctx, err)
	}
	at := uint64(left.pos)
	return &api.DeleteResp{PositionOption: &api.DeleteResp_Position_{
		Position: &api.DeleteResp_Position{CommitPosition: at, PreparePosition: at},
	}}, nil
}

// Tombstone deletes a stream for good: its name cannot be used again.
func (s *service) Tombstone(
	ctx context.Context, req *api.TombstoneReq,
) (*api.TombstoneResp, error) {
	o := req.GetOptions()
	left, err := s.remove(ctx, o.GetStreamIdentifier(), o.GetExpectedStreamRevision(), true)
	if err != nil {
		return nil, statusOf(ctx, err)
	}
	at := uint64(left.pos)
	return &api.TombstoneResp{PositionOption: &api.TombstoneResp_Position_{
		Position: &api.TombstoneResp_Position{CommitPosition: at, PreparePosition: at},
	}}, nil
}

func (s *service) remove(
	ctx context.Context, id *shared.StreamIdentifier, expected any, forGood bool,
) (result, error) {
	name, err := streamName(id)
	if err != nil {
		return result{}, err
	}
	e, err := expectation(expected)
	if err != nil {
		return result{}, err
	}
	if forGood && isMeta(name) {
		return result{}, &invalid{text: "A tombstone of metadata is refused: with one, a real store " +
			"cannot start again once the stream is deleted."}
	}
	return s.writer.submit(ctx, &removing{stream: name, expected: e, forGood: forGood})
}
