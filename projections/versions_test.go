package projections

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"prelude/domain"
	"prelude/internal/eventlog"
	"prelude/readmodels"
)

// following is a reader in its next version.
func following(r Reader) Reader {
	r.Version++
	return r
}

// The next version is built beside the one that is served, while events come and questions are asked. Both are the
// same in the end, and either can go.
func TestVersions_side_by_side(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	a := write(t, log, 61, some(150, 1500))
	now, then := []Reader{ViewsReader(), RightsReader()}, []Reader{following(ViewsReader()), following(RightsReader())}
	pool, dsn := databaseWith(t, "versions", then...)
	old := newEngine(log, pool, now...)
	running(t, old, now...)
	until(t, old, Views, a.last)

	read := readmodels.New(pool, log, now[1].Schema(), now[0].Schema())
	p := a.presets[0]
	who := domain.Principal{Org: p.state.Org, User: p.state.Owner, Role: domain.Owner}
	ctx, cancel := context.WithCancel(t.Context())
	var asked, failed atomic.Int64
	asking := make(chan struct{})
	go func() {
		defer close(asking)
		for ctx.Err() == nil {
			_, err := read.Preset(ctx, who, p.state.ID)
			_, _, more := read.Me(ctx, who)
			if asked.Add(1); errors.Join(err, more) != nil && ctx.Err() == nil {
				failed.Add(1)
				t.Error(errors.Join(err, more))
			}
		}
	}()
	began := time.Now()
	built := newEngine(log, pool, then...)
	running(t, built, then...)
	orgs := []domain.OrgID{p.state.Org}
	for range 50 {
		a.step(orgs[0], p.state.Owner)
	}
	rights := recordsFor(t, log, RightsReader())
	for _, e := range []*Engine{old, built} {
		until(t, e, Views, a.last)
		until(t, e, Rights, rights[len(rights)-1].Position)
	}
	cancel()
	<-asking
	t.Logf("built in %s; %d questions meanwhile, %d failed", time.Since(began).Round(time.Millisecond), asked.Load(),
		failed.Load())
	was := dumpOf(t, dsn, "views_1", "rights_1")
	same(t, "the next version", strings.NewReplacer("views_2", "views_1", "rights_2", "rights_1").
		Replace(dumpOf(t, dsn, "views_2", "rights_2")), was)
	if n := asked.Load(); n == 0 || strings.Count(was, "\n") < 100 {
		t.Errorf("%d questions", n)
	}
	compared(t, dsn, ViewsReader(), following(ViewsReader()))
	for _, sql := range following(ViewsReader()).Drop() {
		execute(t, dsn, sql)
	}
	same(t, "after the next is dropped", dumpOf(t, dsn, "views_1", "rights_1"), was)
}

// compared expects no difference, and then each that is made.
func compared(t *testing.T, dsn string, one, other Reader) {
	t.Helper()
	found := func() (all []string) {
		var looks [2]*Served
		for i, r := range []Reader{one, other} {
			conn, err := pgx.Connect(t.Context(), dsn)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
			if looks[i], err = Look(t.Context(), conn, r); err != nil {
				t.Fatal(err)
			}
		}
		rows, err := Compare(t.Context(), looks[0], looks[1], func(d Difference) {
			all = append(all, fmt.Sprint(d.Table, " ", d.Only, d.Columns))
		})
		if err != nil || rows < 100 {
			t.Errorf("%d rows were compared: %v", rows, err)
		}
		return all
	}
	if all := found(); len(all) > 0 {
		t.Errorf("they differ: %v", all)
	}
	execute(t, dsn, "UPDATE views_1.audit SET rule = 'x', kind = 'y' WHERE pos = (SELECT min(pos) FROM views_1.audit)")
	execute(t, dsn, "DELETE FROM views_2.sessions WHERE id = (SELECT min(id) FROM views_2.sessions)")
	execute(t, dsn, "DELETE FROM views_1.presets WHERE id = (SELECT max(id) FROM views_1.presets)")
	if got, want := fmt.Sprint(found()), "[audit [kind rule] presets views_2[] sessions views_1[]]"; got != want {
		t.Errorf("found %s\nwant %s", got, want)
	}
	execute(t, dsn, "UPDATE views_1.audit a SET rule = b.rule, kind = b.kind FROM views_2.audit b WHERE a.pos = b.pos")
	execute(t, dsn, "INSERT INTO views_2.sessions SELECT * FROM views_1.sessions ON CONFLICT DO NOTHING")
	execute(t, dsn, "INSERT INTO views_1.presets SELECT * FROM views_2.presets ON CONFLICT DO NOTHING")
}

func TestBuild_stops_at_a_position(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	write(t, log, 62, 60)
	records := recordsFor(t, log, ViewsReader())
	to := records[len(records)/2].Position
	pool, dsn := database(t)
	e := newEngine(log, pool, ViewsReader())
	last := eventlog.Position(0)
	if err := e.Build(t.Context(), ViewsReader(), to, func(at eventlog.Position) { last = at }); err != nil {
		t.Fatal(err)
	}
	if n := ask[eventlog.Position](t, dsn, "SELECT max(pos) FROM views_1.audit"); n != to || last != to ||
		e.Progress.At(Views) != to {
		t.Errorf("it built up to %d and says %d, want %d", n, last, to)
	}
	apart, once := database(t)
	apply(t, newEngine(log, apart), ViewsReader(), records[:len(records)/2+1], func() int { return 1 << 30 })
	same(t, "built", dump(t, dsn), dump(t, once))
}

