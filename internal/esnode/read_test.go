package esnode

import (
	"errors"
	"io"
	"testing"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc"

	"prelude/test/conformance/wire"
)

// What is committed but not yet published must not be seen, whichever way one looks.
func TestRead_ends_at_the_durable_position(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Must("s", noStream, "a")
	if got := r.Revisions("s"); len(got) != 1 {
		t.Fatalf("the stream shows %v", got)
	}
	sub := r.Subscribe(wire.Options())
	sub.Expect(`{"id":"a"}`, "caught up")
	w := r.node.writer // idle now, and not woken before the end of the test
	s, err := w.state("s")
	if err == nil {
		err = w.conn.begin.do()
	}
	if err == nil {
		_, err = w.write("s", s, 1, &event{id: wire.ID("b"), kind: "tested", data: []byte("b")})
	}
	if err == nil {
		err = w.conn.commit.do()
	}
	if err != nil {
		t.Fatal(err)
	}
	r.node.book.states = newCache[string, state](9) // so that all is looked up again
	if got := r.Revisions("s"); len(got) != 1 {
		t.Errorf("the stream shows %v", got)
	}
	r.Subscribe(wire.Options()).Expect(`{"id":"a"}`, "caught up")
	back := wire.OfStream("s")
	back.GetStream().RevisionOption = &api.ReadReq_Options_StreamOptions_End{End: empty}
	for name, o := range map[string]*api.ReadReq_Options{
		"all": wire.Options(), "backwards": wire.Backwards(back),
	} {
		if got, err := r.Read(o); err != nil || len(got) != 1 {
			t.Errorf("%s shows %d events, %v", name, len(got), err)
		}
	}
	r.node.book.publish(w.at.last, w.touched, w.added)
	if got := r.Revisions("s"); len(got) != 2 {
		t.Errorf("after publishing the stream shows %v", got)
	}
	sub.Expect("b")
}

// A server that answers before its client has ended its half of the call resets the call, which
// clients take for a lost node. So a read begins after that end: it sees what was appended before.
func TestRead_begins_when_the_request_has_ended(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	desc := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	call, err := r.Conn.NewStream(wire.Within(t), desc, api.Streams_Read_FullMethodName)
	if err != nil {
		t.Fatal(err)
	}
	if err := call.SendMsg(&api.ReadReq{Options: wire.OfStream("s")}); err != nil {
		t.Fatal(err)
	}
	r.Must("s", noStream, "a")
	if err := call.CloseSend(); err != nil {
		t.Fatal(err)
	}
	got := &api.ReadResp{}
	if err := call.RecvMsg(got); err != nil || got.GetEvent() == nil {
		t.Errorf("got %v, %v", got, err)
	}
	if err := call.RecvMsg(got); !errors.Is(err, io.EOF) {
		t.Errorf("it ends with %v", err)
	}
}
