package projections

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"

	"prelude/domain/preset"
	"prelude/internal/eventlog"
)

// faulty is an index that remembers what it was given, and fails as it is told.
type faulty struct {
	mu   sync.Mutex
	gone bool  // there is none
	cut  error // of the next Bootstrap, after it has made one
	fail error
	puts int
	docs map[string]Document
}

func (f *faulty) Bootstrap(context.Context) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	made, err := f.gone, f.cut
	f.gone, f.cut = false, nil
	return made, err
}

func (f *faulty) Missing(context.Context) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.gone, nil
}

func (f *faulty) Put(_ context.Context, docs []Document) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.puts++
	if f.fail != nil {
		return f.fail
	}
	if f.docs == nil {
		f.docs = map[string]Document{}
	}
	for _, d := range docs {
		if d.Position >= f.docs[d.ID].Position {
			f.docs[d.ID] = d
		}
	}
	return nil
}

func (f *faulty) set(change func(*faulty)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func TestIndex_waits_until_views_has_passed_its_batch(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	a := newAuthor(t, log, 7)
	p := a.newPreset(acme, a.found(acme))
	pool, _ := database(t)
	index := &faulty{}
	e := newEngine(log, pool, ViewsReader())
	r := NewIndexReader(pool, e.Progress, index)
	early := recordsFor(t, log, r)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Before(ctx, early); !errors.Is(err, context.Canceled) || index.puts > 0 {
		t.Fatalf("%d puts before views had come: %v", index.puts, err)
	}
	a.edit(p)
	apply(t, e, ViewsReader(), recordsFor(t, log, ViewsReader()), func() int { return 100 })
	if err := r.Before(t.Context(), early); err != nil {
		t.Fatal(err)
	}
	got := index.docs[p.stream.Object()]
	if got.Position != a.last || got.Description != p.state.Draft.Description {
		t.Errorf("it was given the row of %d, want that of %d: %+v", got.Position, a.last, got)
	}
	if got.Org != string(acme) || got.Slug != p.state.Slug || got.Instructions != "Be kind to {{who}}." ||
		got.Status != "draft" || got.Owner != string(p.state.Owner) {
		t.Errorf("it was given %+v", got)
	}
}

// indexed is a history with its index, as both readers follow it.
type indexed struct {
	*author
	dsn   string
	index *faulty
	e     *Engine
	heard alarms
	r     []Reader
}

func newIndexed(t *testing.T, seed uint64) *indexed {
	t.Helper()
	log := newLog(t)
	pool, dsn := database(t)
	x := &indexed{author: newAuthor(t, log, seed), dsn: dsn, index: &faulty{}, heard: newAlarms()}
	x.e = newEngine(log, pool)
	x.e.Logger = slog.New(x.heard)
	x.r = []Reader{ViewsReader(), NewIndexReader(pool, x.e.Progress, x.index)}
	x.e.Progress.Watch(x.r)
	by := x.found(acme)
	for range 5 {
		x.newPreset(acme, by)
	}
	events, err := x.presets[0].state.Delete(by, x.now())
	decided(x.author, x.presets[0], by, events, err)
	return x
}

// expect holds the index against the presets.
func (x *indexed) expect() {
	x.t.Helper()
	x.index.mu.Lock()
	defer x.index.mu.Unlock()
	if len(x.index.docs) != len(x.presets) {
		x.t.Errorf("%d documents, want %d", len(x.index.docs), len(x.presets))
	}
	for _, p := range x.presets {
		d := x.index.docs[p.stream.Object()]
		at := ask[eventlog.Position](x.t, x.dsn, "SELECT pos FROM views_1.presets WHERE id = $1", d.ID)
		if d.Position != at || d.Name != p.state.Draft.Name || d.Deleted != (p.state.DeletedAt != nil) {
			x.t.Errorf("the row is at %d: %+v", at, d)
		}
	}
}

func (x *indexed) checkpoint() eventlog.Position {
	x.t.Helper()
	return ask[eventlog.Position](x.t, x.dsn, "SELECT pos FROM prelude.checkpoints WHERE reader = 'index'")
}

func TestIndex_puts_each_row_with_its_position(t *testing.T) {
	t.Parallel()
	x := newIndexed(t, 8)
	running(t, x.e, x.r...)
	until(t, x.e, IndexReader, x.last)
	x.expect()
	if at := x.checkpoint(); at < x.last {
		t.Errorf("the checkpoint is %d", at)
	}
}

func TestIndex_is_given_all_again_when_it_is_made_anew(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]error{"whole": nil, "cut off when it was made": errors.New("cut off")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newIndexed(t, 9)
			stop := running(t, x.e, x.r...)
			until(t, x.e, IndexReader, x.last)
			stop()
			x.index.set(func(f *faulty) { f.docs, f.gone, f.cut = nil, true, cut })
			x.change(x.presets[1]) // perhaps nothing
			x.newPreset(acme, x.presets[1].state.Owner)
			running(t, x.e, x.r...)
			until(t, x.e, IndexReader, x.last)
			x.expect()
		})
	}
}

func TestIndex_that_fails_moves_nothing(t *testing.T) {
	t.Parallel()
	x := newIndexed(t, 10)
	x.index.fail = errors.New("the index is full")
	running(t, x.e, x.r...)
	for range 2 {
		<-x.heard.heard
	}
	if at := x.checkpoint(); at != 0 || x.e.Progress.At(IndexReader) != 0 {
		t.Errorf("the checkpoint is %d, the progress %d", at, x.e.Progress.At(IndexReader))
	}
	x.index.set(func(f *faulty) { f.fail = nil })
	until(t, x.e, IndexReader, x.last)
	x.expect()
}

func TestDocument_of_a_published_preset_says_so(t *testing.T) {
	t.Parallel()
	p := preset.Preset{ID: "prs_1", Versions: make([]preset.Version, 3)}
	if d := document(p, 7); d.Version != 3 || d.Status != "published" || d.Position != 7 {
		t.Errorf("%+v", d)
	}
}
