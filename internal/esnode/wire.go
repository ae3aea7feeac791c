package esnode

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
)

var empty = &shared.Empty{}

// expectation reads what a request expects of a stream's revision.
func expectation(option any) (int64, error) {
	var exact uint64
	switch o := option.(type) {
	case *api.AppendReq_Options_NoStream, *api.DeleteReq_Options_NoStream,
		*api.TombstoneReq_Options_NoStream, *api.BatchAppendReq_Options_NoStream:
		return noStream, nil
	case *api.AppendReq_Options_Any, *api.DeleteReq_Options_Any, *api.TombstoneReq_Options_Any,
		*api.BatchAppendReq_Options_Any:
		return anyRevision, nil
	case *api.AppendReq_Options_StreamExists, *api.DeleteReq_Options_StreamExists,
		*api.TombstoneReq_Options_StreamExists, *api.BatchAppendReq_Options_StreamExists:
		return streamExists, nil
	case *api.AppendReq_Options_Revision:
		exact = o.Revision
	case *api.BatchAppendReq_Options_StreamPosition:
		exact = o.StreamPosition
	case *api.DeleteReq_Options_Revision:
		exact = o.Revision
	case *api.TombstoneReq_Options_Revision:
		exact = o.Revision
	default:
		return 0, &invalid{text: "an expected revision is required"}
	}
	switch {
	case exact == math.MaxUint64: // how -1 reads as a number without a sign
		return noStream, nil
	case exact > math.MaxInt64:
		return 0, &invalid{text: "the expected revision is too large", unhandled: true}
	}
	return int64(exact), nil
}

func success(left result) *api.AppendResp {
	ok := &api.AppendResp_Success{}
	if left.rev < 0 {
		ok.CurrentRevisionOption = &api.AppendResp_Success_NoStream{NoStream: empty}
	} else {
		ok.CurrentRevisionOption = &api.AppendResp_Success_CurrentRevision{
			CurrentRevision: uint64(left.rev),
		}
	}
	if left.pos == 0 {
		ok.PositionOption = &api.AppendResp_Success_NoPosition{NoPosition: empty}
	} else {
		at := uint64(left.pos)
		ok.PositionOption = &api.AppendResp_Success_Position{
			Position: &api.AppendResp_Position{CommitPosition: at, PreparePosition: at},
		}
	}
	return &api.AppendResp{Result: &api.AppendResp_Success_{Success: ok}}
}

// refusal is the answer to an append whose expected revision does not hold; it is no error status.
func refusal(e *wrongVersion) *api.AppendResp {
	w := &api.AppendResp_WrongExpectedVersion{}
	if e.current < 0 {
		w.CurrentRevisionOption_20_6_0 = &api.AppendResp_WrongExpectedVersion_NoStream_20_6_0{
			NoStream_20_6_0: empty,
		}
		w.CurrentRevisionOption = &api.AppendResp_WrongExpectedVersion_CurrentNoStream{
			CurrentNoStream: empty,
		}
	} else {
		w.CurrentRevisionOption_20_6_0 = &api.AppendResp_WrongExpectedVersion_CurrentRevision_20_6_0{
			CurrentRevision_20_6_0: uint64(e.current),
		}
		w.CurrentRevisionOption = &api.AppendResp_WrongExpectedVersion_CurrentRevision{
			CurrentRevision: uint64(e.current),
		}
	}
	e.expectedIn(w)
	return &api.AppendResp{
		Result: &api.AppendResp_WrongExpectedVersion_{WrongExpectedVersion: w},
	}
}

// expectedIn says in a refusal what was expected, twice: clients of version 20.6 read fields of
// their own, which have no word for an expected missing stream but that it is not any.
func (e *wrongVersion) expectedIn(w *api.AppendResp_WrongExpectedVersion) {
	switch e.expected {
	case noStream:
		w.ExpectedRevisionOption = &api.AppendResp_WrongExpectedVersion_ExpectedNoStream{
			ExpectedNoStream: empty,
		}
	case anyRevision:
		w.ExpectedRevisionOption_20_6_0 = &api.AppendResp_WrongExpectedVersion_Any_20_6_0{
			Any_20_6_0: empty,
		}
		w.ExpectedRevisionOption = &api.AppendResp_WrongExpectedVersion_ExpectedAny{
			ExpectedAny: empty,
		}
	case streamExists:
		w.ExpectedRevisionOption_20_6_0 = &api.AppendResp_WrongExpectedVersion_StreamExists_20_6_0{
			StreamExists_20_6_0: empty,
		}
		w.ExpectedRevisionOption = &api.AppendResp_WrongExpectedVersion_ExpectedStreamExists{
			ExpectedStreamExists: empty,
		}
	default:
		w.ExpectedRevisionOption_20_6_0 = &api.AppendResp_WrongExpectedVersion_ExpectedRevision_20_6_0{
			ExpectedRevision_20_6_0: uint64(e.expected),
		}
		w.ExpectedRevisionOption = &api.AppendResp_WrongExpectedVersion_ExpectedRevision{
			ExpectedRevision: uint64(e.expected),
		}
	}
}

func uuidOf(p *shared.UUID) (id uuid.UUID, err error) {
	if s := p.GetStructured(); s != nil {
		binary.BigEndian.PutUint64(id[:8], uint64(s.MostSignificantBits))
		binary.BigEndian.PutUint64(id[8:], uint64(s.LeastSignificantBits))
		return id, nil
	}
	if id, err = uuid.Parse(p.GetString_()); err != nil {
		return id, fmt.Errorf("read an id: %w", err)
	}
	return id, nil
}

func structured(id uuid.UUID) *shared.UUID {
	return &shared.UUID{Value: &shared.UUID_Structured_{Structured: &shared.UUID_Structured{
		MostSignificantBits:  int64(binary.BigEndian.Uint64(id[:8])),
		LeastSignificantBits: int64(binary.BigEndian.Uint64(id[8:])),
	}}}
}

// recorded gives an event as a message, for answers that cannot be sent as they are stored.
func recorded(frame []byte, stringIDs bool) (*api.ReadResp_ReadEvent_RecordedEvent, error) {
	f, err := decode(frame)
	if err != nil {
		return nil, err
	}
	id := structured(f.id)
	if stringIDs {
		id = &shared.UUID{Value: &shared.UUID_String_{String_: f.id.String()}}
	}
	return &api.ReadResp_ReadEvent_RecordedEvent{
		Id:               id,
		StreamIdentifier: &shared.StreamIdentifier{StreamName: f.stream},
		StreamRevision:   f.rev,
		PreparePosition:  f.pos,
		CommitPosition:   f.pos,
		Metadata: map[string]string{
			"type":         string(f.kind),
			"content-type": string(f.content),
			"created":      strconv.FormatInt(f.created, 10),
		},
		CustomMetadata: f.meta,
		Data:           f.data,
	}, nil
}
