package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"prelude/internal/esnode"
	"prelude/internal/eventstore/storetest"
	"prelude/internal/pgserver/pgtest"
	"prelude/internal/postgres"
)

// shared is what instances of one installation share.
type shared struct {
	t    *testing.T
	args []string
	dsn  string
}

// newShared is a node on loopback, a database, and a master key.
func newShared(t *testing.T) *shared {
	t.Helper()
	dir := storetest.Folder(t)
	node, err := esnode.Start(context.Background(), shapeNode(esnode.Config{Dir: dir, Socket: filepath.Join(dir, "node.sock"),
		Listen: "127.0.0.1:0"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.Close(); err != nil {
			t.Error(err)
		}
	})
	return &shared{t: t, dsn: pgtest.Database(t), args: []string{"--eventstore",
		"esdb://" + node.Addr() + "?tls=false", "--master-key-file", filepath.Join(dir, "master.key")}}
}

// rig is an instance that does not run yet, on a data folder of its own.
func (s *shared) rig() *rig { return &rig{t: s.t, data: s.t.TempDir(), dsn: s.dsn} }

// instance runs one more.
func (s *shared) instance(args ...string) *rig {
	s.t.Helper()
	r := s.rig()
	r.serve(append(slices.Clone(s.args), args...)...)
	return r
}

// long says whether tests run in their long form.
func long() bool { return os.Getenv(atBounds) != "" }

// soon does something again and again until it is so, and gives how long that took.
func soon(t testing.TB, what string, so func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); !so(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within a minute", what)
		}
	}
	return time.Since(began)
}

// spread gives the middle and the longest of some times.
func spread(all []time.Duration) (middle, longest time.Duration) {
	slices.Sort(all)
	return all[len(all)/2], all[len(all)-1]
}

// TestTwoInstances changes presets, labels and rights on one instance, and finds them changed on the other within a
// second.
func TestTwoInstances(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	one, two := s.instance(), s.instance()
	rounds := 8
	if long() {
		rounds = 100
	}
	id := one.preset("shared")
	took := map[string][]time.Duration{}
	for i := range rounds {
		text := fmt.Sprintf("Be kind, %d.", i)
		etag := one.do("GET", "/v1/presets/"+id, nil).Header.Get("ETag")
		one.do("PATCH", "/v1/presets/"+id, doc{"instructions": text}, "If-Match: "+etag).want(200)
		took["preset"] = append(took["preset"], soon(t, "a preset", func() bool {
			return two.do("POST", "/v1/presets/"+id+"/render", nil).want(200).str("text") == text &&
				two.do("GET", "/v1/presets/"+id, nil).want(200).str("draft", "instructions") == text
		}))
		version := one.do("POST", "/v1/presets/"+id+"/publish", nil).want(201).num("version")
		one.do("PUT", "/v1/presets/"+id+"/labels/production", doc{"version": version}).want(200)
		took["label"] = append(took["label"], soon(t, "a label", func() bool {
			l := two.do("GET", "/v1/presets/"+id+"/labels/production", nil)
			return l.Status == 200 && l.want(200).num("version") == version
		}))
		key := one.do("POST", "/v1/api-keys", doc{"name": "short"}).want(201)
		took["key issued"] = append(took["key issued"], soon(t, "a key", func() bool {
			return two.as(key.str("secret")).do("GET", "/v1/me", nil).Status == 200
		}))
		one.do("DELETE", "/v1/api-keys/"+key.str("id"), nil).want(200)
		took["key revoked"] = append(took["key revoked"], soon(t, "a revoked key", func() bool {
			return two.as(key.str("secret")).do("GET", "/v1/me", nil).Status == 401
		}))
	}
	for what, all := range took {
		middle, longest := spread(all)
		t.Logf("%s: p50 %s", what, middle.Round(time.Millisecond))
		inTime(t, what+" on the other instance, at most,", longest, time.Second)
	}
	min := one.do("POST", "/v1/presets", doc{"slug": "waited", "name": "Waited", "model": "demo",
		"instructions": "W"}).Header.Get("Prelude-Position")
	if d := two.do("GET", "/v1/audit?limit=1&min_position="+min, nil).want(200); d.at("stale") != nil ||
		d.list("data")[0].str("position") != min {
		t.Errorf("an instance that feeds no reader does not wait for the position: %v", d)
	}
}

// begin posts a message whose reply takes a while, and gives the reply's id and what is to be read of it.
func (r *rig) begin(content string) (reply string, body io.ReadCloser) {
	r.t.Helper()
	resp := r.open("POST", "/v1/sessions/"+r.session()+"/messages", doc{"content": content}, "Accept: text/event-stream")
	lines := scanner(resp.Body)
	lines.Scan()
	reply, _, _ = strings.Cut(strings.TrimPrefix(lines.Text(), "id: "), ":")
	return reply, resp.Body
}

