package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"prelude/internal/eventlog"
	"prelude/internal/eventstore/storetest"
	"prelude/internal/pgserver/pgtest"
)

// strangeNames are streams of other applications.
var strangeNames = []string{"user-42", "order-9d5a1b6e", "org-1", "session-abc", "preset-1_1", "apikey-live_123",
	"claim-2026_0042", "completion-7", "log-system", "shoppingCart-1", "пользователь-7", strings.Repeat("x", 300),
	"user-" + strings.ToUpper(unfoundedOrg) + "_" + unfoundedOrg, "org-" + unfoundedOrg + "x"}

const unfoundedOrg = "0123456789abcdefghjkmnpqr0"

// strangeEvents are what other applications store.
var strangeEvents = []eventlog.Proposed{
	{Type: "UserRegistered", Data: []byte(`{"name":"x"}`)},
	{Type: "OrderPlaced", Data: []byte{0xff, 0, 7}, Meta: []byte{0xfe}, Binary: true},
	{Type: "user.erased.v1", Data: []byte(`{"org":"org_1"}`), Meta: []byte(`{"$correlationId":"x"}`)},
	{Type: "org.founded.v1", Data: []byte(`[]`), Meta: []byte("null")},
	{Type: "a\x00b", Data: []byte(strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000))},
}

// strangers appends events of other applications, several of a stream at once; round tells the streams apart.
func (n *nodeRig) strangers(round, count int) {
	n.t.Helper()
	const each = 50
	for i := 0; count > 0; i++ {
		events := make([]eventlog.Proposed, min(each, count))
		for j := range events {
			k := (i + j) % (len(strangeEvents) - 1)
			if i < len(strangeNames) && j == 0 {
				k = len(strangeEvents) - 1 // the large one once
			}
			events[j] = strangeEvents[k]
			events[j].ID = uuid.New()
		}
		name := strangeNames[i%len(strangeNames)] + fmt.Sprintf("-%d-%d", round, i)
		if round == 0 && i < len(strangeNames) {
			name = strangeNames[i]
		}
		n.put(name, events...)
		count -= len(events)
	}
}

// put appends events to a new stream.
func (n *nodeRig) put(stream string, events ...eventlog.Proposed) eventlog.Position {
	n.t.Helper()
	for i := range events {
		if events[i].ID == uuid.Nil {
			events[i].ID = uuid.New()
		}
	}
	done, err := n.store.Append(n.t.Context(), stream, eventlog.None, events)
	if err != nil {
		n.t.Fatalf("%.60q: %v", stream, err)
	}
	return done.Position
}

// lived is what an installation did and answers afterwards, without ids and times.
type lived struct {
	audit, feed map[string]int // by kind
	verify      string
	copied      string
	presets     int
	took        time.Duration // a start on what there is, and a rebuild of it
}

// live runs an installation on a store with as many events of other applications, before, between and after its own.
func live(t *testing.T, foreign int) (l lived) {
	t.Helper()
	n := newNodeRig(t)
	r := &rig{t: t, data: t.TempDir(), dsn: pgtest.Database(t)}
	on := []string{"--eventstore", n.address}
	n.strangers(0, foreign/3)
	r.serve(on...)
	r.do("GET", "/v1/me", nil).want(200)
	work := func(slug string) {
		r.preset(slug)
		s := r.session()
		for i := range 3 {
			r.do("POST", "/v1/sessions/"+s+"/messages", doc{"content": fmt.Sprint("message ", i)}).want(201)
		}
		member := r.as(r.member(slug, "member"))
		soon(t, "a new key", func() bool { return member.do("GET", "/v1/me", nil).Status == 200 })
	}
	work("first")
	n.strangers(1, foreign/3)
	for i := range storetest.Scale(2, 150) {
		work(fmt.Sprint("more-", i))
	}
	n.strangers(2, foreign-2*(foreign/3))
	r.do("GET", "/readyz", nil).want(200)
	l.feed = r.feedKinds(r.newest())
	l.presets = len(r.do("GET", "/v1/presets", nil).want(200).list("data"))
	if text := r.logs.String(); strings.Contains(text, `"level":"ERROR"`) {
		t.Errorf("it logs\n%s", text)
	}
	r.stop()
	began := time.Now()
	if _, err := r.command(append([]string{"rebuild", "--yes"}, on...)...); err != nil {
		t.Fatal(err)
	}
	r.serve(on...)
	l.took = time.Since(began)
	r.do("GET", "/v1/me", nil).want(200)
	out, err := r.command(append([]string{"rebuild", "--verify"}, on...)...)
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	l.verify = out
	r.countsForeign(foreign, on)
	r.stop()
	l.audit = r.auditKinds(foreign, on)
	l.copied = n.copiesOurs(foreign)
	return l
}

