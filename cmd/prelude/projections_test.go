package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"

	"prelude/internal/eventlog"
	"prelude/projections"
)

// of gives a reader out of the answer of /v1/projections.
func (r *rig) of(reader string) doc {
	r.t.Helper()
	for _, p := range r.do("GET", "/v1/projections", nil).want(200).list("data") {
		if p.str("reader") == reader {
			return p
		}
	}
	r.t.Fatalf("there is no reader %s", reader)
	return nil
}

// badPreset makes a preset that the database refuses, and gives its id when its stream is parked.
func (r *rig) badPreset(slug string) (id string) {
	r.t.Helper()
	id = r.do("POST", "/v1/presets", doc{"slug": slug, "name": "marker", "scope": "org", "model": "demo",
		"instructions": "marker"}).want(201).str("id")
	soon(r.t, "it is parked", func() bool {
		return strings.Contains(string(r.do("GET", "/v1/projections", nil).Body), strings.TrimPrefix(id, "prs_"))
	})
	return id
}

// TestProjections shows how the readers are to those who may know, and parked streams to their own org; and has them
// applied again, over HTTP and at the terminal.
func TestProjections(t *testing.T) {
	t.Parallel()
	r := start(t)
	member, auditor := r.as(r.member("mia", "member")), r.as(r.member("aud", "auditor"))
	out, err := r.command("org", "create", "second")
	if err != nil {
		t.Fatal(err)
	}
	second := r.as(regexp.MustCompile(`prelude_\S+`).FindString(out))
	soon(t, "the other org's key", func() bool { return second.do("GET", "/v1/me", nil).Status == 200 })

	views := r.of("views")
	if views.str("state") != "following" || views.num("version") != 1 || views.at("lag_positions") == nil ||
		views.at("lag_seconds") == nil || len(views.list("parked")) != 0 || views.num("gaps") != 0 ||
		views.num("skipped") != 0 || views.str("owner") == "" || views.at("error") != nil || views.str("position") == "" {
		t.Errorf("views is %v", views)
	}
	soon(t, "views has applied all", func() bool {
		v := r.of("views")
		return v.num("lag_positions") == 0 && v.num("lag_seconds") == 0
	})
	for _, who := range []*rig{member, auditor} {
		who.do("GET", "/v1/projections", nil).refused(403, "forbidden")
		who.do("POST", "/v1/projections/views/unpark", doc{"stream": "x-y_z"}).refused(403, "forbidden")
	}

	r.sql("ALTER TABLE views_1.presets ADD CONSTRAINT refused CHECK (slug NOT LIKE 'bad%')")
	id := r.badPreset("bad")
	parked := r.of("views").list("parked")
	stream := parked[0].str("stream")
	if len(parked) != 1 || !strings.HasPrefix(stream, "preset-") || parked[0].str("since") == "" ||
		!strings.Contains(parked[0].str("error"), "constraint refused") {
		t.Errorf("parked: %v", parked)
	}
	if got := second.of("views").list("parked"); len(got) > 0 {
		t.Errorf("another org sees %v", got)
	}
	unpark := func(who *rig, reader, stream string) *answer {
		return who.do("POST", "/v1/projections/"+reader+"/unpark", doc{"stream": stream})
	}
	unpark(second, "views", stream).refused(404, "not_found")
	unpark(r, "nobody", stream).refused(404, "not_found")
	unpark(r, "views", "nonsense").refused(404, "not_found")
	p := unpark(r, "views", stream).refused(409, "still_parked")
	if strings.Contains(p.str("detail"), "marker") || !strings.Contains(p.str("detail"), "constraint refused") {
		t.Errorf("it says %s", p.str("detail"))
	}
	r.terminal(t, stream)
	r.sql("ALTER TABLE views_1.presets DROP CONSTRAINT refused")
	if got := unpark(r, "views", id).want(200); got.at("applied") != true || got.str("stream") != stream {
		t.Errorf("it says %v", got)
	}
	if got := unpark(r, "views", stream).want(200); got.at("applied") != false {
		t.Errorf("a second time it says %v", got)
	}
	r.do("GET", "/v1/presets/"+id, nil).want(200)
	if n := len(r.of("views").list("parked")); n != 0 {
		t.Errorf("%d streams are parked", n)
	}

	r.sql("ALTER TABLE views_1.presets ADD CONSTRAINT refused CHECK (slug NOT LIKE 'worse%')")
	ids := []string{r.badPreset("worse-2"), r.badPreset("worse-3")}
	r.sql("ALTER TABLE views_1.presets DROP CONSTRAINT refused")
	if out, err := r.command("projections", "unpark", "views", "--all"); err != nil || strings.Count(out, "is applied") != 2 {
		t.Errorf("%v\n%s", err, out)
	}
	for _, id := range ids {
		r.do("GET", "/v1/presets/"+id, nil).want(http.StatusOK)
	}
}