// TestReplyElsewhere resumes on one instance what another makes: byte for byte, from the start, from its middle, as
// JSON, and with a producer that nobody reaches.
func TestReplyElsewhere(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	one, two := s.instance(), s.instance()
	lone := s.instance("--advertise", "http://127.0.0.1:1")
	two.key, lone.key = one.key, one.key
	const content = "ünïcödé demo:chunks=60 demo:delay=15ms"
	for name, maker := range map[string]*rig{"that is reached": one, "that is not reached": lone} {
		t.Run("of a producer "+name, func(t *testing.T) {
			t.Parallel()
			reply, body := maker.begin(content)
			defer func() { _ = body.Close() }()
			if got := two.do("GET", "/v1/replies/"+reply, nil).want(200).str("status"); got != "running" {
				t.Errorf("it is %s", got)
			}
			whole := two.stream("GET", "/v1/replies/"+reply+"/stream", nil)
			stored := one.do("GET", "/v1/replies/"+reply, nil).want(200).str("content")
			last := fmt.Sprintf("%s:%d", reply, len(stored))
			if texts(whole) != stored || whole[0].ID != reply+":0" || whole[len(whole)-1].ID != last ||
				whole[len(whole)-1].Name != "reply.completed" {
				t.Errorf("streamed %q, stored %q; %v", texts(whole), stored, whole[len(whole)-1])
			}
			if reached := len(whole) > 10; reached != (maker == one) {
				t.Errorf("it came in %d events", len(whole))
			}
			from := len("This is")
			reply, rest := maker.begin(content)
			defer func() { _ = rest.Close() }()
			after := two.stream("GET", fmt.Sprintf("/v1/replies/%s/stream?starting_after=%d", reply, from), nil)
			if got := stored[:from] + texts(after); got != stored || after[0].Name != "reply.delta" {
				t.Errorf("after %d: %q", from, got)
			}
		})
	}
}

