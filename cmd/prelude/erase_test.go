package main

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"prelude/internal/esnode"
)

// writer is a user who has written texts with a marker in them wherever a user can write.
type writer struct {
	*rig
	id       string
	marker   string
	session  string
	reply    string
	call     string // the reply of a completion
	position string
}

// markers of a writer's stand in every text; the demo model echoes the last message.
func (r *rig) writer(handle string) *writer {
	r.t.Helper()
	w := &writer{marker: handle + "-marker-" + strings.ToLower(rand.Text())}
	user := r.do("POST", "/v1/users", doc{"handle": handle, "name": "Name " + w.marker, "role": "member"}).want(201)
	w.id = user.str("id")
	w.rig = r.as(r.do("POST", "/v1/api-keys", doc{"name": "test", "user": w.id}).want(201).str("secret"))
	w.write()
	return w
}

func (w *writer) write() {
	w.t.Helper()
	w.session = w.do("POST", "/v1/sessions", doc{"preset": "erasing", "title": "Title " + w.marker,
		"variables": doc{"x": "Value " + w.marker}}).want(201).str("id")
	path := "/v1/sessions/" + w.session
	w.reply = w.do("POST", path+"/messages", doc{"content": "Message " + w.marker + " \"é\" <&>"}).want(201).
		str("reply", "id")
	stream := w.do("POST", path+"/messages", doc{"content": "Streamed " + w.marker}, "Accept: text/event-stream")
	if stream.Status != 200 || !strings.Contains(string(stream.Body), "reply.completed") {
		w.t.Fatalf("the stream: %s", stream.Body)
	}
	w.do("PATCH", path, doc{"title": "Another title " + w.marker}).want(200)
	w.do("PUT", path+"/preset", doc{"preset": "erasing", "variables": doc{"x": "Another value " + w.marker}}).want(200)
	w.do("POST", path+"/branch", doc{"title": "Branch " + w.marker}).want(201)
	call := w.do("POST", "/v1/chat/completions", doc{"model": "demo",
		"messages": []doc{{"role": "user", "content": "Completion " + w.marker}}})
	call.want(200)
	w.call = call.Header.Get("Prelude-Reply")
	last := w.do("PATCH", path, doc{"title": "Last title " + w.marker})
	last.want(200)
	w.position = last.Header.Get("Prelude-Position")
}

// shows asks for all that the writer has written, and expects it in the answers.
func (w *writer) shows() {
	w.t.Helper()
	for _, path := range w.reads() {
		a := w.do("GET", path, nil)
		if a.Status != 200 || !strings.Contains(string(a.Body), w.marker) {
			w.t.Errorf("GET %s: %d: %s", path, a.Status, a.Body)
		}
	}
}

// reads are the routes that show a writer's texts.
func (w *writer) reads() []string {
	session, at := "/v1/sessions/"+w.session, "as_of="+url.QueryEscape(w.position)
	return []string{"/v1/sessions?min_position=" + w.position, session, session + "?" + at, session + "/messages",
		session + "/messages?order=desc", session + "/context", "/v1/replies/" + w.reply,
		"/v1/replies/" + w.reply + "/stream", "/v1/replies/" + w.reply + "/stream?starting_after=3",
		"/v1/replies/" + w.reply + "/context?include=request",
		"/v1/replies/" + w.call, "/v1/replies/" + w.call + "/context?include=request"}
}

// erase erases a user as the owner, and gives the answer.
func (r *rig) erase(user string) *answer {
	r.t.Helper()
	return r.do("POST", "/v1/users/"+user+"/erase", doc{"confirm": user})
}

func (r *rig) erasingPreset() {
	r.t.Helper()
	r.do("POST", "/v1/presets", doc{"slug": "erasing", "name": "Erasing", "scope": "org", "model": "demo",
		"instructions": "Answer {{x}}.", "variables": []doc{{"name": "x", "type": "string", "required": true}}}).want(201)
	r.do("POST", "/v1/presets/erasing/publish", nil).want(201)
}

