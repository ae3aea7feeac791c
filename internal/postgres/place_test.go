package postgres

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5"
)

func taken(t *testing.T, p *Place, err error) *Place {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() }) // the test may have closed it
	return p
}

func left(t *testing.T, p *Place) {
	t.Helper()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestPlace_is_shared_or_of_one_alone(t *testing.T) {
	t.Parallel()
	_, dsn := migrated(t)
	share := func() *Place { p, err := Share(t.Context(), dsn); return taken(t, p, err) }
	one, two := share(), share()
	if _, err := Alone(t.Context(), dsn); !errors.Is(err, ErrServed) {
		t.Errorf("alone beside two: %v", err)
	}
	left(t, one)
	if _, err := Alone(t.Context(), dsn); !errors.Is(err, ErrServed) {
		t.Errorf("alone beside one: %v", err)
	}
	left(t, two)
	p, err := Alone(t.Context(), dsn)
	alone := taken(t, p, err)
	if _, err := Share(t.Context(), dsn); !errors.Is(err, ErrTaken) {
		t.Errorf("beside one that has all: %v", err)
	}
	if _, err := Alone(t.Context(), dsn); !errors.Is(err, ErrServed) {
		t.Errorf("alone beside one that has all: %v", err)
	}
	left(t, alone)
	left(t, share())
}

// cutOff ends the connection of a place in the server, as an outage does.
func cutOff(t *testing.T, p, by *Place) {
	t.Helper()
	var ended bool
	err := by.conn.QueryRow(t.Context(), `SELECT pg_terminate_backend($1, 5000)`, p.conn.PgConn().PID()).Scan(&ended)
	if err != nil || !ended {
		t.Fatalf("ended: %t, %v", ended, err)
	}
}

func TestPlace_is_taken_again_after_an_outage(t *testing.T) {
	t.Parallel()
	_, dsn := migrated(t)
	p, err := Share(t.Context(), dsn)
	one := taken(t, p, err)
	p, err = Share(t.Context(), dsn)
	cutOff(t, one, taken(t, p, err))
	left(t, p)
	if err := one.hold(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := Alone(t.Context(), dsn); !errors.Is(err, ErrServed) {
		t.Errorf("alone beside one that came back: %v", err)
	}
}

// Who was cut off while another had all of the database does not go on, neither meanwhile nor afterwards.
func TestPlace_is_lost_to_who_has_been_alone(t *testing.T) {
	t.Parallel()
	_, dsn := migrated(t)
	p, err := Share(t.Context(), dsn)
	mine := taken(t, p, err)
	p, err = Share(t.Context(), dsn)
	cutOff(t, mine, taken(t, p, err))
	left(t, p)
	p, err = Alone(t.Context(), dsn)
	alone := taken(t, p, err)
	if err := mine.Keep(t.Context(), slog.New(slog.DiscardHandler)); !errors.Is(err, ErrTaken) {
		t.Errorf("meanwhile: %v", err)
	}
	left(t, alone)
	if err := mine.Keep(t.Context(), slog.New(slog.DiscardHandler)); !errors.Is(err, ErrReplaced) {
		t.Errorf("afterwards: %v", err)
	}
	p, err = Share(t.Context(), dsn)
	again := taken(t, p, err)
	if err := again.hold(t.Context()); err != nil {
		t.Errorf("started again: %v", err)
	}
}

// Who is alone can ask whether it is so still.
func TestPlace_of_one_alone_that_is_cut_off(t *testing.T) {
	t.Parallel()
	_, dsn := migrated(t)
	p, err := Alone(t.Context(), dsn)
	alone := taken(t, p, err)
	if err := alone.Held(t.Context()); err != nil {
		t.Error(err)
	}
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	cutOff(t, alone, &Place{conn: conn})
	if err := errors.Join(alone.Held(t.Context()), conn.Close(t.Context())); !errors.Is(err, ErrLost) {
		t.Errorf("cut off: %v", err)
	}
}

func TestPlace_ends_with_its_context(t *testing.T) {
	t.Parallel()
	_, dsn := migrated(t)
	p, err := Share(t.Context(), dsn)
	p = taken(t, p, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Keep(ctx, slog.New(slog.DiscardHandler)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
