package projections

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"prelude/domain"
	"prelude/domain/apikey"
	"prelude/domain/org"
	"prelude/domain/user"
	"prelude/internal/eventlog"
)

// strange are what other applications store, by what is odd about it.
var strange = map[string]eventlog.Proposed{
	"of_1_MiB":        {Type: "Big", Data: []byte(`"` + strings.Repeat("x", 1<<20-1<<10) + `"`), Meta: []byte("{}")},
	"a_NUL_in_a_type": {Type: "Nul\x00Type", Data: []byte("{}"), Meta: []byte("{}")},
	"no_metadata":     {Type: "UserRegistered", Data: []byte(`{"name":"x"}`)},
	"deep_data":       {Type: "user.joined.v1", Data: deep, Meta: goodMeta},
	"deep_metadata":   {Type: "user.joined.v1", Data: []byte("{}"), Meta: deep},
	"no_JSON":         {Type: "org.founded.v1", Data: []byte{0xff, 0, 1}, Meta: []byte{0xfe}, Binary: true},
	"a_NUL_in_a_text": {Type: "user.joined.v1", Meta: goodMeta,
		Data: []byte(`{"org":"org_` + nobody + `","user":"usr_\u0000","role":"owner","at":"2026-03-01T12:00:00Z"}`)},
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const nobody = "0123456789abcdefghjkmnpqr0"

var (
	deep     = []byte(strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000))
	goodMeta = []byte(`{"at":"1","step":"00000000-0000-4000-8000-000000000001",` +
		`"$causationId":"00000000-0000-4000-8000-000000000002"}`)
)

// putRaw appends an event as other applications do.
func putRaw(t *testing.T, log *eventlog.Log, stream string, expected eventlog.Revision, e eventlog.Proposed,
) eventlog.Position {
	t.Helper()
	e.ID = uuid.New()
	done, err := log.Store.Append(t.Context(), stream, expected, []eventlog.Proposed{e})
	if err != nil {
		t.Fatalf("%s: %v", stream, err)
	}
	return done.Position
}

// founding appends an org with an owner and a key, and gives the position of the last.
func founding(t *testing.T, log *eventlog.Log, o domain.OrgID) eventlog.Position {
	t.Helper()
	u, k := id[domain.UserID](domain.UserPrefix, 7), id[domain.APIKeyID](domain.APIKeyPrefix, 7)
	meta := eventlog.Meta{Org: string(o), Job: "setup", Command: uuid.New(), Step: uuid.New(), At: noon}
	var at eventlog.Position
	for _, e := range []struct {
		stream eventlog.Stream
		event  any
	}{
		{eventlog.OrgStream(o), org.Founded{Org: o, Slug: domain.Bare(o), Name: "Acme", At: noon}},
		{eventlog.UserStream(o, u), user.Joined{Org: o, User: u, Role: domain.Owner, At: noon}},
		{eventlog.APIKeyStream(o, k), apikey.Issued{Org: o, Key: k, User: u, Hash: []byte("hash"), At: noon}},
	} {
		done, _, err := log.Append(t.Context(), e.stream, eventlog.None, meta, []any{e.event})
		if err != nil {
			t.Fatal(err)
		}
		at = done.Position
	}
	return at
}

// TestForeignEventsArePassedOver: before, between and after ours, whatever they are, in streams with the names that other
// applications give and in such as have our form by chance.
func TestForeignEventsArePassedOver(t *testing.T) {
	t.Parallel()
	log, plain := newLog(t), newLog(t)
	pool, dsn := database(t)
	names := []string{"user-42", "org-1", "session-abc", "apikey-" + nobody, "preset-1", "org-" + nobody + "x",
		"completion-\x00", "order-7"}
	put := func(revision eventlog.Revision) {
		for i, name := range names {
			for what, e := range strange {
				putRaw(t, log, fmt.Sprint(name, "-", i, what), revision, e)
			}
		}
	}
	put(eventlog.None)
	founding(t, log, acme)
	put(0)
	founding(t, log, id[domain.OrgID](domain.OrgPrefix, 2))
	put(1)
	founding(t, plain, acme)
	founding(t, plain, id[domain.OrgID](domain.OrgPrefix, 2))
	head, err := log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	said := &lines{}
	readers := []Reader{RightsReader(), ViewsReader()}
	e := newEngine(log, pool, readers...)
	e.Logger = slog.New(slog.NewJSONHandler(said, nil))
	for _, r := range readers {
		if err := e.Build(t.Context(), r, head, nil); err != nil {
			t.Fatalf("%s: %v", r.Name, err)
		}
	}
	got := map[string]int64{}
	for _, r := range readers {
		got[r.Name] = ask[int64](t, dsn, `SELECT foreign_events FROM prelude.checkpoints WHERE reader = $1`, r.Name)
	}
	each := int64(3 * len(strange))
	if got[Rights] != 4*each || got[Views] != 7*each {
		t.Errorf("they counted %v, want %d and %d", got, 4*each, 7*each)
	}
	if n := ask[int](t, dsn, "SELECT count(*) FROM prelude.parked"); n > 0 {
		t.Errorf("%d streams are parked", n)
	}
	if n := ask[int](t, dsn, `SELECT count(*) FROM prelude.checkpoints
		WHERE witness IS NULL OR witness->>'stream' !~ '^(org|user|apikey)-[0-7][0-9a-z]{25}'`); n > 0 {
		t.Errorf("%d readers know the log again by an event of another application", n)
	}
	if n := strings.Count(said.String(), "other applications"); n != 1 || strings.Contains(said.String(), "user-42") {
		t.Errorf("it is said %d times:\n%s", n, said)
	}
	otherPool, otherDSN := database(t)
	other := newEngine(plain, otherPool, readers...)
	end, err := plain.Head(t.Context())
	for _, r := range readers {
		if err = errors.Join(err, other.Build(t.Context(), r, end, nil)); err != nil {
			t.Fatal(err)
		}
	}
	for _, sql := range []string{"SELECT count(*) FROM rights_1.orgs", "SELECT count(*) FROM rights_1.api_keys",
		"SELECT count(*) FROM rights_1.users", "SELECT count(*) FROM views_1.audit"} {
		if a, b := ask[int](t, dsn, sql), ask[int](t, otherDSN, sql); a != b || a == 0 {
			t.Errorf("%s: %d beside others, %d alone", sql, a, b)
		}
	}
}

