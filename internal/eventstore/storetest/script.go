package storetest

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Script is a store that plays what a node which works cannot be made to do. It passes all calls on to such a node, but
// for those for which its part says something else, and it can be told another part at any moment.
type Script struct {
	Addr string // on loopback

	mu      sync.Mutex
	part    Part
	turn    context.Context // ends with the part: what is under way ends with it, as when a connection breaks
	ended   context.CancelFunc
	backend *grpc.ClientConn
	asked   map[Call]int
	server  *grpc.Server
	listens string                     // where it does; Addr may be that of a proxy before it
	members func() *gossip.ClusterInfo // of a cluster; nil: the node's own answer
}

// Call is a kind of call that a part can answer by itself.
type Call string

// The kinds. An append of a batch is one call, however many share the stream.
const (
	Append    Call = "append"
	Batch     Call = "batch"
	Read      Call = "read"
	Subscribe Call = "subscribe"
	Features  Call = "features"
	Gossip    Call = "gossip"
)

// Part is what a script plays. The zero value passes everything on.
type Part struct {
	// NotHandled is why the node handles no calls but gossip and features, in a real store's words: "Server Is Not
	// Ready". Appends of a batch are answered with it under the code 0, other calls end with Unavailable.
	NotHandled string
	Appends    bool           // NotHandled is of appends alone: the node can still be read
	Refuse     map[Call]error // calls that end at once, with a status
	// RefuseRead has reads end at once, by the name of the stream, or $all, and those that it gives nil for pass.
	RefuseRead func(stream string) error
	// EndsBatch has a refused append of a batch end the call that all share, as a store does that does not know who asks;
	// else that append alone is answered.
	EndsBatch bool
	Silent    map[Call]bool // calls that get no answer
	Follows   string        // host:port of the leader; calls that require the leader are told of it
	// Says changes what a read or a subscription is told: each message becomes those that it gives.
	Says func(Call, *api.ReadResp) []*api.ReadResp
	// Half has the nth answer of each read and subscription, from 1, cut in its middle.
	Half int
}

// CheckpointsOf is a Part's Says that has all checkpoints give this position, commit and prepare.
func CheckpointsOf(position uint64) func(Call, *api.ReadResp) []*api.ReadResp {
	return func(_ Call, m *api.ReadResp) []*api.ReadResp {
		if c := m.GetCheckpoint(); c != nil {
			c.CommitPosition, c.PreparePosition = position, position
		}
		return []*api.ReadResp{m}
	}
}

// NewScript begins to play before a node, by the path of its socket or its host:port, until the test ends.
func NewScript(t testing.TB, node string) *Script {
	t.Helper()
	s := &Script{asked: map[Call]int{}}
	s.turn, s.ended = context.WithCancel(context.Background())
	t.Cleanup(func() { s.ended() })
	s.Behind(t, node)
	s.listens = "127.0.0.1:0"
	s.Start(t)
	s.Addr = s.listens
	return s
}

// Start has a node that died live again, at its address. It plays the part that it had.
func (s *Script) Start(t testing.TB) {
	t.Helper()
	s.server = grpc.NewServer(grpc.ForceServerCodecV2(raw{}), grpc.UnknownServiceHandler(s.serve),
		grpc.MaxRecvMsgSize(32<<20), grpc.MaxSendMsgSize(32<<20))
	s.listens = serve(t, s.server, s.listens)
}

// Behind passes on to another node from now on; what is under way ends.
func (s *Script) Behind(t testing.TB, node string) {
	t.Helper()
	if network(node) == "unix" {
		node = "unix:" + node
	}
	conn, err := grpc.NewClient(node, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(raw{}), grpc.MaxCallRecvMsgSize(32<<20)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	s.mu.Lock()
	s.backend = conn
	part := s.part
	s.mu.Unlock()
	s.Play(part)
}

// Play plays another part from now on. What is under way ends as when a connection breaks.
func (s *Script) Play(p Part) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.part = p
	s.ended()
	s.turn, s.ended = context.WithCancel(context.Background())
}

// Goes plays another part for what comes from now on. What is under way goes on as it began.
func (s *Script) Goes(p Part) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.part = p
}

// Stop has the node die: nobody listens at its address any more, until Start.
func (s *Script) Stop() { s.server.Stop() }

// Asked is how many calls of a kind there were.
func (s *Script) Asked(c Call) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[c]
}

// now is the part to play, and notes a call.
func (s *Script) now(c Call) (Part, *grpc.ClientConn, context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[c]++
	return s.part, s.backend, s.turn
}

