package commands

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"prelude/domain"
	"prelude/domain/preset"
	"prelude/domain/session"
	"prelude/internal/esnode"
	"prelude/internal/esnode/esnodetest"
	"prelude/internal/eventlog"
	"prelude/internal/eventlog/eventlogtest"
	"prelude/internal/eventstore"
	"prelude/internal/eventstore/storetest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if code != 0 {
			fmt.Fprintf(os.Stderr, "the nodes' moods had PRELUDE_TEST_SEED=%d\n", moodSeed)
		}
		os.Exit(code)
	}))
}

// script is a model that says what a test wants.
type script struct {
	says func(ctx context.Context, req ModelRequest) iter.Seq2[Chunk, error]
}

func (script) Route(name string) (Route, bool) {
	return Route{Name: "demo", Target: "demo", WindowTokens: 100_000, Total: time.Minute}, name == "demo"
}

func (s script) Routes() []Route {
	r, _ := s.Route("demo")
	return []Route{r}
}

func (s script) Stream(ctx context.Context, _ Route, req ModelRequest) iter.Seq2[Chunk, error] {
	if s.says == nil {
		return saying("Hello.")(ctx, req)
	}
	return s.says(ctx, req)
}

// saying is a model that says pieces of text and then stops.
func saying(pieces ...string) func(context.Context, ModelRequest) iter.Seq2[Chunk, error] {
	return func(context.Context, ModelRequest) iter.Seq2[Chunk, error] {
		return func(yield func(Chunk, error) bool) {
			for _, p := range pieces {
				if !yield(Chunk{Text: p}, nil) {
					return
				}
			}
			yield(Chunk{Finish: "stop"}, nil)
		}
	}
}

// waiting is a model that begins, waits until it is released or its context ends, and stops.
func waiting(release <-chan struct{}) func(context.Context, ModelRequest) iter.Seq2[Chunk, error] {
	return func(ctx context.Context, _ ModelRequest) iter.Seq2[Chunk, error] {
		return func(yield func(Chunk, error) bool) {
			if !yield(Chunk{Text: "Well"}, nil) {
				return
			}
			select {
			case <-release:
				yield(Chunk{Text: ".", Finish: "stop"}, nil)
			case <-ctx.Done():
				yield(Chunk{}, context.Cause(ctx))
			}
		}
	}
}

const (
	acme = domain.OrgID("org_0000000000000000000000000a")
	olga = domain.UserID("usr_00000000000000000000000001")
	mara = domain.UserID("usr_00000000000000000000000002")
)

// rig is a log on a node of its own, and an engine over it.
type rig struct {
	instance string // of its producer
	boot     int64  // how often that was started
	socket   string // of its node
	*Engine
	t    *testing.T
	keys *eventlogtest.Keys
	hub  *Hub
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir := storetest.Folder(t)
	startNodeIn(t, dir)
	return newRigOn(t, filepath.Join(dir, socketFile))
}

// startNodeIn runs a node in a folder until the test ends.
func startNodeIn(t *testing.T, dir string) {
	t.Helper()
	node, err := startNode(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.Close(); err != nil {
			t.Error(err)
		}
	})
}

// newRigOn is a rig on a node that runs.
func newRigOn(t *testing.T, socket string) *rig {
	t.Helper()
	k := &eventlogtest.Keys{}
	return (&rig{t: t, keys: k, socket: socket}).over(logOn(t, eventstore.Config{Socket: socket}, k))
}

// logOn is a log on a store.
func logOn(t *testing.T, cfg eventstore.Config, k *eventlogtest.Keys) *eventlog.Log {
	t.Helper()
	store, err := eventstore.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return &eventlog.Log{Store: store, Keys: k}
}

const socketFile = "node.sock"

// moodSeed is of the moods of all nodes; a test that fails tells it.
var moodSeed = esnodetest.Seed()

func startNode(ctx context.Context, dir string) (*esnode.Node, error) {
	return esnode.Start(ctx, esnodetest.Shape(esnode.Config{Dir: dir, Socket: filepath.Join(dir, socketFile)}, moodSeed))
}

