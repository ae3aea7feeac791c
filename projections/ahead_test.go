package projections

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"prelude/domain"
	"prelude/internal/esnode"
	"prelude/internal/eventlog"
)

// backedUp is a log that readers apply, with an older backup of it.
type backedUp struct {
	*author
	node    *node
	file    string
	dsn     string
	engine  *Engine
	readers []Reader
}

// newBackedUp writes a log, backs it up, and has the readers apply all of it.
func newBackedUp(t *testing.T, seed uint64, readers ...Reader) *backedUp {
	t.Helper()
	log, n := newNode(t)
	pool, dsn := database(t)
	b := &backedUp{node: n, file: filepath.Join(t.TempDir(), "backup"), dsn: dsn, readers: readers,
		engine: newEngine(log, pool, readers...), author: write(t, log, seed, 30)}
	if _, err := esnode.Backup(t.Context(), n.dir, b.file, nil); err != nil {
		t.Fatal(err)
	}
	b.apply()
	return b
}

// apply brings the readers to the log's end.
func (b *backedUp) apply() {
	b.t.Helper()
	for _, r := range b.readers {
		if err := b.engine.Build(b.t.Context(), r, b.last, nil); err != nil {
			b.t.Fatal(err)
		}
	}
}

// restore puts the backup in the log's place, as whoever copies files does: its identity stays.
func (b *backedUp) restore() {
	b.t.Helper()
	b.node.stop()
	files, err := filepath.Glob(filepath.Join(b.node.dir, "*"))
	for _, f := range files {
		err = errors.Join(err, os.RemoveAll(f))
	}
	if err == nil {
		_, err = esnode.Restore(b.t.Context(), b.file, b.node.dir, nil, nil)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.node.start()
}

// outgrow appends to the log until it is longer than every checkpoint.
func (b *backedUp) outgrow() {
	b.t.Helper()
	a := newAuthor(b.t, b.log, 99)
	a.ids = 10_000 // other things than those of the log's first life
	furthest := ask[eventlog.Position](b.t, b.dsn, "SELECT max(pos) FROM prelude.checkpoints")
	another := id[domain.OrgID](domain.OrgPrefix, 4)
	for by := a.found(another); a.last <= furthest; {
		a.newPreset(another, by)
	}
	b.last = a.last
}

// refused expects that no start and no reader goes on, though the log is long enough.
func (b *backedUp) refused() {
	b.t.Helper()
	if head, err := b.log.Head(b.t.Context()); err != nil ||
		head <= ask[eventlog.Position](b.t, b.dsn, "SELECT max(pos) FROM prelude.checkpoints") {
		b.t.Errorf("the log ends at %d, before a checkpoint: positions alone would tell: %v", head, err)
	}
	if err := Ahead(b.t.Context(), b.engine.Pool, b.log, b.readers); !errors.Is(err, ErrAhead) {
		b.t.Errorf("the start: %v", err)
	}
	for _, r := range b.readers {
		if _, err := b.engine.begin(b.t.Context(), r); !errors.Is(err, ErrAhead) {
			b.t.Errorf("%s begins: %v", r.Name, err)
		}
	}
}

// goesOn expects that the start and the readers go on.
func (b *backedUp) goesOn() {
	b.t.Helper()
	if err := Ahead(b.t.Context(), b.engine.Pool, b.log, b.readers); err != nil {
		b.t.Errorf("the start: %v", err)
	}
	for _, r := range b.readers {
		if _, err := b.engine.begin(b.t.Context(), r); err != nil {
			b.t.Errorf("%s begins: %v", r.Name, err)
		}
	}
}

func TestAhead_refuses_a_log_that_was_restored_and_has_outgrown_what_was_built(t *testing.T) {
	t.Parallel()
	out := OutReader(takers{})
	b := newBackedUp(t, 81, ViewsReader(), RightsReader(), out)
	by := b.presets[0].state.Owner
	for range 5 {
		b.newPreset(acme, by) // the tail that is lost
	}
	b.found(id[domain.OrgID](domain.OrgPrefix, 3))
	b.apply()
	b.goesOn()
	b.restore()
	b.outgrow()
	b.refused()

	for _, sql := range append(Drop(), Build()...) {
		execute(t, b.dsn, sql)
	}
	cut(t, b.dsn, b.engine.Pool, b.log)
	b.goesOn()
	b.apply()
	pool, fresh := database(t)
	apply(t, newEngine(b.log, pool), ViewsReader(), recordsFor(t, b.log, ViewsReader()), func() int { return 50 })
	apply(t, newEngine(b.log, pool), RightsReader(), recordsFor(t, b.log, RightsReader()), func() int { return 50 })
	same(t, "built anew", dump(t, b.dsn), dump(t, fresh))
	if n := len(after(recordsFor(t, b.log, out), ask[eventlog.Position](t, b.dsn,
		"SELECT pos FROM prelude.checkpoints WHERE reader = 'out'"))); n > 0 {
		t.Errorf("%d events are not sent out", n)
	}
}

// cut takes back how far was sent out.
func cut(t *testing.T, dsn string, pool *pgxpool.Pool, log *eventlog.Log) {
	t.Helper()
	all, err := Cut(t.Context(), pool, log)
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range all {
		execute(t, dsn, sql)
	}
}

// What was lost was for no reader, and what came in its place is.
func TestAhead_knows_a_tail_that_was_for_nobody(t *testing.T) {
	t.Parallel()
	b := newBackedUp(t, 82, ViewsReader(), RightsReader())
	for i := range 20 {
		b.take(fmt.Sprint("name-", i))
	}
	b.apply()
	for _, r := range b.readers {
		if at := ask[eventlog.Position](t, b.dsn, "SELECT pos FROM prelude.checkpoints WHERE reader = $1",
			r.Name); at != b.last {
			t.Errorf("%s is at %d, not at the end of the tail, %d", r.Name, at, b.last)
		}
	}
	b.goesOn()
	b.restore()
	b.outgrow()
	b.refused()
}

func TestAhead_knows_another_event_in_the_place_of_one(t *testing.T) {
	t.Parallel()
	b := newBackedUp(t, 85, ViewsReader())
	p := b.newPreset(acme, b.presets[0].state.Owner)
	b.edit(p)
	b.apply()
	b.restore()
	for i := range p.revision + 1 {
		b.raw(p.stream, i-1, "preset.unlabeled.v1", `{"label":"x","by":"usr_1","at":"2026-03-01T12:00:00Z"}`)
	}
	b.outgrow()
	b.refused()
}

func TestAhead_knows_the_log_of_a_parked_stream(t *testing.T) {
	t.Parallel()
	b := newBackedUp(t, 83, ViewsReader())
	p := b.newPreset(acme, b.presets[0].state.Owner)
	b.raw(p.stream, p.revision, "preset.edited.v1", `[7]`)
	b.apply()
	if n := ask[int](t, b.dsn, "SELECT count(*) FROM prelude.parked"); n != 1 {
		t.Fatalf("%d streams are parked", n)
	}
	b.goesOn()
	b.restore()
	b.outgrow()
	b.refused()
}

// Of a stream that was cut or deleted nothing can be told, before its events are taken out of the file and after. Nor
// can it of a checkpoint of an older program.
func TestAhead_lets_a_log_pass_of_which_nothing_can_be_told(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(*backedUp, eventlog.Stream){
		"the stream was cut": func(b *backedUp, s eventlog.Stream) { b.metadata(s, `{"$tb":1}`) },
		"the stream keeps its newest event": func(b *backedUp, s eventlog.Stream) {
			b.metadata(s, `{"$maxCount":1}`)
			b.raw(s, 0, "preset.unlabeled.v1", `{"label":"x","by":"usr_1","at":"2026-03-01T12:00:00Z"}`)
		},
		"the stream was deleted": func(b *backedUp, s eventlog.Stream) { b.metadata(s, `{"$tb":9223372036854775807}`) },
		"the stream was deleted for good": func(b *backedUp, s eventlog.Stream) {
			b.log.Store = goneStream{b.log.Store, s.String()}
		},
		"the checkpoint has no witness": func(b *backedUp, _ eventlog.Stream) {
			execute(b.t, b.dsn, "UPDATE prelude.checkpoints SET witness = NULL")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBackedUp(t, 84, ViewsReader())
			s := b.newPreset(acme, b.presets[0].state.Owner).stream
			b.apply()
			if w := ask[string](t, b.dsn, "SELECT witness->>'stream' FROM prelude.checkpoints"); w != s.String() {
				t.Fatalf("the witness is of %s", w)
			}
			do(b, s)
			b.goesOn()
			b.node.stop()
			_, err := esnode.Compact(t.Context(), b.node.dir, nil)
			b.node.start()
			if err != nil {
				t.Fatal(err)
			}
			b.goesOn()
		})
	}
}

// metadata sets a stream's metadata.
func (b *backedUp) metadata(s eventlog.Stream, data string) {
	b.t.Helper()
	_, err := b.log.Store.Append(b.t.Context(), "$$"+s.String(), eventlog.None,
		[]eventlog.Proposed{{ID: uuid.New(), Type: "$metadata", Data: []byte(data)}})
	if err != nil {
		b.t.Fatal(err)
	}
}

// goneStream is a store of which one stream was deleted for good.
type goneStream struct {
	eventlog.Store
	stream string
}

func (g goneStream) Read(ctx context.Context, stream string, from eventlog.Revision, dir eventlog.Direction, limit uint64,
) iter.Seq2[eventlog.Raw, error] {
	if stream != g.stream {
		return g.Store.Read(ctx, stream, from, dir, limit)
	}
	return func(yield func(eventlog.Raw, error) bool) { yield(eventlog.Raw{}, eventlog.ErrGone) }
}