// TestErase: who was erased is no user from that moment on, and nobody is shown who they were; others lose nothing.
func TestErase(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.erasingPreset()
	ann, bob := r.writer("ann"), r.writer("bob")
	ann.shows()
	bob.shows()
	t.Run("needs_the_id_once_more", func(t *testing.T) {
		r := r.on(t)
		before := r.head()
		for _, confirm := range []string{"", "yes", bob.id, strings.ToUpper(ann.id)} {
			d := r.do("POST", "/v1/users/"+ann.id+"/erase", doc{"confirm": confirm}).refused(422, "invalid")
			if e := d.list("errors"); len(e) != 1 || e[0].str("field") != "confirm" {
				t.Errorf("%q: %v", confirm, d)
			}
		}
		r.do("POST", "/v1/users/"+ann.id+"/erase", doc{"confirm": ann.id, "now": true}).refused(422, "invalid")
		if r.head() != before {
			t.Error("it left an event")
		}
	})
	t.Run("is_for_heads", func(t *testing.T) { r.on(t).erasers(t, ann.id) })
	first := r.erase(ann.id)
	if d := first.want(202); d.str("withheld") != "erased" || d.at("name") != nil || d.at("handle") != nil ||
		first.Header.Get("Prelude-Position") == "" {
		t.Errorf("it answers %s", first.Body)
	}
	for range 2 {
		if again := r.erase(ann.id); again.Status != 202 || string(again.Body) != string(first.Body) {
			t.Errorf("a repeat answers %d: %s", again.Status, again.Body)
		}
	}
	ann.do("GET", "/v1/me", nil).refused(401, "unauthenticated")
	ann.do("POST", "/v1/sessions", doc{"model": "demo"}).refused(401, "unauthenticated")
	r.do("POST", "/v1/api-keys", doc{"name": "k", "user": ann.id}).refused(422, "unknown_user")
	r.do("POST", "/v1/users", doc{"handle": "ann", "name": "Next", "role": "member"}).refused(409, "slug_taken")
	bob.shows()
	bob.do("POST", "/v1/sessions/"+bob.session+"/messages", doc{"content": "Still here"}).want(201)
	r.tombstones(t, ann, bob)
	entries := r.do("GET", "/v1/audit?kind=user.erased&object="+ann.id+"&min_position="+
		first.Header.Get("Prelude-Position"), nil).want(200).list("data")
	if len(entries) != 1 || entries[0].str("object") != ann.id || entries[0].str("rule") != "users_erased_by_heads" {
		t.Errorf("the audit has %v", entries)
	}
	r.stop()
	r.serve() // from the log and the vault alone
	ann.url, bob.url = r.url, r.url
	ann.do("GET", "/v1/me", nil).refused(401, "unauthenticated")
	bob.shows()
	r.tombstones(t, ann, bob)
}

// erasers: who may erase whom.
func (r *rig) erasers(t *testing.T, member string) {
	me := r.do("GET", "/v1/me", nil).want(200).str("user", "id")
	policy := func(who *rig, user, rule string) {
		t.Helper()
		if d := who.erase(user).refused(403, "forbidden"); d.str("policy") != rule {
			t.Errorf("the rule is %s, want %s", d.str("policy"), rule)
		}
	}
	policy(r, me, "owners_erased_by_owners") // the last owner stays, for nobody else could erase them
	admin := r.as(r.member("adam", "admin"))
	policy(admin, me, "owners_erased_by_owners")
	policy(admin, admin.do("GET", "/v1/me", nil).want(200).str("user", "id"), "users_erased_by_heads")
	for _, role := range []string{"member", "reviewer", "auditor"} {
		who := r.as(r.member("e-"+role, role))
		who.erase(me).refused(404, "not_found")
		who.erase(member).refused(404, "not_found")
		policy(who, who.do("GET", "/v1/me", nil).want(200).str("user", "id"), "users_erased_by_heads")
	}
	for _, nobody := range []string{"usr_00000000000000000000000000", "usr_1", "ses_00000000000000000000000000"} {
		r.erase(nobody).refused(404, "not_found")
	}
	other := r.as(r.member("olga", "owner"))
	them := other.do("GET", "/v1/me", nil).want(200).str("user", "id")
	r.erase(them).want(202)
	other.erase(me).refused(401, "unauthenticated")
	user := r.do("POST", "/v1/users", doc{"handle": "by-admin", "name": "N", "role": "member"}).want(201).str("id")
	admin.erase(user).want(202)
}

