package projections

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/uuid"

	"prelude/domain"
	"prelude/domain/apikey"
	"prelude/domain/org"
	"prelude/domain/preset"
	"prelude/domain/user"
	"prelude/internal/eventlog"
)

// raw stores an event as it is given.
func (a *author) raw(s eventlog.Stream, at eventlog.Revision, name, data string) eventlog.Position {
	a.t.Helper()
	done, err := a.log.Store.Append(a.t.Context(), s.String(), at, []eventlog.Proposed{{ID: uuid.New(), Type: name,
		Data: []byte(data), Meta: []byte(`{"at":"1772366400000","$causationId":"` + uuid.NewString() +
			`","step":"` + uuid.NewString() + `"}`)}})
	if err != nil {
		a.t.Fatal(err)
	}
	a.last = done.Position
	return done.Position
}

// alarms hands on what is logged as an error, and, of a reader that stops again for the same reason, as less.
type alarms struct {
	slog.Handler
	heard chan string
}

func newAlarms() alarms { return alarms{slog.DiscardHandler, make(chan string, 100)} }

func (alarms) Enabled(context.Context, slog.Level) bool { return true }
func (a alarms) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError || strings.HasPrefix(r.Message, "a reader stopped") {
		select {
		case a.heard <- r.Message:
		default:
		}
	}
	return nil
}

func TestViews_park_the_stream_of_an_event_that_cannot_be_applied(t *testing.T) {
	t.Parallel()
	type spoiled = thing[preset.Preset, preset.Event]
	for name, c := range map[string]struct {
		spoil  func(*author, *spoiled) eventlog.Position
		reason string
	}{
		"an event that cannot be read": {func(a *author, th *spoiled) eventlog.Position {
			th.revision++
			return a.raw(th.stream, th.revision-1, "preset.edited.v1", `[7]`)
		}, "it cannot be read"},
		"an event with a field that cannot be read": {func(a *author, th *spoiled) eventlog.Position {
			th.revision++
			return a.raw(th.stream, th.revision-1, "preset.edited.v1", `{"content":{"name":7}}`)
		}, "it cannot be read: the field content is wrong"},
		"a text that does not open": {func(a *author, th *spoiled) eventlog.Position {
			th.revision++
			return a.raw(th.stream, th.revision-1, "preset.edited.v1", `{"content":{"name":{"key":"`+
				string(domain.OrgKey(acme))+`","sealed":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}},`+
				`"at":"2026-03-01T00:00:00Z"}`)
		}, "a text of it does not open"},
		"a text that Postgres refuses": {func(a *author, th *spoiled) eventlog.Position {
			done, _ := a.append(th.stream, th.revision, "", preset.Edited{Fields: []string{"name"},
				Content: preset.Content{Name: domain.Seal(domain.OrgKey(acme), "A\x00B"), Model: "demo"}, At: a.now()})
			th.revision = done.Revision
			return a.last
		}, "the database refused it: SQLSTATE 22021"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := newLog(t)
			a := newAuthor(t, log, 3)
			by := a.found(acme)
			bad, good := a.newPreset(acme, by), a.newPreset(acme, by)
			revision := bad.revision
			a.edit(good)
			at := c.spoil(a, bad)
			a.edit(good)
			a.rename(bad) // it waits too; an edit would take the spoiled text back within the batch
			a.newSession(acme, by)
			pool, dsn := database(t)
			e := newEngine(log, pool, ViewsReader())
			running(t, e, ViewsReader())
			until(t, e, Views, a.last)
			parked := ask[string](t, dsn, `SELECT stream || ' ' || pos || ' ' || error FROM prelude.parked
				WHERE reader = 'views' AND version = 1`)
			if want := fmt.Sprint(bad.stream, " ", at, " ", c.reason); parked != want {
				t.Errorf("parked: %s\nwant:   %s", parked, want)
			}
			revisionIs(t, dsn, bad.stream, revision)
			revisionIs(t, dsn, good.stream, good.revision)
			if n := ask[int](t, dsn, "SELECT count(*) FROM views_1.sessions"); n != 1 {
				t.Errorf("%d sessions", n)
			}
		})
	}
}

// Who writes to the log besides the program may leave out a list, or write null for it.
func TestViews_apply_an_edit_that_names_no_fields(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	a := newAuthor(t, log, 18)
	p := a.newPreset(acme, a.found(acme))
	for _, fields := range []string{`"fields":null,`, ""} {
		p.revision++
		a.raw(p.stream, p.revision-1, "preset.edited.v1", `{`+fields+`"at":"2026-03-01T00:00:00Z"}`)
	}
	pool, dsn := database(t)
	e := newEngine(log, pool, ViewsReader())
	running(t, e, ViewsReader())
	until(t, e, Views, a.last)
	if why := ask[string](t, dsn, "SELECT coalesce(max(error), '') FROM prelude.parked"); why != "" {
		t.Errorf("its stream is parked: %s", why)
	}
	revisionIs(t, dsn, p.stream, p.revision)
	if n := ask[int](t, dsn, "SELECT count(*) FROM views_1.audit WHERE kind = 'preset.edited' AND fields = '{}'"); n != 2 {
		t.Errorf("%d entries of 2 edits have no fields", n)
	}
}

