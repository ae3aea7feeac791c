package eventstore_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"prelude/internal/eventlog"
	"prelude/internal/eventstore"
	"prelude/internal/eventstore/storetest"
)

// odd is a store that answers as a test wants.
type odd struct {
	api.UnimplementedStreamsServer
	serverfeatures.UnimplementedServerFeaturesServer
	gossip.UnimplementedGossipServer

	old     bool   // it knows no batches
	end     uint64 // the position of its last event; 0: it says what read says
	members []*gossip.MemberInfo
	read    func(api.Streams_ReadServer) error
	append  func(api.Streams_BatchAppendServer) error
	reads   atomic.Int64
}

func (o *odd) GetSupportedMethods(context.Context, *shared.Empty) (*serverfeatures.SupportedMethods, error) {
	m := &serverfeatures.SupportedMethods{EventStoreServerVersion: "24.10.0"}
	if !o.old {
		m.Methods = []*serverfeatures.SupportedMethod{{
			ServiceName: "event_store.client.streams.streams", MethodName: "batchappend",
		}}
	}
	return m, nil
}

func (o *odd) Read(req *api.ReadReq, s api.Streams_ReadServer) error {
	if o.end > 0 && req.GetOptions().GetAll() != nil && req.GetOptions().GetCount() > 0 {
		return s.Send(recorded(0, o.end, "17000000000000000"))
	}
	o.reads.Add(1)
	if o.read == nil {
		return nil // there is nothing
	}
	return o.read(s)
}

// BatchAppend refuses all for their revision, where the test says nothing else.
func (o *odd) BatchAppend(s api.Streams_BatchAppendServer) error {
	if o.append != nil {
		return o.append(s)
	}
	for {
		req, err := s.Recv()
		if err != nil {
			return nil //nolint:nilerr // the client has left
		}
		wrong, err := anypb.New(&shared.WrongExpectedVersion{})
		if err == nil {
			err = s.Send(&api.BatchAppendResp{CorrelationId: req.GetCorrelationId(),
				Result: &api.BatchAppendResp_Error{Error: &rpc.Status{Code: int32(codes.AlreadyExists),
					Details: []*anypb.Any{wrong}}}})
		}
		if err != nil {
			return err
		}
	}
}

// Read of the gossip is another service's method.
type members struct {
	gossip.UnimplementedGossipServer
	*odd
}

func (m members) Read(context.Context, *shared.Empty) (*gossip.ClusterInfo, error) {
	return &gossip.ClusterInfo{Members: m.members}, nil
}

// ancient registers a store that has streams and cannot say what it can.
func ancient(s *grpc.Server) {
	api.RegisterStreamsServer(s, &odd{read: func(api.Streams_ReadServer) error {
		return status.Error(codes.PermissionDenied, "Access Denied")
	}})
}

// serve runs an odd store and gives its address.
func serve(t *testing.T, o *odd) string {
	t.Helper()
	s := grpc.NewServer()
	api.RegisterStreamsServer(s, o)
	serverfeatures.RegisterServerFeaturesServer(s, o)
	gossip.RegisterGossipServer(s, members{odd: o})
	return storetest.GRPC(t, s)
}