func (s *Script) serve(_ any, in grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(in)
	call, ok := map[string]Call{
		gossip.Gossip_Read_FullMethodName:                                Gossip,
		serverfeatures.ServerFeatures_GetSupportedMethods_FullMethodName: Features,
		api.Streams_Append_FullMethodName:                                Append,
		api.Streams_BatchAppend_FullMethodName:                           Batch,
		api.Streams_Read_FullMethodName:                                  Read,
	}[method]
	if !ok {
		return status.Error(codes.Unimplemented, "not in this play")
	}
	var first []byte
	if call != Batch {
		if err := in.RecvMsg(&first); err != nil {
			return err
		}
	}
	var req api.ReadReq
	if call == Read && proto.Unmarshal(first, &req) == nil && req.GetOptions().GetSubscription() != nil {
		call = Subscribe
	}
	part, backend, turn := s.now(call)
	if call == Read && part.RefuseRead != nil {
		if err := part.RefuseRead(readOf(&req)); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(in.Context())
	defer cancel()
	defer context.AfterFunc(turn, cancel)()
	p := &play{script: s, part: part, call: call, ctx: ctx, cancel: cancel, in: in}
	if done, err := p.alone(); done {
		return err
	}
	out, err := backend.NewStream(outgoing(ctx), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return err
	}
	if call != Batch { // the message may be empty
		if err := out.SendMsg(&first); err != nil {
			return err
		}
	}
	go p.up(out)
	err = p.down(out)
	switch {
	case turn.Err() != nil:
		return status.Error(codes.Unavailable, "the connection is closing")
	case p.deposed.Load():
		return p.leader()
	case p.refused.Load() != nil:
		return *p.refused.Load()
	}
	return err
}

// readOf names what a read is of.
func readOf(req *api.ReadReq) string {
	if stream := req.GetOptions().GetStream(); stream != nil {
		return string(stream.GetStreamIdentifier().GetStreamName())
	}
	return "$all"
}

// outgoing is a context in which a call is passed on with its headers.
func outgoing(ctx context.Context) context.Context {
	md, _ := metadata.FromIncomingContext(ctx)
	return metadata.NewOutgoingContext(ctx, md)
}

// play is one call.
type play struct {
	script *Script
	part   Part
	call   Call
	ctx    context.Context
	cancel context.CancelFunc
	in     grpc.ServerStream
	send   sync.Mutex

	deposed atomic.Bool           // it ends because the node leads no more
	refused atomic.Pointer[error] // it ends with that
}

// alone answers calls that are not passed on.
func (p *play) alone() (done bool, err error) {
	md, _ := metadata.FromIncomingContext(p.ctx)
	mine := p.call == Gossip || p.call == Features
	switch {
	case p.part.Silent[p.call]:
		<-p.ctx.Done()
		return true, p.ctx.Err()
	case p.part.Refuse[p.call] != nil && p.call != Batch:
		return true, p.part.Refuse[p.call]
	case p.part.NotHandled != "" && !mine && p.call != Batch && (!p.part.Appends || p.call == Append):
		return true, status.Error(codes.Unavailable, p.part.NotHandled)
	case p.part.Follows != "" && !mine && len(md.Get("requires-leader")) > 0:
		return true, p.leader()
	case p.call == Gossip && p.script.members != nil:
		return true, p.say(p.script.members())
	}
	return false, nil
}

// leader tells a caller where the leader is, as a follower does.
func (p *play) leader() error {
	p.in.SetTrailer(metadata.Pairs("exception", "not-leader"))
	return status.Error(codes.NotFound, "Leader info available")
}

func (p *play) say(m proto.Message) error {
	b, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	p.send.Lock()
	defer p.send.Unlock()
	return p.in.SendMsg(&b)
}

// up passes on what the client says, but for appends of a batch that the part at that moment answers.
func (p *play) up(out grpc.ClientStream) {
	for {
		var b []byte
		if err := p.in.RecvMsg(&b); err != nil {
			if errors.Is(err, io.EOF) {
				_ = out.CloseSend() // the call's end says what is wrong
			}
			return
		}
		if p.call == Batch && p.batch(b) {
			continue
		}
		if out.SendMsg(&b) != nil {
			return // down hears why
		}
	}
}

// batch answers an append of a batch where the part says so.
func (p *play) batch(b []byte) bool {
	part, _, _ := p.script.now(Batch)
	if md, _ := metadata.FromIncomingContext(p.ctx); part.Follows != "" && len(md.Get("requires-leader")) > 0 {
		p.deposed.Store(true)
		p.cancel()
		return true
	}
	if err := part.Refuse[Batch]; err != nil && part.EndsBatch {
		p.refused.Store(&err)
		p.cancel()
		return true
	}
	refusal := &rpc.Status{Message: part.NotHandled}
	if s, ok := status.FromError(part.Refuse[Batch]); part.Refuse[Batch] != nil && ok {
		refusal = &rpc.Status{Code: int32(s.Code()), Message: s.Message()}
	}
	var req api.BatchAppendReq
	detail, err := anypb.New(&emptypb.Empty{})
	if err != nil || proto.Unmarshal(b, &req) != nil || refusal.GetMessage() == "" && refusal.GetCode() == 0 &&
		!part.Silent[Batch] {
		return false
	}
	refusal.Details = []*anypb.Any{detail}
	if !part.Silent[Batch] && req.GetIsFinal() {
		_ = p.say(&api.BatchAppendResp{CorrelationId: req.GetCorrelationId(), // a client that has left needs no answer
			Result: &api.BatchAppendResp_Error{Error: refusal}})
	}
	return true
}

// down passes on what the node says.
func (p *play) down(out grpc.ClientStream) error {
	for n := 1; ; n++ {
		var b []byte
		if err := out.RecvMsg(&b); err != nil {
			p.in.SetTrailer(out.Trailer())
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := p.pass(n, b); err != nil {
			return err
		}
	}
}

func (p *play) pass(n int, b []byte) error {
	reads := p.call == Read || p.call == Subscribe
	if reads && p.part.Half == n {
		b = b[:len(b)/2]
	}
	var m api.ReadResp
	if !reads || p.part.Says == nil || proto.Unmarshal(b, &m) != nil {
		p.send.Lock()
		defer p.send.Unlock()
		return p.in.SendMsg(&b)
	}
	for _, m := range p.part.Says(p.call, &m) {
		if err := p.say(m); err != nil {
			return err
		}
	}
	return nil
}