// The audit has no revisions that must follow each other: only the parking itself holds later events back.
func TestParked_stream_waits_in_the_audit_too(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	a := newAuthor(t, log, 17)
	by := a.found(acme)
	s := eventlog.APIKeyStream(acme, id[domain.APIKeyID](domain.APIKeyPrefix, a.next()))
	a.raw(s, eventlog.None, "apikey.issued.v1", `{"at":7}`)
	a.append(s, 0, by, apikey.Revoked{By: by, At: a.now()})
	a.newPreset(acme, by)
	pool, dsn := database(t)
	e := newEngine(log, pool, ViewsReader())
	running(t, e, ViewsReader())
	until(t, e, Views, a.last)
	n := a.newPreset(acme, by)
	a.append(s, 1, by, apikey.Revoked{By: by, At: a.now()}) // in a later batch
	until(t, e, Views, a.last)
	count := "SELECT count(*) FROM views_1.audit WHERE object = $1"
	if got := ask[int](t, dsn, count, s.Object()); got != 0 {
		t.Errorf("%d entries of the parked stream", got)
	}
	if got := ask[int](t, dsn, count, n.stream.Object()); got != 1 {
		t.Errorf("%d entries of the other", got)
	}
}

// edit changes a preset's description.
func (a *author) edit(th *thing[preset.Preset, preset.Event]) {
	a.t.Helper()
	d := th.state.Draft
	d.Description = a.now().String()
	events, err := th.state.Edit(th.state.Slug, d, window, th.state.Owner, a.now())
	decided(a, th, th.state.Owner, events, err)
}

// rename changes a preset's slug alone.
func (a *author) rename(th *thing[preset.Preset, preset.Event]) {
	a.t.Helper()
	events, err := th.state.Edit(fmt.Sprint("slug-", a.next()), th.state.Draft, window, th.state.Owner, a.now())
	decided(a, th, th.state.Owner, events, err)
}

func revisionIs(t testing.TB, dsn string, s eventlog.Stream, want eventlog.Revision) {
	t.Helper()
	got := ask[eventlog.Revision](t, dsn, "SELECT revision FROM views_1.presets WHERE id = $1", s.Object())
	if got != want {
		t.Errorf("%s is at revision %d, want %d", s.Object(), got, want)
	}
}

func TestRights_stop_at_an_event_that_cannot_be_applied(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil  func(*author)
		reason string
	}{
		"an event that cannot be read": {func(a *author) {
			u := id[domain.UserID](domain.UserPrefix, a.next())
			a.raw(eventlog.UserStream(acme, u), eventlog.None, "user.joined.v1", `{"at":7}`)
		}, "it cannot be read: the field at is wrong"},
		"a text that Postgres refuses": {func(a *author) {
			o := id[domain.OrgID](domain.OrgPrefix, a.next())
			a.append(eventlog.OrgStream(o), eventlog.None, "", org.Founded{Org: o, Name: "A\x00B", At: a.now()})
		}, "the database refused it: SQLSTATE 22021"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := newLog(t)
			a := newAuthor(t, log, 4)
			a.found(acme)
			before := a.last
			c.spoil(a)
			u := id[domain.UserID](domain.UserPrefix, a.next())
			a.append(eventlog.UserStream(acme, u), eventlog.None, "", user.Joined{User: u, Org: acme, At: a.now()})
			pool, dsn := database(t)
			e := newEngine(log, pool, RightsReader())
			heard := newAlarms()
			e.Logger = slog.New(heard)
			stop := running(t, e, RightsReader())
			for range 3 { // it tries again and again
				<-heard.heard
			}
			stop()
			if at := ask[eventlog.Position](t, dsn, `SELECT pos FROM prelude.checkpoints
				WHERE reader = 'rights'`); at != before {
				t.Errorf("the checkpoint is %d, want %d, before the event", at, before)
			}
			if got := ask[string](t, dsn, "SELECT error FROM prelude.checkpoints WHERE reader = 'rights'"); got != c.reason {
				t.Errorf("it says %q, want %q", got, c.reason)
			}
			if n := ask[int](t, dsn, "SELECT count(*) FROM rights_1.users"); n != 1 {
				t.Errorf("%d users", n)
			}
			if n := ask[int](t, dsn, "SELECT count(*) FROM prelude.parked"); n != 0 {
				t.Errorf("%d streams are parked", n)
			}
		})
	}
}
