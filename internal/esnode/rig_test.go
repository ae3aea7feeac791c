package esnode

import (
	"context"
	"errors"
	"io"
	"iter"
	"os"
	"path/filepath"
	"testing"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"prelude/test/conformance/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a node with a connection to it, by the protocol's own stubs.
type rig struct {
	*wire.Client
	dir  string
	cfg  Config // what differs from the default
	node *Node
}

func newRig(t *testing.T) *rig {
	t.Helper()
	return newRigWith(t, Config{})
}

// newRigWith is one whose node is told more than where it is.
func newRigWith(t *testing.T, cfg Config) *rig {
	t.Helper()
	r := newStoppedRig(t)
	r.cfg = cfg
	r.start(t)
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
	return &rig{dir: dir}
}

func (r *rig) socket() string { return filepath.Join(r.dir, "node.sock") }

func (r *rig) start(t *testing.T) {
	t.Helper()
	if err := r.tryStart(t); err != nil {
		t.Fatal(err)
	}
}

// tryStart is start where the node may have reasons not to.
func (r *rig) tryStart(t *testing.T) error {
	t.Helper()
	cfg := r.cfg
	cfg.Dir, cfg.Socket = r.dir, r.socket()
	n, err := Start(t.Context(), cfg)
	if err != nil {
		return err
	}
	r.node = n
	r.Client = wire.Dial(t, "unix:"+r.socket(),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	return nil
}

func (r *rig) stop() {
	if err := errors.Join(r.Conn.Close(), r.node.Close()); err != nil {
		r.T.Error(err)
	}
}

// each reads without a bound, an event at a time.
func (r *rig) each(o *api.ReadReq_Options) iter.Seq2[*api.ReadResp, error] {
	return func(yield func(*api.ReadResp, error) bool) {
		ctx, cancel := context.WithCancel(r.T.Context())
		defer cancel()
		call, err := r.Streams.Read(ctx, &api.ReadReq{Options: wire.Count(o, 1<<40)})
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

// sum verifies the log of a folder, and says how much there is.
func sum(t *testing.T, dir string) Counts {
	t.Helper()
	c, err := Verify(t.Context(), dir, nil, nil, func(p Problem) { t.Errorf("a problem: %s", p) })
	if err != nil {
		t.Fatal(err)
	}
	return c
}