// feedKinds counts what the feed gives up to a position, by kind.
func (r *rig) feedKinds(to string) map[string]int {
	r.t.Helper()
	resp := r.open("GET", "/v1/feed?after=start", nil)
	defer func() { _ = resp.Body.Close() }()
	kinds, last := map[string]int{}, ""
	for lines := scanner(resp.Body); lines.Scan(); {
		if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
			last = id
		}
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			kinds[parse(data).str("type")]++
			if last == to {
				return kinds
			}
		}
	}
	r.t.Error("the feed has ended")
	return kinds
}

// auditKinds counts what the audit shows, by kind. What it went past stands on its own line.
func (r *rig) auditKinds(foreign int, on []string) map[string]int {
	r.t.Helper()
	out, err := r.command(append([]string{"audit", "--json"}, on...)...)
	if err != nil {
		r.t.Errorf("audit: %v", err)
	}
	kinds := map[string]int{}
	for line := range strings.Lines(out) {
		if d := parse(line); d != nil {
			kinds[d.str("kind")]++
		}
	}
	if foreign > 0 {
		contains(r.t.(*testing.T), out,
			fmt.Sprintf("not shown: %d events of other applications' streams, such as user-42,", foreign))
	} else if strings.Contains(out, "other applications") {
		r.t.Errorf("there are none of others:\n%s", out)
	}
	return kinds
}

// countsForeign expects that the readers have counted those that they were given.
func (r *rig) countsForeign(foreign int, on []string) {
	r.t.Helper()
	out, err := r.command(append([]string{"projections", "--json"}, on...)...)
	if err != nil {
		r.t.Fatal(err)
	}
	for line := range strings.Lines(out) {
		d := parse(line)
		if n := d.num("foreign"); (n > 0) != (foreign > 0) || n > foreign || len(d.list("parked")) > 0 ||
			d.str("state") == "stopped" {
			r.t.Errorf("%s", line)
		}
	}
}

// copiesOurs copies the log alone, and says what was copied.
func (n *nodeRig) copiesOurs(foreign int) string {
	n.t.Helper()
	to := newNodeRig(n.t.(*testing.T))
	to.put("order-of-others", strangeEvents[0])
	out, err := n.copies(to)
	copied(n.t.(*testing.T), out, err)
	if foreign > 0 {
		contains(n.t.(*testing.T), out, fmt.Sprintf("not copied, --all does it: %d events", foreign))
	}
	for e, err := range to.store.ReadAll(n.t.Context(), 0, eventlog.Forwards, 0) {
		if _, foreign := eventlog.ParseStream(e.Stream); err != nil || foreign != nil && e.Stream != "order-of-others" &&
			!strings.HasPrefix(e.Stream, "$") {
			n.t.Fatalf("%.80q was copied: %v", e.Stream, err)
		}
	}
	first, _, _ := strings.Cut(out, " events copied")
	return first
}

// copies runs log copy from one node to another.
func (n *nodeRig) copies(to *nodeRig, args ...string) (string, error) {
	out := &buffer{}
	err := run(n.t.Context(), append([]string{"log", "copy", "--from", n.address, "--to", to.address, "--log-level",
		"error"}, args...), out, out)
	return out.String(), err
}

// TestSharedStore: an installation on a store with 10,000 events of other applications does what it does alone.
func TestSharedStore(t *testing.T) {
	t.Parallel()
	const foreign = 10_000
	alone, beside := live(t, 0), live(t, foreign)
	if !maps.Equal(alone.audit, beside.audit) || len(alone.audit) < 8 {
		t.Errorf("the audit shows %v, and beside others %v", alone.audit, beside.audit)
	}
	if !maps.Equal(alone.feed, beside.feed) || len(alone.feed) < 8 {
		t.Errorf("the feed gives %v, and beside others %v", alone.feed, beside.feed)
	}
	if alone.verify != beside.verify || alone.copied != beside.copied || alone.presets != beside.presets {
		t.Errorf("verify says\n%s\n%s; %s and %s events were copied; there are %d and %d presets", alone.verify,
			beside.verify, alone.copied, beside.copied, alone.presets, beside.presets)
	}
	const bound = 1.2
	ratio := float64(beside.took) / float64(alone.took)
	t.Logf("a rebuild and a start took %s, beside %d events of others %s: %.2f times as long; the bound is %.1f",
		alone.took.Round(time.Millisecond), foreign, beside.took.Round(time.Millisecond), ratio, bound)
	if ratio > storetest.Scale(5*bound, bound) {
		t.Errorf("it took %.2f times as long", ratio)
	}
}

