package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"prelude/domain"
	"prelude/internal/eventlog"
	"prelude/internal/pgserver/pgtest"
	"prelude/internal/postgres"
	"prelude/migrations"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a database with an empty vault, and a master key for it.
type rig struct {
	t      *testing.T
	dsn    string
	pool   *pgxpool.Pool
	master []byte
	asked  atomic.Int64 // statements about the vault
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, master: random()}
	r.dsn = pgtest.Template(t, "vault", func(dsn string) error {
		return postgres.Migrate(context.Background(), dsn, migrations.FS)
	})
	plain, err := postgres.Open(t.Context(), r.dsn)
	if err != nil {
		t.Fatal(err)
	}
	plain.Close()
	cfg := plain.Config()
	cfg.ConnConfig.Tracer = counter{&r.asked}
	if r.pool, err = pgxpool.NewWithConfig(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.pool.Close)
	return r
}

func random() []byte {
	key := make([]byte, eventlog.KeySize)
	_, _ = rand.Read(key)
	return key
}

// counter counts the statements of batches that are about the vault.
type counter struct{ n *atomic.Int64 }

func (c counter) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return ctx
}

func (c counter) TraceBatchQuery(_ context.Context, _ *pgx.Conn, q pgx.TraceBatchQueryData) {
	if strings.Contains(q.SQL, "vault.") {
		c.n.Add(1)
	}
}

func (c counter) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

func (c counter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (c counter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// open opens the vault once more, as another process would: nothing is cached.
func (r *rig) open() *Vault {
	r.t.Helper()
	v, err := Open(r.t.Context(), r.pool, r.master)
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

func (r *rig) ensure(v *Vault, ids ...domain.KeyID) {
	r.t.Helper()
	if err := v.Ensure(r.t.Context(), ids...); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) find(v *Vault, ids ...domain.KeyID) map[domain.KeyID]*eventlog.Key {
	r.t.Helper()
	found, err := v.Find(r.t.Context(), ids...)
	if err != nil {
		r.t.Fatal(err)
	}
	return found
}

// sql runs a statement as the superuser.
func (r *rig) sql(statement string, args ...any) {
	r.t.Helper()
	conn, err := pgx.Connect(r.t.Context(), r.dsn)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(r.t.Context())) }()
	if _, err := conn.Exec(r.t.Context(), statement, args...); err != nil {
		r.t.Fatal(err)
	}
}

// stored is the wrapped key in a row, as the superuser sees it.
func (r *rig) stored(id domain.KeyID) (wrapped []byte) {
	r.t.Helper()
	conn, err := pgx.Connect(r.t.Context(), r.dsn)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(r.t.Context())) }()
	err = conn.QueryRow(r.t.Context(), "SELECT wrapped FROM vault.keys WHERE id = $1", string(id)).Scan(&wrapped)
	if err != nil {
		r.t.Fatalf("%s: %v", id, err)
	}
	return wrapped
}

func (r *rig) destroy(id domain.KeyID) {
	r.t.Helper()
	r.sql("UPDATE vault.keys SET destroyed_at = now(), wrapped = NULL WHERE id = $1", string(id))
}

// alike says whether two keys are one.
func alike(a, b *eventlog.Key) bool {
	return a != nil && b != nil && bytes.Equal(a.MAC("test", []byte("text")), b.MAC("test", []byte("text")))
}

const (
	acme  = domain.OrgID("org_1")
	olga  = domain.UserID("usr_1")
	first = domain.SessionID("ses_1")
)

var (
	orgKey     = domain.OrgKey(acme)
	userKey    = domain.UserKey(acme, olga)
	sessionKey = domain.SessionKey(acme, first)
	authorKey  = domain.AuthorKey(acme, first, olga)
	dayKey     = domain.DayKey(acme, olga, "2026-03-01")
	allKeys    = []domain.KeyID{orgKey, userKey, sessionKey, authorKey, dayKey}
)
