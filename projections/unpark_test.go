package projections

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"prelude/domain"
	"prelude/domain/apikey"
	"prelude/internal/eventlog"
)

// execute runs a statement as the superuser.
func execute(t testing.TB, dsn, sql string, args ...any) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// A database that refuses a row parks its stream; when it does not refuse it any more, all of the stream is applied,
// and what is left is what one leaves that never was refused.
func TestUnpark_applies_a_stream_as_if_it_had_not_been_parked(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	a := newAuthor(t, log, 51)
	by := a.found(acme)
	p, s := a.newPreset(acme, by), a.newSession(acme, by)
	a.newPreset(acme, by)
	pool, dsn := database(t)
	e := newEngine(log, pool, ViewsReader())
	running(t, e, ViewsReader())
	until(t, e, Views, a.last)
	execute(t, dsn, "ALTER TABLE views_1.presets ADD CONSTRAINT no CHECK (revision < 1)")
	execute(t, dsn, "ALTER TABLE views_1.sessions ADD CONSTRAINT no CHECK (revision < 1)")
	for range 4 {
		a.change(p)
		a.edit(p)
		a.post(s)
		a.end(s, a.rng.IntN(3))
	}
	until(t, e, Views, a.last)
	if n := ask[int](t, dsn, "SELECT count(*) FROM prelude.parked"); n != 2 {
		t.Fatalf("%d streams are parked", n)
	}
	if err := e.Unpark(t.Context(), ViewsReader(), p.stream); !errors.Is(err, ErrStillPoison) ||
		!strings.Contains(err.Error(), "SQLSTATE 23514, table presets, constraint no") {
		t.Errorf("while it is refused: %v", err)
	}
	revisionIs(t, dsn, p.stream, 0)
	execute(t, dsn, "ALTER TABLE views_1.presets DROP CONSTRAINT no")
	execute(t, dsn, "ALTER TABLE views_1.sessions DROP CONSTRAINT no")
	for _, stream := range []eventlog.Stream{p.stream, s.stream} {
		if err := e.Unpark(t.Context(), ViewsReader(), stream); err != nil {
			t.Error(err)
		}
		if err := e.Unpark(t.Context(), ViewsReader(), stream); !errors.Is(err, ErrNotParked) {
			t.Errorf("a second time: %v", err)
		}
	}
	a.edit(p)
	a.post(s)
	until(t, e, Views, a.last)
	apart, once := database(t)
	apply(t, newEngine(log, apart), ViewsReader(), recordsFor(t, log, ViewsReader()), func() int { return 7 })
	same(t, "after unparking", dumpOf(t, dsn, "views_1"), dumpOf(t, once, "views_1"))
	revisionIs(t, dsn, p.stream, p.revision)
}