// TestNamesOfOurForm: streams whose names have our form, of no org of this log, with what cannot be read.
func TestNamesOfOurForm(t *testing.T) {
	t.Parallel()
	n := newNodeRig(t)
	r := &rig{t: t, data: t.TempDir(), dsn: pgtest.Database(t)}
	on := []string{"--eventstore", n.address}
	for _, category := range []string{"user", "apikey", "preset", "session"} {
		n.put(category+"-"+unfoundedOrg+"_"+unfoundedOrg, slices.Clone(strangeEvents)...)
	}
	n.put("org-"+unfoundedOrg, slices.Clone(strangeEvents)...)
	r.serve(on...)
	r.do("GET", "/v1/me", nil).want(200)
	n.put("user-"+unfoundedOrg+"_"+strings.Repeat("1", 26), slices.Clone(strangeEvents)...)
	member := r.as(r.member("late", "member"))
	soon(t, "a new key", func() bool { return member.do("GET", "/v1/me", nil).Status == 200 })
	out, err := r.command(append([]string{"projections", "--json"}, on...)...)
	if err != nil || !strings.Contains(out, `"foreign":20`) || strings.Contains(out, `"stopped"`) {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = r.command(append([]string{"audit"}, on...)...)
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	r.stop()
	r.serve(on...)
	r.do("GET", "/v1/me", nil).want(200)
	org := r.firstOrg(n)
	n.put("user-"+org+"_abc", slices.Clone(strangeEvents)...)
	n.put("org-"+org+"x", slices.Clone(strangeEvents)...)
	if kinds := r.feedKinds(r.newest()); kinds["prelude.org.founded"] != 1 {
		t.Errorf("the feed gives %v", kinds)
	}
	r.stop()
	// Of an org of this log it is another matter: the audit shows all others, and ends with an error.
	n.put("session-"+org+"_"+unfoundedOrg, strangeEvents[0])
	broken, err := r.command(append([]string{"audit"}, on...)...)
	refused(t, err, "1 events cannot be read and are not shown", "session-"+org)
	contains(t, broken, "org.founded", "user.joined")
}

// firstOrg is the bare id of the first org that the log founded.
func (r *rig) firstOrg(n *nodeRig) string {
	r.t.Helper()
	for e, err := range n.store.ReadAll(r.t.Context(), 0, eventlog.Forwards, 0) {
		if err != nil {
			r.t.Fatal(err)
		}
		if founds(e) {
			return strings.TrimPrefix(e.Stream, "org-")
		}
	}
	r.t.Fatal("there is no org")
	return ""
}

// TestScavengedStore: others' events came first, and were removed for good; the log begins in the middle.
func TestScavengedStore(t *testing.T) {
	t.Parallel()
	n := newNodeRig(t)
	n.strangers(0, 100)
	r := &rig{t: t, data: t.TempDir(), dsn: pgtest.Database(t)}
	r.serve("--eventstore", n.address)
	r.preset("kept")
	r.stop()
	n.append("$$user-42", eventlog.None, "$metadata", `{"$tb":40}`)
	n.compact()
	for e, err := range n.store.ReadAll(t.Context(), 0, eventlog.Forwards, 1) {
		if err != nil || e.Position == 0 || e.Stream == "user-42" && e.Revision == 0 {
			t.Fatalf("the log begins with %d of %s: %v", e.Revision, e.Stream, err)
		}
	}
	r.serve("--eventstore", n.address)
	r.do("GET", "/v1/presets/kept", nil).want(200)
	r.stop()
	if out, err := r.command("rebuild", "--yes", "--eventstore", n.address); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r.serve("--eventstore", n.address)
	r.do("GET", "/v1/presets/kept", nil).want(200)
}

// TestTail_shows_names_as_they_are_safe: a name of another application may do something to a terminal.
func TestTail_shows_names_as_they_are_safe(t *testing.T) {
	t.Parallel()
	n := newNodeRig(t)
	n.put("evil-\x1b[2J", eventlog.Proposed{Type: "bell\a", Data: []byte("{}")})
	ctx, cancel := context.WithCancel(t.Context())
	out := &buffer{}
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"log", "tail", "--from", "start", "--eventstore", n.address, "--log-level", "error"},
			out, out)
	}()
	soon(t, "the line", func() bool { return strings.Contains(out.String(), "\n") })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if text := out.String(); strings.ContainsAny(text, "\x1b\a") || !strings.Contains(text, `"evil-\x1b[2J"`) {
		t.Errorf("it prints %q", text)
	}
}