func TestAhead_refuses_a_log_that_ends_before_what_was_built(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	a := write(t, log, 63, 5)
	pool, dsn := database(t)
	readers := []Reader{ViewsReader(), RightsReader()}
	e := newEngine(log, pool, readers...)
	apply(t, e, ViewsReader(), recordsFor(t, log, ViewsReader()), func() int { return 100 })
	if err := Ahead(t.Context(), pool, log, readers); err != nil {
		t.Errorf("at the log's end: %v", err)
	}
	execute(t, dsn, "UPDATE prelude.checkpoints SET pos = $1 WHERE reader = 'views'", int64(a.last)+1)
	if err := Ahead(t.Context(), pool, log, readers); !errors.Is(err, ErrAhead) {
		t.Errorf("beyond it: %v", err)
	}
	if _, err := e.begin(t.Context(), ViewsReader()); !errors.Is(err, ErrAhead) {
		t.Errorf("a reader begins beyond it: %v", err)
	}
	execute(t, dsn, "DELETE FROM prelude.checkpoints")
	execute(t, dsn, "INSERT INTO prelude.consumers VALUES ('usage_daily', $1)", int64(a.last)+1)
	if err := Ahead(t.Context(), pool, log, readers); !errors.Is(err, ErrAhead) {
		t.Errorf("a consumer is beyond it: %v", err)
	}
	cut(t, dsn, pool, log)
	if err := Ahead(t.Context(), pool, log, readers); err != nil {
		t.Errorf("after the cut: %v", err)
	}
}

// An instance that feeds no reader knows how far the other has come: for an event, and for a quiet tail.
func TestPeers_tell_how_far_another_instance_is(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	pool, _ := database(t)
	readers := []Reader{ViewsReader(), RightsReader()}
	a := newAuthor(t, log, 64)
	by := a.found(acme)
	feeds := newEngine(log, pool, readers...)
	quiet := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 3)
	go func() {
		done <- (&Live{Log: log, Progress: feeds.Progress, Logger: quiet}).Run(ctx, make(chan struct{}))
	}()
	running(t, feeds, readers...)
	until(t, feeds, Views, a.last)
	a.take("before it starts") // a tail for nobody
	p := NewProgress()
	p.Watch(readers)
	go func() { done <- (&Peers{Pool: pool, Progress: p, Logger: quiet}).Run(ctx) }()
	started := make(chan struct{})
	go func() { done <- (&Live{Log: log, Progress: p, Logger: quiet}).Run(ctx, started) }()
	<-started
	began := time.Now()
	starting, ready := context.WithTimeout(ctx, 30*time.Second)
	for _, r := range readers {
		if !p.Wait(starting, r.Name, a.last) {
			t.Fatalf("%s has not passed the tail from before the start", r.Name)
		}
	}
	ready()
	t.Logf("it knew all of the tail from before its start after %s", time.Since(began).Round(time.Millisecond))
	var longest time.Duration
	for i := range some(20, 200) {
		if i%3 == 0 {
			a.take(fmt.Sprint("name-", i)) // for nobody
		} else {
			a.newPreset(acme, by)
		}
		began := time.Now()
		waiting, stop := context.WithTimeout(ctx, 30*time.Second)
		if !p.Wait(waiting, Views, a.last) {
			t.Fatalf("it never came to %d, and is at %d", a.last, p.At(Views))
		}
		stop()
		longest = max(longest, time.Since(began))
	}
	t.Logf("the longest wait was %s", longest.Round(time.Millisecond))
	if at := p.At(Views); at > a.last || at == 0 {
		t.Errorf("it believes %d", at)
	}
	cancel()
	for range 3 {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

func TestProgress_believes_its_own_reader_before_others(t *testing.T) {
	t.Parallel()
	p := NewProgress()
	p.Watch([]Reader{ViewsReader()})
	p.stored(Views, 7)
	if others, _ := p.others(); p.At(Views) != 7 || len(others) != 1 {
		t.Errorf("it is at %d, %d are fed by others", p.At(Views), len(others))
	}
	p.began(Views, 9)
	p.stored(Views, 8)
	if others, _ := p.others(); p.At(Views) != 9 || len(others) != 0 {
		t.Errorf("it is at %d, %d are fed by others", p.At(Views), len(others))
	}
	p.left(Views)
	p.stored(Views, 3) // built anew by another
	if p.At(Views) != 3 {
		t.Errorf("it is at %d", p.At(Views))
	}
}

func TestBehind_counts_what_a_reader_has_not_applied(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	a := newAuthor(t, log, 65)
	by := a.found(acme)
	at := a.last
	if lag, err := Behind(t.Context(), log, ViewsReader(), at, 10); err != nil || lag.Events != 0 || !lag.Since.IsZero() {
		t.Errorf("at the end: %+v, %v", lag, err)
	}
	a.take("for nobody")
	for range 3 {
		a.newPreset(acme, by)
	}
	for most, want := range map[int]int{10: 3, 2: 2} {
		lag, err := Behind(t.Context(), log, ViewsReader(), at, most)
		if err != nil || lag.Events != want || time.Since(lag.Since) > time.Minute {
			t.Errorf("of at most %d: %+v, %v", most, lag, err)
		}
	}
}