// terminal holds what the command says against a server whose reader views has parked one stream.
func (r *rig) terminal(t *testing.T, stream string) {
	t.Helper()
	out, err := r.command("projections", "--json")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	readers := map[string]doc{}
	for line := range strings.Lines(out) {
		var d doc
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		readers[d.str("reader")] = d
	}
	for _, name := range []string{"rights", "views", "out"} {
		if d := readers[name]; d.str("state") != "following" || d.at("lag_positions") == nil {
			t.Errorf("%s is %v", name, d)
		}
	}
	if p := readers["views"].list("parked"); len(p) != 1 || p[0].str("stream") != stream {
		t.Errorf("views has parked %v", p)
	}
	r.sql("UPDATE prelude.checkpoints SET error = 'of another org' WHERE reader = 'out'")
	if out := r.of("out"); !strings.Contains(out.str("error"), "prelude projections") || strings.Contains(out.str("error"), "org") {
		t.Errorf("an org sees why a reader stopped: %v", out)
	}
	out, err = r.command("projections")
	if err != nil || !strings.Contains(out, stream) || !strings.Contains(out, "following") ||
		!strings.Contains(out, "parked 1") || strings.Contains(out, "marker") {
		t.Errorf("%v\n%s", err, out)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"views"}, errUnparkWhat.Error()},
		{[]string{"views", stream, "--all"}, errUnparkWhat.Error()},
		{[]string{"out", stream}, errUnparkOut.Error()},
		{[]string{"nobody", stream}, errNoReader.Detail},
		{[]string{"nobody", "--all"}, errNoReader.Detail},
		{[]string{"views", "nonsense"}, "a stream's name"},
		{[]string{"views", stream}, "constraint refused"},
	} {
		_, err := r.command(append([]string{"projections", "unpark"}, c.args...)...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v", c.args, err)
		}
	}
}

// refusedAhead expects that a start is refused, for the database knows more than the log, and goes the way out that the
// refusal names.
func (r *rig) refusedAhead() {
	r.t.Helper()
	out, err := r.command("serve", "--listen", "127.0.0.1:0")
	if !errors.Is(err, projections.ErrAhead) || !strings.Contains(err.Error(), "prelude rebuild --yes") {
		r.t.Fatalf("%v\n%s", err, out)
	}
	if out, err := r.command("rebuild", "--yes"); err != nil {
		r.t.Fatalf("%v\n%s", err, out)
	}
	r.serve()
	r.do("GET", "/v1/presets/first", nil).want(200)
}

// TestAheadOfTheLog is a database that knows more than the log, which was restored from an older backup: the start is
// refused, and the way out that it names leads out.
func TestAheadOfTheLog(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.preset("first")
	r.stop()
	r.sql("UPDATE prelude.checkpoints SET pos = pos + 1000000")
	r.refusedAhead()
}

// TestLogOutgrown puts an older copy of the log's files back, which then grows past all that was built: the start is
// refused all the same, and the way out leads out.
func TestLogOutgrown(t *testing.T) {
	t.Parallel()
	embedded(t)
	r := start(t)
	r.preset("first")
	r.stop()
	log, older := filepath.Join(r.data, "log"), filepath.Join(t.TempDir(), "log")
	if err := os.CopyFS(older, os.DirFS(log)); err != nil {
		t.Fatal(err)
	}
	r.serve()
	r.preset("lost")
	// Until the views have it, the database knows no more than the older log.
	soon(t, "the view has it", func() bool {
		a := r.do("GET", "/v1/presets/lost", nil)
		return a.Status == 200 && a.want(200).at("version") == 1.0
	})
	r.stop()
	if err := errors.Join(os.RemoveAll(log), os.CopyFS(log, os.DirFS(older))); err != nil {
		t.Fatal(err)
	}
	r.outgrow()
	r.refusedAhead()
	r.do("GET", "/v1/presets/lost", nil).want(404)
	made := r.do("POST", "/v1/presets", doc{"slug": "next", "name": "Next", "model": "demo", "instructions": "N"}).want(201)
	soon(t, "the new preset", func() bool {
		return r.count("SELECT count(*) FROM views_1.presets WHERE id = $1", made.str("id")) == 1
	})
	head := r.count("SELECT max(pos) FROM views_1.presets WHERE id = $1", made.str("id"))
	soon(t, "each reader at the new preset", func() bool {
		return r.count("SELECT count(*) FROM prelude.checkpoints WHERE pos >= $1 AND error IS NULL", head) == 3
	})
}

// outgrow appends to the log, which nobody serves, until it is longer than what was built of it.
func (r *rig) outgrow() {
	r.t.Helper()
	p, err := openLog(r.t.Context(), &Config{Data: r.data}, slog.New(slog.DiscardHandler), false)
	if err != nil {
		r.t.Fatal(err)
	}
	built := eventlog.Position(r.count("SELECT max(pos) FROM prelude.checkpoints"))
	for at, i := eventlog.Position(0), 0; at <= built; i++ {
		stream := fmt.Sprintf("claim-x_preset.org.name-%d", i)
		done, err := p.log.Store.Append(r.t.Context(), stream, eventlog.None, []eventlog.Proposed{{ID: uuid.New(),
			Type: "claim.claimed.v1", Data: []byte(`{"thing":"prs_1","at":"2026-03-01T12:00:00Z"}`),
			Meta: fmt.Appendf(nil, `{"at":"1772366400000","$causationId":%q,"step":%q}`, uuid.New(), uuid.New())}})
		if err != nil {
			r.t.Fatal(err)
		}
		at = done.Position
	}
	if err := p.Close(); err != nil {
		r.t.Fatal(err)
	}
}
