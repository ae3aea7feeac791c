package projections

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"prelude/domain"
	"prelude/domain/preset"
	"prelude/internal/eventlog"
)

// recordsFor are the records of a log that a reader sees.
func recordsFor(t testing.TB, log *eventlog.Log, r Reader) (all []eventlog.Record) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for s, err := range log.Store.Subscribe(ctx, 0, eventlog.Filter{Prefixes: r.Prefixes}) {
		switch {
		case err != nil:
			t.Fatal(err)
		case s.Kind == eventlog.CaughtUp:
			return all
		case s.Kind == eventlog.Event:
			rec, err := eventlog.Decode(s.Raw)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, rec)
		}
	}
	return all
}

// apply commits records in batches, whose sizes size tells.
func apply(t testing.TB, e *Engine, r Reader, all []eventlog.Record, size func() int) {
	t.Helper()
	at, err := e.begin(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	for len(all) > 0 {
		n := min(size(), len(all))
		batch := append([]eventlog.Record(nil), all[:n]...)
		if at, err = e.commit(t.Context(), r, at, batch, batch[n-1].Position); err != nil {
			t.Fatal(err)
		}
		all = all[n:]
	}
}

func TestRows_do_not_depend_on_how_the_log_was_cut(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	a := write(t, log, 1, 250)
	whole := func() int { return 1 << 30 }
	single := func() int { return 1 }
	want := tables(t, log, whole)
	if strings.Count(want, "\n") < 400 {
		t.Fatalf("the history is too short: %d rows", strings.Count(want, "\n"))
	}
	t.Run("event by event", func(t *testing.T) {
		t.Parallel()
		same(t, "event by event", tables(t, log, single), want)
	})
	for seed := range uint64(4) {
		t.Run("in batches by chance", func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 1))
			same(t, "by chance", tables(t, log, func() int { return 1 + rng.IntN(40) }), want)
		})
	}
	t.Run("as the readers follow it", func(t *testing.T) {
		t.Parallel()
		pool, dsn := database(t)
		e := newEngine(log, pool, ViewsReader(), RightsReader())
		running(t, e, ViewsReader(), RightsReader())
		rights := recordsFor(t, log, RightsReader())
		until(t, e, Views, a.last)
		until(t, e, Rights, rights[len(rights)-1].Position)
		same(t, "followed", dump(t, dsn), want)
	})
}

// tables is what a history leaves that is applied in batches of some sizes.
func tables(t testing.TB, log *eventlog.Log, size func() int) string {
	t.Helper()
	pool, dsn := database(t)
	e := newEngine(log, pool)
	for _, r := range []Reader{ViewsReader(), RightsReader()} {
		apply(t, e, r, recordsFor(t, log, r), size)
	}
	if n := ask[int](t, dsn, "SELECT count(*) FROM prelude.parked"); n > 0 {
		t.Errorf("%d streams are parked", n)
	}
	return dump(t, dsn)
}

func TestRows_hold_the_state_that_the_commands_answer_with(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	a := newAuthor(t, log, 2)
	p := a.newPreset(acme, a.found(acme)).state
	pool, dsn := database(t)
	e := newEngine(log, pool)
	apply(t, e, ViewsReader(), recordsFor(t, log, ViewsReader()), func() int { return 10 })
	var read preset.Preset
	state := ask[[]byte](t, dsn, "SELECT state FROM views_1.presets WHERE id = $1", p.ID)
	if err := json.Unmarshal(state, &read); err != nil {
		t.Fatal(err)
	}
	if read.ETag() != p.ETag() {
		t.Errorf("the row's ETag is another one: %s", state)
	}
}

func TestReply_has_a_row_from_its_start_to_its_end(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	a := newAuthor(t, log, 18)
	s := a.newSession(acme, a.found(acme))
	a.post(s)
	assembled := a.last
	reply := s.state.UnderWay.Reply
	a.end(s, 1)
	pool, dsn := database(t)
	e := newEngine(log, pool)
	records := recordsFor(t, log, ViewsReader())
	row := func() string {
		return ask[string](t, dsn, `SELECT concat_ws(' ', role, status, owner, key_id, sealed IS NULL, instance, boot,
			about->>'position', about->>'end_position', about->>'code', about->'usage'->>'output_tokens')
			FROM views_1.messages WHERE id = $1`, reply)
	}
	head := fmt.Sprint(" ", s.state.Owner, " ")
	apply(t, e, ViewsReader(), records[:len(records)-1], func() int { return 1 << 30 })
	if got, want := row(), fmt.Sprint("assistant running", head, " t one 7 ", assembled); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	at := e.Progress.At(Views)
	end := records[len(records)-1:]
	if _, err := e.commit(t.Context(), ViewsReader(), at, end, a.last); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprint("assistant failed", head, domain.SessionKey(acme, s.state.ID), " f one 7 ", assembled, " ",
		a.last, " upstream_cut 5")
	if got := row(); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// What a tag may hold comes into the rows as it is.
func TestViews_keep_tags_as_they_are(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	a := newAuthor(t, log, 1)
	by := a.found(acme)
	all := [][]string{nil, {}, {"a, b", "c"}, {"a\x01b", "\x01", `{"}`, "ü"}}
	for _, tags := range all {
		a.newPreset(acme, by)
		th := a.presets[len(a.presets)-1]
		d := th.state.Draft
		d.Tags = tags
		events, err := th.state.Edit(th.state.Slug, d, window, by, a.now())
		if err != nil {
			t.Fatal(err)
		}
		decided(a, th, by, events, nil)
	}
	pool, dsn := database(t)
	apply(t, newEngine(log, pool, ViewsReader()), ViewsReader(), recordsFor(t, log, ViewsReader()),
		func() int { return 1 << 30 })
	for i, th := range a.presets {
		for _, table := range []string{"presets", "preset_search"} {
			got := ask[[]string](t, dsn, `SELECT tags FROM views_1.`+table+` WHERE id = $1`, th.stream.Object())
			if !slices.Equal(got, all[i]) {
				t.Errorf("%s has %q, want %q", table, got, all[i])
			}
		}
	}
}
