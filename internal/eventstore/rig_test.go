package eventstore_test

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"prelude/internal/esnode"
	"prelude/internal/esnode/esnodetest"
	"prelude/internal/eventlog"
	"prelude/internal/eventstore"
	"prelude/internal/eventstore/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a node, the guard before it with a proxy between, and a guard that goes straight to it.
type rig struct {
	t       *testing.T
	dir     string
	node    *esnode.Node       // nil: it is the process
	process *storetest.Process // that can be killed
	proxy   *storetest.Proxy
	store   *eventstore.Store // by the proxy
	steady  int               // goroutines of store in use, where they were counted
	direct  *eventstore.Store
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: storetest.Folder(t)}
	r.start()
	t.Cleanup(func() {
		if err := r.node.Close(); err != nil {
			t.Error(err)
		}
	})
	r.connect()
	return r
}

// newMortalRig is a rig whose node is a process of its own, so that it can be killed.
func newMortalRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: storetest.Folder(t)}
	r.process = storetest.NewProcess(t, r.dir)
	r.connect()
	return r
}

// TestNode is that process.
func TestNode(t *testing.T) {
	storetest.Serve(t, func(dir string) (io.Closer, error) {
		return esnode.Start(t.Context(), esnodetest.Config(t, esnode.Config{Dir: dir, Socket: filepath.Join(dir, socketFile),
			MaxAppendSize: largeAppend}))
	})
}

const socketFile = "node.sock"

// largeAppend lets appends be slow: the product stays below what a store takes by default.
const largeAppend = 16 << 20

func (r *rig) connect() {
	r.t.Helper()
	r.proxy = storetest.NewProxy(r.t, filepath.Join(r.dir, "proxy.sock"), r.socket())
	r.direct = open(r.t, r.socket())
	r.asGuard(func() {
		r.store = open(r.t, r.proxy.Path)
		if err := r.store.Ready(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
	})
}

func (r *rig) socket() string { return filepath.Join(r.dir, socketFile) }

func (r *rig) start() {
	r.t.Helper()
	var err error
	r.node, err = esnode.Start(context.Background(), esnodetest.Config(r.t, esnode.Config{Dir: r.dir, Socket: r.socket(),
		MaxAppendSize: largeAppend}))
	if err != nil {
		r.t.Fatal(err)
	}
}

func open(t *testing.T, socket string) *eventstore.Store {
	t.Helper()
	s, err := eventstore.Open(eventstore.Config{Socket: socket, Logger: slog.New(alarm{t})})
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

// alarm fails a test in which the guard warns: a client had to be closed in use.
type alarm struct{ t *testing.T }

func (alarm) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (a alarm) WithAttrs([]slog.Attr) slog.Handler         { return a }
func (a alarm) WithGroup(string) slog.Handler              { return a }
func (a alarm) Handle(_ context.Context, r slog.Record) error {
	if !strings.HasPrefix(r.Message, "the event store ") { // outages are made here
		a.t.Error(r.Message)
	}
	return nil
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func (r *rig) ctx() context.Context { return within(r.t, 30*time.Second) }

func event(kind, data string) eventlog.Proposed {
	return eventlog.Proposed{
		ID: uuid.New(), Type: kind, Data: []byte(data), Meta: []byte(`{"by":"test"}`),
	}
}

func events(n int) []eventlog.Proposed {
	all := make([]eventlog.Proposed, n)
	for i := range all {
		all[i] = event("tested.v1", `{}`)
	}
	return all
}

// must appends n events straight to the node.
func (r *rig) must(stream string, at eventlog.Revision, n int) eventlog.Appended {
	r.t.Helper()
	a, err := r.direct.Append(r.ctx(), stream, at, events(n))
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

// log gives the positions of all events of streams that begin with a prefix, straight from the node.
func (r *rig) log(prefix string) []eventlog.Position {
	r.t.Helper()
	return positions(r.stored(prefix))
}

func positions(events []eventlog.Raw) (all []eventlog.Position) {
	for _, e := range events {
		all = append(all, e.Position)
	}
	return all
}

func (r *rig) stored(prefix string) (all []eventlog.Raw) {
	r.t.Helper()
	for s, err := range r.direct.Subscribe(r.ctx(), 0, eventlog.Filter{Prefixes: []string{prefix}}) {
		if err != nil {
			r.t.Fatal(err)
		}
		switch s.Kind {
		case eventlog.Event:
			all = append(all, s.Raw)
		case eventlog.CaughtUp:
			return all
		}
	}
	return all
}