func to(t *testing.T, address string) *eventstore.Store {
	t.Helper()
	s, err := eventstore.Open(eventstore.Config{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// A cluster's leader is used; when it has given its leadership away, the next.
func TestStore_follows_the_leader(t *testing.T) {
	t.Parallel()
	first, second := &odd{}, &odd{}
	addresses := []string{serve(t, first), serve(t, second)}
	leads := func(leader int) (all []*gossip.MemberInfo) {
		for i, a := range addresses {
			host, port, err := net.SplitHostPort(a)
			if err != nil {
				t.Fatal(err)
			}
			n, err := net.LookupPort("tcp", port)
			if err != nil {
				t.Fatal(err)
			}
			m := &gossip.MemberInfo{
				State: gossip.MemberInfo_Follower, IsAlive: true,
				HttpEndPoint: &gossip.EndPoint{Address: host, Port: uint32(n)},
			}
			if i == leader {
				m.State = gossip.MemberInfo_Leader
			}
			all = append(all, m)
		}
		dead := &gossip.MemberInfo{State: gossip.MemberInfo_Leader, HttpEndPoint: &gossip.EndPoint{Address: "x"}}
		return append(all, dead)
	}
	seed := &odd{members: leads(0)}
	event := &api.ReadResp{Content: &api.ReadResp_CaughtUp_{CaughtUp: &api.ReadResp_CaughtUp{}}}
	first.read = func(s api.Streams_ReadServer) error {
		seed.members = leads(1)
		s.SetTrailer(metadata.Pairs("exception", "not-leader"))
		return status.Error(codes.NotFound, "Leader info available")
	}
	second.read = func(s api.Streams_ReadServer) error { return s.Send(event) }
	s := to(t, "esdb+discover://"+serve(t, seed)+"?tls=false")
	if err := s.Ready(within(t, 5*time.Second)); err != nil {
		t.Error(err)
	}
	if first.reads.Load() == 0 || second.reads.Load() != 1 {
		t.Errorf("asked %d and %d times", first.reads.Load(), second.reads.Load())
	}
}

// Answers that cannot be trusted end in an error, never in events.
func TestRead_of_garbage(t *testing.T) {
	t.Parallel()
	recorded := func(change func(*api.ReadResp_ReadEvent_RecordedEvent)) *api.ReadResp {
		e := &api.ReadResp_ReadEvent_RecordedEvent{
			Id: &shared.UUID{Value: &shared.UUID_Structured_{Structured: &shared.UUID_Structured{
				MostSignificantBits: 1, LeastSignificantBits: 2,
			}}},
			StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte("s")},
			CommitPosition:   7, Metadata: map[string]string{"type": "t", "created": "17000000000000000"},
		}
		change(e)
		return &api.ReadResp{Content: &api.ReadResp_Event{Event: &api.ReadResp_ReadEvent{Event: e}}}
	}
	for what, bad := range map[string]*api.ReadResp{
		"a time that is none": recorded(func(e *api.ReadResp_ReadEvent_RecordedEvent) {
			e.Metadata["created"] = "yesterday"
		}),
		"an event without an id": recorded(func(e *api.ReadResp_ReadEvent_RecordedEvent) { e.Id = nil }),
		"an id that is a text": recorded(func(e *api.ReadResp_ReadEvent_RecordedEvent) {
			e.Id = &shared.UUID{Value: &shared.UUID_String_{String_: "x"}}
		}),
		"an event of no stream": recorded(func(e *api.ReadResp_ReadEvent_RecordedEvent) {
			e.StreamIdentifier = nil
		}),
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			o := &odd{read: func(s api.Streams_ReadServer) error { return s.Send(bad) }}
			s := to(t, "esdb://"+serve(t, o)+"?tls=false")
			for e, err := range s.Read(within(t, 10*time.Second), "s", 0, eventlog.Forwards, 0) {
				if err == nil || strings.Contains(err.Error(), "yesterday") {
					t.Errorf("it gave %+v, %v", e, err)
				}
			}
			if o.reads.Load() != 3 {
				t.Errorf("it was asked %d times", o.reads.Load())
			}
		})
	}
	good := &odd{read: func(s api.Streams_ReadServer) error {
		return s.Send(recorded(func(*api.ReadResp_ReadEvent_RecordedEvent) {}))
	}}
	n := 0
	s := to(t, "esdb://"+serve(t, good)+"?tls=false")
	for e, err := range s.Read(within(t, 10*time.Second), "s", 0, eventlog.Forwards, 0) {
		if n++; err != nil || e.Position != 7 || e.Created.Unix() != 1_700_000_000 {
			t.Errorf("%+v, %v", e, err)
		}
	}
	if n != 1 {
		t.Errorf("%d events", n)
	}
}

// A store that refuses an append for what it is is not asked again. One that refuses who asks, or whose answers fit no
// question, is.
func TestAppend_to_odd_stores(t *testing.T) {
	t.Parallel()
	answer := func(r *api.BatchAppendResp) func(api.Streams_BatchAppendServer) error {
		return func(s api.Streams_BatchAppendServer) error {
			for {
				req, err := s.Recv()
				if err != nil {
					return nil //nolint:nilerr // the client has left
				}
				r := &api.BatchAppendResp{CorrelationId: req.GetCorrelationId(), Result: r.GetResult()}
				if err := s.Send(r); err != nil {
					return err
				}
			}
		}
	}
	success := func(revision uint64) *api.BatchAppendResp {
		return &api.BatchAppendResp{Result: &api.BatchAppendResp_Success_{
			Success: &api.BatchAppendResp_Success{
				CurrentRevisionOption: &api.BatchAppendResp_Success_CurrentRevision{CurrentRevision: revision},
			},
		}}
	}
	for what, c := range map[string]struct {
		append  func(api.Streams_BatchAppendServer) error
		waiting bool // it may become better
	}{
		"no rights": {func(api.Streams_BatchAppendServer) error {
			return status.Error(codes.PermissionDenied, "Access Denied")
		}, true},
		"wrong password": {func(api.Streams_BatchAppendServer) error {
			return status.Error(codes.Unauthenticated, "")
		}, true},
		"a bad request": {func(api.Streams_BatchAppendServer) error {
			return status.Error(codes.InvalidArgument, "")
		}, false},
		"too busy": {func(api.Streams_BatchAppendServer) error {
			return status.Error(codes.Unavailable, "Too Busy")
		}, true},
		"an empty answer":    {answer(&api.BatchAppendResp{}), true},
		"an odd revision":    {answer(success(3)), true},
		"an answer for none": {func(s api.Streams_BatchAppendServer) error { return s.Send(success(0)) }, true},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := to(t, "esdb://"+serve(t, &odd{append: c.append})+"?tls=false")
			_, err := s.Append(within(t, 500*time.Millisecond), "s", eventlog.None, events(1))
			if err == nil || errors.Is(err, eventlog.ErrUnavailable) != c.waiting {
				t.Errorf("it answered %v", err)
			}
		})
	}
}
