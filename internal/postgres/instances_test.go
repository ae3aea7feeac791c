package postgres

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"prelude/internal/pgserver/pgtest"
	"prelude/migrations"
)

func migrated(t *testing.T) (*pgxpool.Pool, string) {
	t.Helper()
	dsn := pgtest.Template(t, "instances", func(dsn string) error {
		return Migrate(context.Background(), dsn, migrations.FS)
	})
	pool, err := Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool, dsn
}

func register(pool *pgxpool.Pool, id, home string, boot int64) *Instances {
	return &Instances{Pool: pool, Logger: slog.New(slog.DiscardHandler),
		Me: Instance{ID: id, Home: home, Boot: boot, Advertise: "http://" + home}}
}

// age makes an instance silent for some seconds.
func age(t *testing.T, dsn, id string, seconds int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	_, err = conn.Exec(t.Context(), `UPDATE prelude.instances SET at = now() - make_interval(secs => $2)
		WHERE instance = $1`, id, seconds)
	if err != nil {
		t.Fatal(err)
	}
}

func TestAnnounce(t *testing.T) {
	t.Parallel()
	pool, dsn := migrated(t)
	first := register(pool, "twin", "one", 1)
	if err := first.Announce(t.Context()); err != nil {
		t.Fatal(err)
	}
	other := register(pool, "twin", "two", 2)
	if err := other.Announce(t.Context()); !errors.Is(err, ErrInstance) {
		t.Errorf("another folder's process of the same id: %v", err)
	}
	if err := register(pool, "twin", "one", 3).Announce(t.Context()); err != nil {
		t.Errorf("started anew on its own folder: %v", err)
	}
	age(t, dsn, "twin", 31)
	if err := other.Announce(t.Context()); err != nil {
		t.Errorf("another folder's, when the first has been silent: %v", err)
	}
	if err := first.beat(t.Context()); !errors.Is(err, ErrReplaced) {
		t.Errorf("the first goes on: %v", err)
	}
	if err := other.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := first.Announce(t.Context()); err != nil {
		t.Errorf("after the other has left: %v", err)
	}
}

func TestGone(t *testing.T) {
	t.Parallel()
	pool, dsn := migrated(t)
	me, them := register(pool, "me", "one", 5), register(pool, "them", "two", 7)
	if err := errors.Join(me.Announce(t.Context()), them.Announce(t.Context())); err != nil {
		t.Fatal(err)
	}
	beat := func() {
		t.Helper()
		if err := me.beat(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	steady := func() { me.steady = time.Now().Add(-Silence - time.Second) }
	beat()
	steady()
	for _, c := range []struct {
		name string
		id   string
		boot int64
		want bool
	}{
		{"one that is heard", "them", 7, false},
		{"an earlier start of one that is heard", "them", 6, true},
		{"one that was never in the register", "nobody", 1, false},
	} {
		if got := me.Gone(c.id, c.boot); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	if at, err := me.Address(t.Context(), "them", 7); at != "http://two" || err != nil {
		t.Errorf("it is reached at %q, %v", at, err)
	}
	age(t, dsn, "them", 29)
	if beat(); me.Gone("them", 7) {
		t.Error("one that was silent for 29 s is gone")
	}
	age(t, dsn, "them", 31)
	if beat(); !me.Gone("them", 7) {
		t.Error("one that was silent for 31 s is not gone")
	}
	if at, err := me.Address(t.Context(), "them", 7); at != "" || err != nil {
		t.Errorf("one that is silent is reached at %q, %v", at, err)
	}
	me.missed()
	if me.Gone("them", 7) {
		t.Error("silence counts though this instance is not heard either")
	}
	if beat(); me.Gone("them", 7) {
		t.Error("silence counts right after an outage")
	}
	steady()
	if err := them.beat(t.Context()); err != nil {
		t.Fatal(err)
	}
	if beat(); me.Gone("them", 7) {
		t.Error("one that is heard again is gone")
	}
	if err := them.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	if beat(); !me.Gone("them", 7) {
		t.Error("one that has left is not gone")
	}
}

// An instance beats until its context ends, forgets who has been silent for long, and ends when another has its place.
func TestInstances_run(t *testing.T) {
	t.Parallel()
	pool, dsn := migrated(t)
	old := register(pool, "old", "three", 1)
	if err := old.Announce(t.Context()); err != nil {
		t.Fatal(err)
	}
	age(t, dsn, "old", 8*24*3600)
	me := register(pool, "me", "one", 5)
	if err := me.Announce(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := me.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := me.beat(t.Context()); err != nil || len(me.known) != 1 {
		t.Errorf("%d are known: %v", len(me.known), err)
	}
	if err := register(pool, "me", "one", 6).Announce(t.Context()); err != nil {
		t.Fatal(err)
	}
	age(t, dsn, "me", 0)
	me.Me.Home = "two"
	if err := me.Run(t.Context()); !errors.Is(err, ErrReplaced) {
		t.Errorf("another has its place: %v", err)
	}
}

// The clock may have gone back between two starts: the later one has the later boot all the same.
func TestAnnounce_after_a_clock_went_back(t *testing.T) {
	t.Parallel()
	pool, _ := migrated(t)
	first := register(pool, "back", "one", 2000)
	if err := first.Announce(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := register(pool, "back", "one", 1000)
	if err := next.Announce(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := next.beat(t.Context()); err != nil {
		t.Fatal(err)
	}
	if next.Me.Boot != 2001 || !next.Gone("back", 2000) || next.Gone("back", 2001) {
		t.Errorf("its boot is %d; the one before is gone: %t", next.Me.Boot, next.Gone("back", 2000))
	}
	if err := first.beat(t.Context()); !errors.Is(err, ErrReplaced) {
		t.Errorf("the one before goes on: %v", err)
	}
}
