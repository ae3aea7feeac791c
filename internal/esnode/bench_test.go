package esnode

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"

	"prelude/test/conformance/wire"
)

// payload is about what an event of a session weighs.
var payload = []byte(`{"text":"` + strings.Repeat("x", 240) + `"}`)

const writersAtOnce = 64

func benchNode(b *testing.B) *wire.Client {
	b.Helper()
	node, err := Start(b.Context(), Config{Dir: b.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	conn, err := grpc.NewClient(node.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := conn.Close(); err != nil {
			b.Error(err)
		}
		if err := node.Close(); err != nil {
			b.Error(err)
		}
	})
	return &wire.Client{Conn: conn, Streams: api.NewStreamsClient(conn)}
}

// BenchmarkBatchAppend is 64 writers that share one call, each with one event under way.
func BenchmarkBatchAppend(b *testing.B) {
	call, err := benchNode(b).Streams.BatchAppend(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	send := func(writer uint64, rev int64) error {
		id := uuid.New()
		o := &api.BatchAppendReq_Options{
			StreamIdentifier:       wire.Stream(fmt.Sprint("session-", writer)),
			ExpectedStreamPosition: &api.BatchAppendReq_Options_NoStream{NoStream: &emptypb.Empty{}},
		}
		if rev >= 0 {
			o.ExpectedStreamPosition = &api.BatchAppendReq_Options_StreamPosition{
				StreamPosition: uint64(rev),
			}
		}
		return call.Send(&api.BatchAppendReq{
			CorrelationId: &shared.UUID{Value: &shared.UUID_Structured_{
				Structured: &shared.UUID_Structured{MostSignificantBits: int64(writer)},
			}},
			Options: o, IsFinal: true,
			ProposedMessages: []*api.BatchAppendReq_ProposedMessage{{
				Id: wire.Structured(id), Data: payload,
				Metadata: map[string]string{"type": "session.posted.v1", "content-type": contentJSON},
			}},
		})
	}
	b.ResetTimer()
	sent := 0
	for ; sent < min(writersAtOnce, b.N); sent++ {
		if err := send(uint64(sent), -1); err != nil {
			b.Fatal(err)
		}
	}
	for range b.N {
		got, err := call.Recv()
		if err != nil || got.GetSuccess() == nil {
			b.Fatal(got, err)
		}
		if sent < b.N {
			writer := got.GetCorrelationId().GetStructured().GetMostSignificantBits()
			if err := send(uint64(writer), int64(got.GetSuccess().GetCurrentRevision())); err != nil {
				b.Fatal(err)
			}
			sent++
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkAppend is the same with a call per append.
func BenchmarkAppend(b *testing.B) {
	c := benchNode(b)
	append1 := func(stream string, rev int64) error {
		call, err := c.Streams.Append(b.Context())
		if err != nil {
			return err
		}
		o := &api.AppendReq_Options{
			StreamIdentifier:       wire.Stream(stream),
			ExpectedStreamRevision: &api.AppendReq_Options_NoStream{NoStream: wire.Empty},
		}
		if rev >= 0 {
			o.ExpectedStreamRevision = &api.AppendReq_Options_Revision{Revision: uint64(rev)}
		}
		if err := call.Send(&api.AppendReq{Content: &api.AppendReq_Options_{Options: o}}); err != nil {
			return err
		}
		if err := call.Send(&api.AppendReq{Content: &api.AppendReq_ProposedMessage_{
			ProposedMessage: &api.AppendReq_ProposedMessage{
				Id: wire.Structured(uuid.New()), Data: payload,
				Metadata: map[string]string{"type": "session.posted.v1", "content-type": contentJSON},
			},
		}}); err != nil {
			return err
		}
		_, err = call.CloseAndRecv()
		return err
	}
	b.ResetTimer()
	var all sync.WaitGroup
	for w := range writersAtOnce {
		all.Go(func() {
			for i := w; i < b.N; i += writersAtOnce {
				if err := append1(fmt.Sprint("session-", w), int64(i/writersAtOnce)-1); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