// While a reader goes on, its streams are parked and unparked: no event is applied twice or not at all.
func TestUnpark_loses_nothing_while_the_reader_goes_on(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	pool, dsn := database(t)
	a := newAuthor(t, log, 52)
	by := a.found(acme)
	p := a.newPreset(acme, by)
	e := newEngine(log, pool, ViewsReader())
	running(t, e, ViewsReader())
	until(t, e, Views, a.last)
	for range some(20, 300) {
		execute(t, dsn, `INSERT INTO prelude.parked (reader, version, stream, pos, error)
			VALUES ('views', 1, $1, $2, 'a test')`, p.stream.String(), int64(a.last)+1)
		done := make(chan error, 1)
		go func() { done <- e.Unpark(t.Context(), ViewsReader(), p.stream) }()
		for range 3 {
			a.edit(p)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	until(t, e, Views, a.last)
	revisionIs(t, dsn, p.stream, p.revision)
	if n := ask[int](t, dsn, "SELECT count(*) FROM views_1.audit WHERE object = $1", p.stream.Object()); n !=
		int(p.revision)+1 {
		t.Errorf("%d entries of %d events", n, p.revision+1)
	}
	if n := ask[int](t, dsn, "SELECT count(*) FROM prelude.parked"); n > 0 {
		t.Errorf("%d streams are parked", n)
	}
}

// What was held back is sent out late, and counted once: also if it is sent twice.
func TestUnpark_sends_out_what_was_held_back(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	a := write(t, log, 53, 60)
	pool, dsn := database(t)
	held := a.sessions[0]
	for a.post(held); held.state.UnderWay == nil; {
		a.post(held)
	}
	a.end(held, 0)
	a.post(a.sessions[1]) // newer than what is held back
	a.end(a.sessions[1], 0)
	var sent []eventlog.CloudEvent
	out := OutReader(takers{Usage{pool}.Take, func(_ context.Context, ev eventlog.CloudEvent) error {
		sent = append(sent, ev)
		return nil
	}})
	park := func() {
		execute(t, dsn, `INSERT INTO prelude.parked (reader, version, stream, pos, error)
			VALUES ('out', 1, $1, 0, 'a test')`, held.stream.String())
	}
	park()
	e := newEngine(log, pool, out)
	records := recordsFor(t, log, out)
	apply(t, e, out, slices.Clone(records), func() int { return 9 })
	of := func(subject string) (n int) {
		for _, ev := range sent {
			if ev.Subject == subject {
				n++
			}
		}
		return n
	}
	if n := of(held.stream.Object()); n > 0 {
		t.Errorf("%d events of the parked stream were sent", n)
	}
	for range 2 {
		if err := e.Unpark(t.Context(), out, held.stream); err != nil {
			t.Fatal(err)
		}
		if got, want := usageRows(t, dsn), counts(records); !maps.Equal(got, want) {
			t.Errorf("counted %v\nwant %v", got, want)
		}
		park()
	}
	if n := of(held.stream.Object()); n != 2*int(held.revision+1) {
		t.Errorf("%d events were sent of %d, twice", n, held.revision+1)
	}
}

func TestUnknown_events_are_skipped_and_counted(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	a := newAuthor(t, log, 54)
	by := a.found(acme)
	p, s := a.newPreset(acme, by), a.newSession(acme, by)
	for range 2 {
		a.raw(p.stream, p.revision, "preset.praised.v9", `{"by":7}`)
		p.revision++
		a.edit(p)
	}
	a.raw(s.stream, s.revision, "session.praised.v9", `{}`)
	s.revision++
	a.post(s)
	key := eventlog.APIKeyStream(acme, id[domain.APIKeyID](domain.APIKeyPrefix, a.next()))
	a.raw(key, eventlog.None, "apikey.praised.v9", `{}`)
	a.append(key, 0, by, apikey.Revoked{By: by, At: a.now()})
	pool, dsn := database(t)
	bus := 0
	readers := []Reader{ViewsReader(), RightsReader(), OutReader(takers{
		func(context.Context, eventlog.CloudEvent) error { bus++; return nil }})}
	e := newEngine(log, pool, readers...)
	for _, r := range readers {
		apply(t, e, r, recordsFor(t, log, r), func() int { return 3 })
	}
	revisionIs(t, dsn, p.stream, p.revision)
	if n := ask[int](t, dsn, "SELECT count(*) FROM prelude.parked"); n > 0 {
		t.Errorf("%d streams are parked: %s", n, ask[string](t, dsn, "SELECT string_agg(error, ';') FROM prelude.parked"))
	}
	for reader, want := range map[string]int{Views: 4, Rights: 1, Out: 4} {
		if n := ask[int](t, dsn, "SELECT skipped FROM prelude.checkpoints WHERE reader = $1", reader); n != want {
			t.Errorf("%s has skipped %d, want %d", reader, n, want)
		}
	}
	known := 0
	for _, rec := range recordsFor(t, log, OutReader(nil)) {
		if rec.Event != nil {
			known++
		}
	}
	if bus != known || ask[int](t, dsn, "SELECT count(*) FROM views_1.audit") != known {
		t.Errorf("%d events of a known name: %d were sent", known, bus)
	}
}

// A thing whose first event is not known cannot be folded: it waits for a program that knows it.
func TestUnknown_event_at_the_beginning_parks_the_stream(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	a := newAuthor(t, log, 55)
	a.found(acme)
	s := eventlog.PresetStream(acme, id[domain.PresetID](domain.PresetPrefix, a.next()))
	a.raw(s, eventlog.None, "preset.imported.v1", `{}`)
	pool, dsn := database(t)
	e := newEngine(log, pool, ViewsReader())
	running(t, e, ViewsReader())
	until(t, e, Views, a.last)
	if n := ask[int](t, dsn, "SELECT count(*) FROM views_1.presets"); n > 0 {
		t.Errorf("%d presets of an event that is not known", n)
	}
	a.raw(s, 0, "preset.unlabeled.v1", `{"label":"x","by":"usr_1","at":"2026-03-01T12:00:00Z"}`)
	until(t, e, Views, a.last)
	if n := ask[int](t, dsn, "SELECT count(*) FROM prelude.parked"); n != 1 {
		t.Errorf("%d streams are parked", n)
	}
}

// A record that is missing between two is a gap: it is counted, and its stream waits.
func TestGap_is_counted(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	a := newAuthor(t, log, 56)
	p := a.newPreset(acme, a.found(acme))
	for range 3 {
		a.edit(p)
	}
	pool, dsn := database(t)
	e := newEngine(log, pool, ViewsReader())
	records := recordsFor(t, log, ViewsReader())
	missing := slices.IndexFunc(records, func(r eventlog.Record) bool { return r.Stream == p.stream && r.Revision == 2 })
	apply(t, e, ViewsReader(), slices.Delete(records, missing, missing+1), func() int { return 100 })
	row := ask[string](t, dsn, `SELECT gaps || ' ' || p.error FROM prelude.checkpoints c JOIN prelude.parked p
		USING (reader, version) WHERE reader = 'views'`)
	if row != "1 the event cannot be applied: its revision does not follow the one before: 3 comes after 1" {
		t.Errorf("it says %s", row)
	}
	revisionIs(t, dsn, p.stream, 1)
	if err := e.Unpark(t.Context(), ViewsReader(), p.stream); err != nil {
		t.Error(err)
	}
	revisionIs(t, dsn, p.stream, 3)
}

func TestReason_never_tells_what_people_wrote(t *testing.T) {
	t.Parallel()
	type thing struct {
		N    int            `json:"n"`
		Sums map[string]int `json:"sums"`
	}
	kind := jsonv2.Unmarshal([]byte(`{"n":"marker"}`), &thing{})
	deep := jsonv2.Unmarshal([]byte(`{"sums":{"marker":"x"}}`), &thing{})
	for name, err := range map[string]error{
		"a value that the database refuses": &pgconn.PgError{Code: "22P02", Message: `invalid input: "marker"`,
			Detail: "marker", TableName: "presets"},
		"JSON of another kind":        fmt.Errorf("%w: decode: %w", ErrPoison, kind),
		"JSON of another kind, deep":  fmt.Errorf("%w: decode: %w", ErrPoison, deep),
		"JSON that holds a bad value": fmt.Errorf("%w: %w", ErrPoison, errors.New(`parsing time "marker"`)),
		"a text that does not open":   fmt.Errorf("%w: %w: marker", ErrPoison, eventlog.ErrSealed),
		"a part that is away":         errors.New("dial marker: refused"),
	} {
		if got := reason(err); strings.Contains(got, "marker") || len(got) < 15 {
			t.Errorf("%s: %s", name, got)
		}
		if poison(err) && strings.Contains(told(err), "marker") {
			t.Errorf("%s, in the log: %s", name, told(err))
		}
	}
}

func TestReader_that_stopped_says_why_until_it_goes_on(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	a := newAuthor(t, log, 57)
	pool, dsn := database(t)
	e := newEngine(log, pool, RightsReader())
	running(t, e, RightsReader())
	execute(t, dsn, "ALTER TABLE rights_1.orgs ADD CONSTRAINT no CHECK (slug <> 'acme')")
	a.found(acme)
	state := func() string {
		return ask[string](t, dsn, "SELECT coalesce(max(error), '') FROM prelude.checkpoints WHERE reader = 'rights'")
	}
	soon(t, "it says why it stopped", func() bool { return strings.Contains(state(), "constraint no") })
	execute(t, dsn, "ALTER TABLE rights_1.orgs DROP CONSTRAINT no")
	rights := recordsFor(t, log, RightsReader())
	until(t, e, Rights, rights[len(rights)-1].Position)
	if s := state(); s != "" {
		t.Errorf("it goes on, and says %s", s)
	}
}
