package esnode

import (
	"math"
	"time"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/protobuf/encoding/protowire"
)

// Newer protocols say in these messages when they were sent and up to where; clients built for them
// ignore or misread a message without. This module's protocol lacks the fields, so they are
// attached as what it does not know.
//
// Stores up to 24.x lack them too; notices says which of both a node is like.
type notices bool

const (
	withoutPlace notices = false // up to 24.x
	withPlace    notices = true  // from 25.0 on
)

// beforeFirst is the position before the first event, -1 as a number without a sign: the checkpoint of a
// subscription from the start that nothing has matched yet.
const beforeFirst = math.MaxUint64

const (
	caughtUpTimestamp   = 1
	caughtUpRevision    = 2
	caughtUpPosition    = 3
	checkpointTimestamp = 3
)

// checkpointAt says that everything up to a position was considered.
func (n notices) checkpointAt(at uint64, now time.Time) *api.ReadResp {
	m := &api.ReadResp_Checkpoint{CommitPosition: at, PreparePosition: at}
	if n == withPlace {
		m.ProtoReflect().SetUnknown(appendTimestamp(nil, checkpointTimestamp, now))
	}
	return &api.ReadResp{Content: &api.ReadResp_Checkpoint_{Checkpoint: m}}
}

// caughtUpAt says that a subscription has seen all there is; place is where.
func (n notices) caughtUpAt(place []byte, now time.Time) *api.ReadResp {
	m := &api.ReadResp_CaughtUp{}
	if n == withPlace {
		m.ProtoReflect().SetUnknown(append(appendTimestamp(nil, caughtUpTimestamp, now), place...))
	}
	return &api.ReadResp{Content: &api.ReadResp_CaughtUp_{CaughtUp: m}}
}

// revisionField is the place in a stream, -1 where it has no events.
func revisionField(rev int64) []byte { return appendVarint(nil, caughtUpRevision, uint64(rev)) }

// positionField is the place in the log, 0 where it has no events.
func positionField(pos int64) []byte {
	b := appendVarint(nil, 1, uint64(pos))
	b = appendVarint(b, 2, uint64(pos))
	return appendMessage(nil, caughtUpPosition, b)
}

func appendTimestamp(b []byte, field protowire.Number, t time.Time) []byte {
	var m []byte
	m = appendVarint(m, 1, uint64(t.Unix()))
	m = appendVarint(m, 2, uint64(t.Nanosecond()))
	return appendMessage(b, field, m)
}

func appendMessage(b []byte, field protowire.Number, m []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), m)
}
