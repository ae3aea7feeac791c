package esnode

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

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
	node *Node
}

func newRig(t *testing.T) *rig {
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
	r := &rig{dir: dir}
	r.start(t)
	t.Cleanup(r.stop)
	return r
}

func (r *rig) socket() string { return filepath.Join(r.dir, "node.sock") }

func (r *rig) start(t *testing.T) {
	t.Helper()
	var err error
	if r.node, err = Start(t.Context(), Config{Dir: r.dir, Socket: r.socket()}); err != nil {
		t.Fatal(err)
	}
	r.Client = wire.Dial(t, "unix:"+r.socket(),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
}

func (r *rig) stop() {
	if err := errors.Join(r.Conn.Close(), r.node.Close()); err != nil {
		r.T.Error(err)
	}
}