// over is an engine over a log, with nothing in its memory.
func (r *rig) over(log *eventlog.Log) *rig {
	n := &rig{t: r.t, keys: r.keys, socket: r.socket, instance: "one", boot: 1, hub: NewHub(slog.New(slog.DiscardHandler))}
	n.Engine = NewEngine(log, script{}, slog.New(slog.DiscardHandler))
	if r.Engine != nil {
		n.Now = r.Now
	}
	r.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := n.hub.Drain(ctx, 0); err != nil {
			r.t.Error(err)
		}
	})
	return n
}

// other is another process over the same log.
func (r *rig) other() *rig {
	n := r.over(r.Log)
	n.instance = uuid.NewString()
	return n
}

// again is the same instance, started anew.
func (r *rig) again() *rig {
	n := r.over(r.Log)
	n.boot, n.Snapshots = r.boot+1, r.Snapshots
	return n
}

// eraser is the vault of the process.
func (r *rig) eraser() Eraser {
	r.t.Helper()
	vault, ok := r.Log.Keys.(Eraser)
	if !ok {
		r.t.Fatal("the vault destroys nothing")
	}
	return vault
}

// at sets the clock.
func (r *rig) at(t time.Time) { r.Now = func() time.Time { return t } }

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// by is a new command of a user's, who is an admin.
func by(u domain.UserID) Meta {
	return Meta{By: domain.Principal{Org: acme, User: u, Key: "key_1", Role: domain.Admin}, Command: uuid.New(),
		Correlation: "req_1"}
}

// repeatable is a new command with an idempotency key.
func repeatable(u domain.UserID, body string) Meta {
	m := by(u)
	m.Repeatable, m.Body = true, []byte(body)
	return m
}

func (r *rig) head() eventlog.Position {
	r.t.Helper()
	at, err := r.Log.Head(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return at
}

// records are a stream's, opened.
func (r *rig) records(s eventlog.Stream) (all []eventlog.Record) {
	r.t.Helper()
	for rec, err := range r.Log.Read(r.t.Context(), s, 0, eventlog.Forwards) {
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, rec)
	}
	if err := r.Log.Open(r.t.Context(), all); err != nil {
		r.t.Fatal(err)
	}
	return all
}

func (r *rig) presets() Presets { return Presets{r.Engine} }

func (r *rig) sessions() Sessions {
	return Sessions{Engine: r.Engine, Hub: r.hub, Producer: session.Producer{Instance: r.instance, Boot: r.boot}}
}

// session starts a session on the model.
func (r *rig) session(u domain.UserID) domain.SessionID {
	r.t.Helper()
	s, err := r.sessions().Start(r.t.Context(), StartSession{Model: "demo"}, by(u))
	if err != nil {
		r.t.Fatal(err)
	}
	return s.State.ID
}

func draft(name string) preset.Draft {
	return preset.Draft{Name: name, Instructions: "Be kind.", Model: "demo",
		Context: preset.Context{Strategy: preset.TruncateOldest}}
}

// create creates a preset of the org's.
func (r *rig) create(u domain.UserID, slug string) domain.PresetID {
	r.t.Helper()
	left, err := r.tryCreate(slug, by(u))
	if err != nil {
		r.t.Fatal(err)
	}
	return left.State.ID
}

func (r *rig) tryCreate(slug string, m Meta) (Preset, error) {
	return r.presets().Create(r.t.Context(), CreatePreset{Scope: preset.OrgScope, Slug: slug, Draft: draft(slug)}, m)
}

// refused expects a refusal with a code.
func refused(t *testing.T, err error, code string) {
	t.Helper()
	_ = refusal(t, err, code)
}

// refusal is refused, and gives the refusal.
func refusal(t *testing.T, err error, code string) *domain.Error {
	t.Helper()
	var e *domain.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("got %v, want %s", err, code)
	}
	return e
}