// TestCancelElsewhere cancels on one instance what another makes: with the producer's help, and through the log alone.
func TestCancelElsewhere(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	one, two := s.instance(), s.instance()
	lone := s.instance("--advertise", "http://127.0.0.1:1")
	two.key, lone.key = one.key, one.key
	const content = "demo:chunks=2000 demo:delay=15ms"
	for name, maker := range map[string]*rig{"that is reached": one, "that is not reached": lone} {
		t.Run("of a producer "+name, func(t *testing.T) {
			t.Parallel()
			reply, body := maker.begin(content)
			defer func() { _ = body.Close() }()
			done := two.do("POST", "/v1/replies/"+reply+"/cancel", nil).want(200)
			if done.str("status") != "cancelled" {
				t.Errorf("it is %v", done)
			}
			got := events(t, scanner(body))
			if last := got[len(got)-1]; last.Name != "reply.cancelled" {
				t.Errorf("its producer ended it with %v", last)
			}
			if stored := done.str("content"); maker == one && stored != texts(got) {
				t.Errorf("streamed %q, stored %q", texts(got), stored)
			}
		})
		t.Run("a completion of a producer "+name, func(t *testing.T) {
			t.Parallel()
			chat := maker.open("POST", "/v1/chat/completions", doc{"model": "demo", "stream": true,
				"messages": []doc{{"role": "user", "content": content}}})
			defer func() { _ = chat.Body.Close() }()
			reply := chat.Header.Get("Prelude-Reply")
			if got := two.do("POST", "/v1/replies/"+reply+"/cancel", nil).want(200); got.str("status") != "cancelled" {
				t.Errorf("it is %v", got)
			}
			if _, err := io.Copy(io.Discard, chat.Body); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestInternal lets in whoever has the secret for that very request, and nobody else.
func TestInternal(t *testing.T) {
	t.Parallel()
	r := start(t)
	reply, body := r.begin("demo:chunks=100 demo:delay=20ms")
	defer func() { _ = body.Close() }()
	stranger := r.as("")
	for _, path := range []string{"/internal/replies/" + reply + "/said", "/internal/replies/rpl_1/said"} {
		stranger.do("GET", path, nil).refused(401, "unauthenticated")
		r.do("GET", path, nil).refused(401, "unauthenticated") // an API key is none
	}
	stranger.do("POST", "/internal/replies/"+reply+"/cancel?by=usr_1", nil).refused(401, "unauthenticated")
	if strings.Contains(string(r.do("GET", "/openapi.json", nil).Body), "/internal/") {
		t.Error("the routes are in the document")
	}
}

// TestInstanceTwice refuses a second process of one instance, and a second one on a data folder.
func TestInstanceTwice(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	one := s.instance("--instance", "twin")
	other := s.rig()
	args := append([]string{"serve", "--listen", "127.0.0.1:0", "--data", other.data, "--database-url", s.dsn,
		"--instance", "twin"}, s.args...)
	if err := run(t.Context(), args, io.Discard, io.Discard); !errors.Is(err, postgres.ErrInstance) {
		t.Errorf("of another data folder: %v", err)
	}
	args = append([]string{"serve", "--listen", "127.0.0.1:0", "--data", one.data, "--database-url", s.dsn}, s.args...)
	if err := run(t.Context(), args, io.Discard, io.Discard); !errors.Is(err, errAlone) {
		t.Errorf("on its data folder: %v", err)
	}
	one.do("GET", "/v1/me", nil).want(200)
	one.stop()
	other.serve(append([]string{"--instance", "twin"}, s.args...)...) // it said goodbye
}

// TestTakeover kills the instance that feeds the readers: another takes over within ten seconds, and at once where the
// first stops by itself. In its long form it also waits until the reply that was lost is closed.
func TestTakeover(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	p := launch(s.rig(), s.args...)
	two := s.instance()
	if n := s.owned(p.rig); n != 3 {
		t.Errorf("the first feeds %d readers", n)
	}
	reply, body := p.begin("demo:chunks=10000 demo:delay=20ms")
	defer func() { _ = body.Close() }()
	p.end(syscall.SIGKILL)
	killed := time.Now()
	fresh := func() bool {
		made := two.do("POST", "/v1/presets", doc{"slug": fmt.Sprint("p-", time.Now().UnixNano()), "name": "P",
			"model": "demo", "instructions": "P"})
		return made.Status == 201 && two.do("GET", "/v1/audit?limit=1&consistency=strict&min_position="+
			made.Header.Get("Prelude-Position"), nil).Status == http.StatusOK
	}
	soon(t, "the takeover", fresh)
	inTime(t, "the takeover after a kill", time.Since(killed), 10*time.Second)

	three := s.instance()
	two.stop()
	inTime(t, "the takeover after a stop", soon(t, "the takeover", func() bool { return s.owned(three) == 3 }),
		2*time.Second)
	if long() {
		three.key = p.key
		soon(t, "the end of the lost reply", func() bool {
			r := three.do("GET", "/v1/replies/"+reply, nil)
			return r.Status == 200 && r.want(200).str("error", "code") == "lost"
		})
		t.Logf("the lost reply was closed %s after the kill", time.Since(killed).Round(time.Second))
	}
}

// TestTakeoverFromStopped stops the process that feeds the readers where it is: another takes over within ten seconds.
// When it wakes up no reader has two, and what is served is what the log says.
func TestTakeoverFromStopped(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	p := launch(s.rig(), s.args...)
	ended := false
	t.Cleanup(func() {
		if !ended {
			p.end(syscall.SIGKILL) // it ends a stopped process too
		}
	})
	two := s.instance()
	if n := s.owned(p.rig); n != 3 {
		t.Errorf("the first feeds %d readers", n)
	}
	made := func(r *rig, slug string) bool {
		a := r.do("POST", "/v1/presets", doc{"slug": slug, "name": "P", "model": "demo", "instructions": "P"})
		a.want(201)
		return two.do("GET", "/v1/audit?limit=1&consistency=strict&min_position="+
			a.Header.Get("Prelude-Position"), nil).Status == http.StatusOK
	}
	signal := func(sig syscall.Signal) {
		if err := p.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	two.key = p.key
	for i := range 20 { // it is stopped at its work
		p.preset(fmt.Sprint("before-", i))
	}
	signal(syscall.SIGSTOP)
	stopped, n := time.Now(), 0
	soon(t, "the takeover", func() bool { n++; return made(two, fmt.Sprint("meanwhile-", n)) })
	inTime(t, "the takeover from a stopped process", time.Since(stopped), 10*time.Second)
	soon(t, "all readers", func() bool { return s.owned(two) == 3 })
	signal(syscall.SIGCONT)
	for i := range 5 {
		if !made(p.rig, fmt.Sprint("awake-", i)) {
			t.Error("what the woken process appends is not applied")
		}
	}
	// A batch that the woken process was at may be committed before that of the other, which begins again then.
	soon(t, "each reader has one owner", func() bool { return s.owned(p.rig)+s.owned(two) == 3 })
	if wrong := two.count("SELECT sum(gaps) + (SELECT count(*) FROM prelude.parked) FROM prelude.checkpoints"); wrong > 0 {
		t.Errorf("%d gaps and parked streams", wrong)
	}
	if out, err := two.command(append([]string{"rebuild", "--verify"}, s.args...)...); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	p.end(syscall.SIGTERM)
	ended = true
}

// owned counts the readers that an instance feeds.
func (s *shared) owned(r *rig) int {
	s.t.Helper()
	id, err := os.ReadFile(filepath.Join(r.data, "instance"))
	if err != nil {
		s.t.Fatal(err)
	}
	return r.count("SELECT count(*) FROM prelude.leases WHERE owner = $1 AND expires > now()",
		strings.TrimSpace(string(id)))
}