type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestRights_is_not_stopped_by_an_org_that_was_never_founded: in streams that have our form. In readers that park, they
// park their streams; of an org that was founded, what cannot be read stops rights.
func TestRights_is_not_stopped_by_an_org_that_was_never_founded(t *testing.T) {
	t.Parallel()
	for what, event := range strange {
		for _, category := range []string{"org-" + nobody, "user-" + nobody + "_" + nobody, "apikey-" + nobody + "_" + nobody} {
			t.Run(what+"/"+category[:3], func(t *testing.T) {
				t.Parallel()
				log := newLog(t)
				pool, dsn := database(t)
				founding(t, log, acme)
				putRaw(t, log, category, eventlog.None, event)
				at := putRaw(t, log, category, 0, event)
				e := newEngine(log, pool, RightsReader(), ViewsReader())
				for _, r := range []Reader{RightsReader(), ViewsReader()} {
					if err := e.Build(t.Context(), r, at, nil); err != nil {
						t.Fatalf("%s: %v", r.Name, err)
					}
				}
				if n := ask[int](t, dsn, `SELECT foreign_events FROM prelude.checkpoints WHERE reader = 'rights'`); n != 2 {
					t.Errorf("rights counted %d", n)
				}
				if n := ask[int](t, dsn, `SELECT count(*) FROM rights_1.orgs`); n != 1 {
					t.Errorf("there are %d orgs", n)
				}
			})
		}
		t.Run(what+"/of_ours", func(t *testing.T) {
			t.Parallel()
			if what == "a_NUL_in_a_text" {
				t.Skip("it is of another org")
			}
			log := newLog(t)
			pool, dsn := database(t)
			founding(t, log, acme)
			at := putRaw(t, log, "user-"+domain.Bare(acme)+"_"+nobody, eventlog.None, event)
			e := newEngine(log, pool, RightsReader(), ViewsReader())
			if err := e.Build(t.Context(), RightsReader(), at, nil); !poison(err) {
				t.Errorf("rights: %v", err)
			}
			if err := e.Build(t.Context(), ViewsReader(), at, nil); err != nil {
				t.Errorf("views: %v", err)
			}
			if n := ask[int](t, dsn, `SELECT count(*) FROM prelude.parked`); n != 1 {
				t.Errorf("views parked %d streams", n)
			}
		})
	}
}

// TestFounded_in_the_same_batch counts too: before what cannot be read.
func TestFounded_in_the_same_batch(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	pool, _ := database(t)
	founding(t, log, acme)
	at := putRaw(t, log, "user-"+domain.Bare(acme)+"_"+nobody, eventlog.None, strange["no_metadata"])
	if err := newEngine(log, pool, RightsReader()).Build(t.Context(), RightsReader(), at, nil); !poison(err) {
		t.Errorf("it says %v", err)
	}
}

func TestNoReaderKeepsAPositionThatNoEventHas(t *testing.T) {
	t.Parallel()
	pool, dsn := database(t)
	e := newEngine(newLog(t), pool, RightsReader())
	if _, err := e.checkpoint(t.Context(), RightsReader()); err != nil {
		t.Fatal(err)
	}
	for _, to := range []eventlog.Position{eventlog.End, 1 << 63} {
		if _, err := e.commit(t.Context(), RightsReader(), 0, nil, to); !errors.Is(err, eventlog.ErrNoPosition) {
			t.Errorf("at %d: %v", to, err)
		}
	}
	if at := ask[int64](t, dsn, `SELECT pos FROM prelude.checkpoints`); at != 0 {
		t.Errorf("it is at %d", at)
	}
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	for _, sql := range []string{
		"UPDATE prelude.checkpoints SET pos = -1",
		"INSERT INTO prelude.consumers VALUES ('x', -1)",
		"INSERT INTO prelude.consumed_late VALUES ('x', -1)",
		"INSERT INTO prelude.parked (reader, version, stream, pos, error) VALUES ('out', 1, 's', -1, '')",
		"INSERT INTO prelude.snapshots (stream, schema, revision, pos, fold) VALUES ('s', 1, 1, -1, '')",
		"INSERT INTO vault.applied (log, pos) VALUES ('x', -1)",
	} {
		if _, err := conn.Exec(t.Context(), sql); err == nil {
			t.Errorf("taken: %s", sql)
		}
	}
}

func TestUsage_counts_nothing_at_a_position_that_no_event_has(t *testing.T) {
	t.Parallel()
	e := eventlog.CloudEvent{Type: "prelude.completion.ended", Source: "/orgs/x", Position: eventlog.End,
		Data: map[string]any{"model": "demo"}}
	if err := (Usage{}).Take(t.Context(), e); !errors.Is(err, eventlog.ErrNoPosition) {
		t.Errorf("it says %v", err)
	}
}