// TestEraseEachOther: of two owners who erase each other at the same moment, one stays.
func TestEraseEachOther(t *testing.T) {
	t.Parallel()
	r := start(t)
	me := r.do("GET", "/v1/me", nil).want(200).str("user", "id")
	for round := range 5 {
		other := r.as(r.member(fmt.Sprint("olga-", round), "owner"))
		them := other.do("GET", "/v1/me", nil).want(200).str("user", "id")
		answers := make(chan int, 2)
		go func() { answers <- r.erase(them).Status }()
		go func() { answers <- other.erase(me).Status }()
		one, two := <-answers, <-answers
		if (one == 202) == (two == 202) {
			t.Fatalf("the answers are %d and %d", one, two)
		}
		if r.do("GET", "/v1/me", nil).Status != 200 {
			r, me = other, them
		}
		r.do("GET", "/v1/me", nil).want(200)
	}
}

// tombstones asks every route that a head or another user may ask after gone was erased: nothing of theirs is shown,
// and nothing fails.
func (r *rig) tombstones(t *testing.T, gone, other *writer) {
	t.Helper()
	paths := append(gone.reads(), "/v1/users", "/v1/users/"+gone.id, "/v1/api-keys", "/v1/audit?limit=100", "/v1/projections", "/v1/usage",
		"/v1/me", "/v1/presets", "/v1/presets/erasing", "/v1/presets/erasing/history", "/v1/presets/erasing/versions",
		"/v1/presets/erasing/versions/1", "/v1/presets/erasing/labels", "/v1/presets/erasing/labels/latest",
		"/v1/models", "/v1/models/preset:erasing", "/v1/search/presets?q="+gone.marker)
	r.on(t).allAsked(paths)
	for _, who := range []*rig{r, other.rig, gone.rig} {
		for _, path := range paths {
			a := who.on(t).do("GET", path, nil)
			if a.Status >= 500 || strings.Contains(string(a.Body), gone.marker) {
				t.Errorf("GET %s: %d: %s", path, a.Status, a.Body)
			}
		}
	}
	user := r.on(t).do("GET", "/v1/users/"+gone.id, nil).want(200)
	if user.at("name") != nil || user.at("handle") != nil || user.str("withheld") != "erased" {
		t.Errorf("the user is shown as %v", user)
	}
	names := slices.DeleteFunc(r.on(t).do("GET", "/v1/users?limit=100", nil).want(200).list("data"),
		func(u doc) bool { return u.str("id") != gone.id })
	if len(names) != 1 || names[0].str("withheld") != "erased" {
		t.Errorf("the user is listed as %v", names)
	}
}

// allAsked expects a path for each route of the document that shows anything.
func (r *rig) allAsked(paths []string) {
	r.t.Helper()
	for route, item := range r.do("GET", "/openapi.json", nil).want(200).at("paths").(map[string]any) {
		if item.(map[string]any)["get"] == nil || route == "/v1/feed" { // which has no texts, and no end
			continue
		}
		form := regexp.MustCompile("^" + regexp.MustCompile(`\{[a-z]+\}`).ReplaceAllString(route, "[^/?]+") + `(\?|$)`)
		if !slices.ContainsFunc(paths, form.MatchString) {
			r.t.Errorf("nobody asks %s", route)
		}
	}
}

// TestEraseElsewhere: on another instance over the same log and vault the same holds within a second.
func TestEraseElsewhere(t *testing.T) {
	t.Parallel()
	r, second := twoInstances(t)
	r.erasingPreset()
	ann, bob := r.writer("ann"), r.writer("bob")
	there, other := *ann, *bob
	there.rig, other.rig = second.as(ann.key), second.as(bob.key)
	there.shows()
	other.shows()
	r.erase(ann.id).want(202)
	began := time.Now()
	for there.do("GET", "/v1/me", nil).Status != 401 {
		if time.Since(began) > 10*time.Second {
			t.Fatal("the other instance takes the key still")
		}
	}
	inTime(t, "the other instance", time.Since(began), time.Second)
	other.shows()
	second.tombstones(t, &there, &other)
}

// twoInstances are two servers over one log, one database and one master key.
func twoInstances(t *testing.T) (first, second *rig) {
	t.Helper()
	dir := t.TempDir()
	n, err := esnode.Start(t.Context(), shapeNode(esnode.Config{Dir: dir, Socket: filepath.Join(dir, "s"),
		Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	store := "esdb://" + n.Addr() + "?tls=false"
	first = start(t, "--eventstore", store)
	second = &rig{t: t, data: t.TempDir(), dsn: first.dsn}
	second.serve("--eventstore", store, "--master-key-file", filepath.Join(first.data, "master.key"))
	return first, second
}
