package esnode

import (
	"context"
	"errors"
	"io"
	"iter"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a node with a connection to it, by the protocol's own stubs.
type rig struct {
	t      *testing.T
	dir    string
	node   *Node
	conn   *grpc.ClientConn
	client api.StreamsClient
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := newStoppedRig(t)
	r.start()
	t.Cleanup(r.stop)
	return r
}

// newStoppedRig is one whose node is still to be started.
func newStoppedRig(t *testing.T) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "esnode")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return &rig{t: t, dir: dir}
}

// sum verifies the log of a folder, and says how much there is.
func sum(t *testing.T, dir string) Counts {
	t.Helper()
	c, err := Verify(t.Context(), dir, nil, nil, func(p Problem) { t.Errorf("a problem: %s", p) })
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (r *rig) socket() string { return filepath.Join(r.dir, "node.sock") }

func (r *rig) start() {
	r.t.Helper()
	var err error
	if r.node, err = Start(r.t.Context(), Config{Dir: r.dir, Socket: r.socket()}); err != nil {
		r.t.Fatal(err)
	}
	r.conn, r.client = dial(r.t, r.socket())
}

func (r *rig) stop() {
	if err := errors.Join(r.conn.Close(), r.node.Close()); err != nil {
		r.t.Error(err)
	}
}

func dial(t *testing.T, socket string) (*grpc.ClientConn, api.StreamsClient) {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
	if err != nil {
		t.Fatal(err)
	}
	return conn, api.NewStreamsClient(conn)
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// id gives the same id for the same name.
func id(name string) uuid.UUID { return uuid.NewSHA1(uuid.NameSpaceOID, []byte(name)) }

func stream(name string) *shared.StreamIdentifier {
	return &shared.StreamIdentifier{StreamName: []byte(name)}
}

func message(id uuid.UUID, kind, data string) *api.AppendReq_ProposedMessage {
	return &api.AppendReq_ProposedMessage{
		Id: structured(id), Data: []byte(data), CustomMetadata: []byte(`{"by":"test"}`),
		Metadata: map[string]string{"type": kind, "content-type": contentJSON},
	}
}

// answer is how an append ended.
type answer struct {
	rev, pos int64
	wrong    *api.AppendResp_WrongExpectedVersion
	err      error
	trailers metadata.MD
}

func (a answer) exception() string {
	if e := a.trailers.Get("exception"); len(e) > 0 {
		return e[0]
	}
	return ""
}

func (r *rig) append(name string, expected int64, ids ...string) answer {
	r.t.Helper()
	var messages []*api.AppendReq_ProposedMessage
	for _, i := range ids {
		messages = append(messages, message(id(i), "tested", `{"id":"`+i+`"}`))
	}
	return r.send(name, expected, messages...)
}

func (r *rig) send(
	name string, expected int64, messages ...*api.AppendReq_ProposedMessage,
) (a answer) {
	r.t.Helper()
	o := &api.AppendReq_Options{StreamIdentifier: stream(name)}
	switch expected {
	case noStream:
		o.ExpectedStreamRevision = &api.AppendReq_Options_NoStream{NoStream: empty}
	case anyRevision:
		o.ExpectedStreamRevision = &api.AppendReq_Options_Any{Any: empty}
	case streamExists:
		o.ExpectedStreamRevision = &api.AppendReq_Options_StreamExists{StreamExists: empty}
	default:
		o.ExpectedStreamRevision = &api.AppendReq_Options_Revision{Revision: uint64(expected)}
	}
	call, err := r.client.Append(within(r.t), grpc.Trailer(&a.trailers))
	if err != nil {
		r.t.Fatal(err)
	}
	err = call.Send(&api.AppendReq{Content: &api.AppendReq_Options_{Options: o}})
	for _, m := range messages {
		err = errors.Join(err, call.Send(&api.AppendReq{
			Content: &api.AppendReq_ProposedMessage_{ProposedMessage: m},
		}))
	}
	if err != nil {
		r.t.Fatalf("the node did not take the whole request: %v", err)
	}
	resp, err := call.CloseAndRecv()
	a.err, a.wrong = err, resp.GetWrongExpectedVersion()
	a.rev, a.pos = -1, int64(resp.GetSuccess().GetPosition().GetCommitPosition())
	switch s := resp.GetSuccess().GetCurrentRevisionOption().(type) {
	case *api.AppendResp_Success_CurrentRevision:
		a.rev = int64(s.CurrentRevision)
	}
	return a
}

// must appends and expects success.
func (r *rig) must(name string, expected int64, ids ...string) answer {
	r.t.Helper()
	a := r.append(name, expected, ids...)
	if a.err != nil || a.wrong != nil {
		r.t.Fatalf("append to %s at %d: %v %v", name, expected, a.err, a.wrong)
	}
	return a
}

// setMeta writes a stream's metadata.
func (r *rig) setMeta(name, data string) {
	r.t.Helper()
	a := r.send("$$"+name, anyRevision, message(uuid.New(), metadataType, data))
	if a.err != nil || a.wrong != nil {
		r.t.Fatalf("set metadata: %v %v", a.err, a.wrong)
	}
}

func (r *rig) delete(name string, expected int64) (int64, error) {
	o := &api.DeleteReq_Options{StreamIdentifier: stream(name)}
	switch expected {
	case noStream:
		o.ExpectedStreamRevision = &api.DeleteReq_Options_NoStream{NoStream: empty}
	case anyRevision:
		o.ExpectedStreamRevision = &api.DeleteReq_Options_Any{Any: empty}
	case streamExists:
		o.ExpectedStreamRevision = &api.DeleteReq_Options_StreamExists{StreamExists: empty}
	default:
		o.ExpectedStreamRevision = &api.DeleteReq_Options_Revision{Revision: uint64(expected)}
	}
	resp, err := r.client.Delete(within(r.t), &api.DeleteReq{Options: o})
	return int64(resp.GetPosition().GetCommitPosition()), err
}

func (r *rig) tombstone(name string) error {
	_, err := r.client.Tombstone(within(r.t), &api.TombstoneReq{Options: &api.TombstoneReq_Options{
		StreamIdentifier:       stream(name),
		ExpectedStreamRevision: &api.TombstoneReq_Options_Any{Any: empty},
	}})
	return err
}

func options() *api.ReadReq_Options {
	return &api.ReadReq_Options{
		CountOption:  &api.ReadReq_Options_Count{Count: 1000},
		FilterOption: &api.ReadReq_Options_NoFilter{NoFilter: empty},
		UuidOption: &api.ReadReq_Options_UUIDOption{
			Content: &api.ReadReq_Options_UUIDOption_Structured{Structured: empty},
		},
		StreamOption: &api.ReadReq_Options_All{All: &api.ReadReq_Options_AllOptions{
			AllOption: &api.ReadReq_Options_AllOptions_Start{Start: empty},
		}},
	}
}

func ofStream(name string) *api.ReadReq_Options {
	o := options()
	o.StreamOption = &api.ReadReq_Options_Stream{Stream: &api.ReadReq_Options_StreamOptions{
		StreamIdentifier: stream(name),
		RevisionOption:   &api.ReadReq_Options_StreamOptions_Start{Start: empty},
	}}
	return o
}

func (r *rig) read(o *api.ReadReq_Options) (got []*api.ReadResp, err error) {
	r.t.Helper()
	call, err := r.client.Read(within(r.t), &api.ReadReq{Options: o})
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

// each reads without a bound, an event at a time.
func (r *rig) each(o *api.ReadReq_Options) iter.Seq2[*api.ReadResp, error] {
	o.CountOption = &api.ReadReq_Options_Count{Count: 1 << 40}
	return func(yield func(*api.ReadResp, error) bool) {
		ctx, cancel := context.WithCancel(r.t.Context())
		defer cancel()
		call, err := r.client.Read(ctx, &api.ReadReq{Options: o})
		for err == nil {
			var m *api.ReadResp
			if m, err = call.Recv(); err == nil && !yield(m, nil) {
				return
			}
		}
		if !errors.Is(err, io.EOF) {
			yield(nil, err)
		}
	}
}

// revisions reads a stream and gives the revisions there are.
func (r *rig) revisions(name string) (revs []int64) {
	r.t.Helper()
	got, err := r.read(ofStream(name))
	if err != nil {
		r.t.Fatalf("read %s: %v", name, err)
	}
	for _, m := range got {
		if m.GetStreamNotFound() != nil {
			return []int64{-1}
		}
		revs = append(revs, int64(m.GetEvent().GetEvent().GetStreamRevision()))
	}
	return revs
}

func code(err error) codes.Code { return status.Code(err) }
