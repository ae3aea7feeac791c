package main

import (
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"prelude/commands"
	"prelude/internal/pgserver/pgtest"
)

// keeper is a server over the rig's data that serves nobody: its clock is the test's.
func (r *rig) keeper(t *testing.T) *server {
	t.Helper()
	p, err := openAll(t.Context(), r.config(), slog.New(slog.DiscardHandler), true)
	if err != nil {
		t.Fatal(errors.Join(err, p.Close()))
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") // nobody is answered on it
	if err != nil {
		t.Fatal(err)
	}
	p.onClose(listener.Close)
	s, err := newServer(t.Context(), p, listener)
	if err != nil {
		t.Fatal(errors.Join(err, p.Close()))
	}
	return s
}

// retains expects that so many sessions expire after days.
func (s *server) retains(t *testing.T, days, want int) {
	t.Helper()
	now := time.Now().UTC().AddDate(0, 0, days)
	s.parts.engine.Now = func() time.Time { return now }
	if n, err := s.retain(t.Context(), now); err != nil || n != want {
		t.Errorf("after %d days %d sessions expire, want %d: %v", days, n, want, err)
	}
}

func TestOrgPolicy(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, c := range []struct {
		args []string
		says string
	}{{nil, "for ever"}, {[]string{"--retention-days", "30"}, "30"}, {nil, "30"},
		{[]string{"--retention-days", "30"}, "30"}, {[]string{"--retention-days", "0"}, "for ever"},
		{[]string{"--retention-days", "36500"}, "36500"}} {
		out, err := r.command(append([]string{"org", "policy", "default"}, c.args...)...)
		if err != nil || out != "retention_days "+c.says+"\n" {
			t.Errorf("%v: %v\n%s", c.args, err, out)
		}
	}
	later := r.do("POST", "/v1/sessions", doc{"model": "demo"}).Header.Get("Prelude-Position")
	if n := len(r.do("GET", "/v1/audit?kind=org.policy_set&min_position="+later, nil).want(200).list("data")); n != 3 {
		t.Errorf("the audit has %d changes of 3", n)
	}
	for _, days := range []string{"-1", "36501", "soon"} {
		if out, err := r.command("org", "policy", "default", "--retention-days="+days); err == nil {
			t.Errorf("%s days are taken:\n%s", days, out)
		}
	}
	if _, err := r.command("org", "policy", "nobody"); !errors.Is(err, commands.ErrNoOrg) {
		t.Errorf("of no org: %v", err)
	}
}

// TestRetention: what nobody has touched for as long as the org says is destroyed, what is younger stays, and nothing
// brings it back.
func TestRetention(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.erasingPreset()
	ann := r.writer("ann") // two sessions: one is a branch
	ann.shows()
	other := r.as(r.org("other"))
	kept := other.session()
	other.do("POST", "/v1/sessions/"+kept+"/messages", doc{"content": "Keep this"}).want(201)
	if out, err := r.command("org", "policy", "default", "--retention-days", "30"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	backup := filepath.Join(t.TempDir(), "vault")
	if out, err := r.command("vault", "backup", backup); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r.stop()

	s := r.keeper(t)
	wrong := time.Now().UTC().AddDate(1, 0, 0)
	s.parts.engine.Now = func() time.Time { return wrong }
	s.houseOnce(t.Context()) // whose clock is a year ahead destroys nothing
	s.retains(t, 29, 0)
	s.retains(t, 31, 2)
	s.retains(t, 31, 0) // once is enough
	if _, err := (commands.Orgs{Engine: s.parts.engine}).SetRetention(t.Context(), defaultOrg, 1000); err != nil {
		t.Fatal(err)
	}
	s.retains(t, 40, 0)
	if err := s.parts.Close(); err != nil {
		t.Fatal(err)
	}

	r.serve()
	ann.url, other.url = r.url, r.url
	ann.expired(t)
	if all := other.do("GET", "/v1/sessions/"+kept+"/messages", nil).want(200).list("data"); len(all) != 2 ||
		all[0].str("content") != "Keep this" {
		t.Errorf("the other org's session has %v", all)
	}
	r.stop()
	t.Run("holds when an older vault is put back", func(t *testing.T) {
		r := r.on(t)
		r.dsn = pgtest.Database(t)
		for _, args := range [][]string{{"vault", "restore", backup}, {"vault", "give-up", "--yes"}} {
			if out, err := r.command(args...); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		}
		r.serve()
		again := *ann
		again.rig = r.as(ann.key)
		again.expired(t)
	})
}

// expired expects of a writer's sessions that they are there without their texts, and take nothing more.
func (w *writer) expired(t *testing.T) {
	t.Helper()
	path := "/v1/sessions/" + w.session
	for _, read := range w.reads() {
		a := w.on(t).do("GET", read, nil)
		if a.Status != 200 || strings.Contains(string(a.Body), w.marker) {
			t.Errorf("GET %s: %d: %s", read, a.Status, a.Body)
		}
		if !strings.Contains(string(a.Body), `"withheld":"erased"`) {
			t.Errorf("GET %s does not say that it is erased: %s", read, a.Body)
		}
	}
	d := w.do("GET", path, nil).want(200)
	if d.at("title") != nil || d.at("variables") != nil || d.str("status") != "active" || d.num("messages") != 4 {
		t.Errorf("the session is shown as %v", d)
	}
	for _, m := range w.do("GET", path+"/messages", nil).want(200).list("data") {
		if m.at("content") != nil || m.str("withheld") != "erased" {
			t.Errorf("a message is shown as %v", m)
		}
	}
	if d := w.do("GET", path+"/context", nil).want(200); d.at("complete") != false || d.at("variables") != nil ||
		d.at("parameters") != nil || len(d.list("parts")) != 0 {
		t.Errorf("the next request is shown as %v", d)
	}
	w.do("POST", path+"/messages", doc{"content": "More"}).refused(409, "erased")
	w.do("PATCH", path, doc{"title": "More"}).refused(409, "erased")
	w.do("PUT", path+"/preset", doc{"model": "demo"}).refused(409, "erased")
	w.do("POST", path+"/branch", doc{}).refused(409, "erased")
	w.do("DELETE", path, nil).want(200)
	w.do("POST", path+"/restore", nil).want(200)
	fresh := w.rig.session()
	w.do("POST", "/v1/sessions/"+fresh+"/messages", doc{"content": "Hello"}).want(201)
	if me := w.do("GET", "/v1/me", nil).want(200); me.str("user", "handle") != "ann" {
		t.Errorf("the user is shown as %v", me)
	}
}
