package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"prelude/internal/esnode"
	"prelude/internal/eventlog"
	"prelude/internal/eventstore/storetest"
	"prelude/internal/pgserver/pgtest"
)

// readyWithin is how soon a start is ready; on a machine with much to do, five times that.
const readyWithin = 5 * time.Second

// within5 expects a start to have taken no longer.
func within5(t *testing.T, what string, took time.Duration) {
	t.Helper()
	t.Logf("%s: ready after %s (the bound is %s)", what, took.Round(time.Millisecond), readyWithin)
	if most := storetest.Scale(5*readyWithin, readyWithin); took > most {
		t.Errorf("%s: ready after %s, at most %s", what, took, most)
	}
}

// externalNode is an event store of its own, on loopback.
func externalNode(t *testing.T, c esnode.Config) *esnode.Node {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	c.Listen = "127.0.0.1:0"
	n, err := esnode.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() }) // those that a test has closed are closed
	return n
}

func plainly(address string) string { return "esdb://" + address + "?tls=false" }

// works expects what a first user does to work: the key that was printed, a preset, a turn, lists.
func (r *rig) works() {
	r.t.Helper()
	r.do("GET", "/v1/me", nil).want(200)
	r.preset("first")
	session := r.do("POST", "/v1/sessions", doc{"preset": "first"}).want(201).str("id")
	turn := r.do("POST", "/v1/sessions/"+session+"/messages", doc{"content": "Hello"})
	if got := turn.want(201).str("reply", "status"); got != "completed" {
		r.t.Errorf("the reply is %s", got)
	}
	at := "&consistency=strict&min_position=" + turn.Header.Get("Prelude-Position")
	if n := len(r.do("GET", "/v1/presets?limit=10"+at, nil).want(200).list("data")); n == 0 {
		r.t.Error("no preset is listed")
	}
	r.do("GET", "/v1/audit?limit=10", nil).want(200)
}

// TestStart_on_empty_stores: a first start on an empty store of each kind is soon ready, and all works.
func TestStart_on_empty_stores(t *testing.T) {
	t.Parallel()
	for kind, address := range map[string]func(*testing.T) string{
		"embedded":     func(*testing.T) string { return "" },
		"prelude node": func(t *testing.T) string { return newNodeRig(t).address },
		"24": func(t *testing.T) string {
			c := shapeNode(esnode.Config{})
			c.Notices = 24
			return plainly(externalNode(t, c).Addr())
		},
		"25": func(t *testing.T) string {
			c := shapeNode(esnode.Config{})
			c.Notices = 25
			return plainly(externalNode(t, c).Addr())
		},
		"of others' events": func(t *testing.T) string {
			n := newNodeRig(t)
			for i := range 50 {
				n.append(fmt.Sprint("user-", i), eventlog.None, "UserRegistered", `{}`, `{"a":1}`)
			}
			return n.address
		},
		"a script whose checkpoints say nothing": func(t *testing.T) string {
			s := storetest.NewScript(t, externalNode(t, shapeNode(esnode.Config{})).Addr())
			s.Play(storetest.Part{Says: storetest.CheckpointsOf(math.MaxUint64)})
			return plainly(s.Addr)
		},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			r := &rig{t: t, data: t.TempDir(), dsn: pgtest.Database(t)}
			var args []string
			if a := address(t); a != "" {
				args = []string{"--eventstore", a}
			}
			t.Cleanup(r.stop) // before its store
			began := time.Now()
			r.serve(args...)
			soon(t, "it is ready", r.isReady)
			within5(t, kind, time.Since(began))
			r.works()
		})
	}
}

// TestStart_after_kills: a server on an external store, whose log's tail holds nothing for rights, is killed under load
// again and again: each start is soon ready, and what was acknowledged is there once.
func TestStart_after_kills(t *testing.T) {
	t.Parallel()
	c := shapeNode(esnode.Config{})
	c.Notices = 24
	node := externalNode(t, c)
	args := []string{"--eventstore", plainly(node.Addr())}
	r := &rig{t: t, data: t.TempDir(), dsn: pgtest.Database(t)}
	p := launch(r, args...)
	t.Cleanup(func() { p.end(syscall.SIGKILL) })
	session := r.session()
	var made []string
	for round := range 10 {
		stop, done := make(chan struct{}), make(chan []string)
		go func() {
			var mine []string
			for n := 0; ; n++ {
				select {
				case <-stop:
					done <- mine
					return
				default:
				}
				slug := fmt.Sprintf("k%d-%d", round, n)
				if a, err := r.tries("POST", "/v1/presets", draft(slug, nil)); err == nil && a == http.StatusCreated {
					mine = append(mine, slug)
				}
			}
		}()
		reply := r.killMidway(p, session, round)
		close(stop)
		made = append(made, <-done...)
		began := time.Now()
		p = launch(r, args...)
		soon(t, "it is ready", r.isReady)
		within5(t, fmt.Sprint("kill ", round+1), time.Since(began))
		r.afterKill(session, reply, round)
	}
	r.onceEach(t, made)
	t.Logf("%d presets acknowledged", len(made))
}

// tries sends a request to a server that may die meanwhile.
func (r *rig) tries(method, path string, body doc) (status int, err error) {
	b, err := json.Marshal(body)
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, bytes.NewReader(b))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+r.key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// TestFeeds_stand_in_nobodys_way: more feeds than a store takes calls on a connection keep no write, no read and no
// /readyz waiting.
func TestFeeds_stand_in_nobodys_way(t *testing.T) {
	t.Parallel()
	n := externalNode(t, shapeNode(esnode.Config{}))
	way := storetest.NewProxy(t, "127.0.0.1:0", n.Addr())
	r := start(t, "--eventstore", plainly(way.Path))
	t.Cleanup(r.stop)
	before := way.Connections()
	var open []*http.Response
	for range 130 {
		open = append(open, r.open("GET", "/v1/feed?after=start", nil))
	}
	if n := way.Connections(); n <= before {
		t.Errorf("all feeds share the %d connections", n)
	}
	r.works()
	if a := r.do("GET", "/readyz", nil); a.Status != 200 {
		t.Errorf("it says %d: %s", a.Status, a.Body)
	}
	for _, resp := range open {
		_ = resp.Body.Close()
	}
	soon(t, "the connections of the feeds are closed", func() bool { return way.Connections() <= before })
}

// TestStore_that_was_put_back: the store is put back to an older copy under a running server, which others may have written
// to meanwhile, past where the newer one ended. That is said, and nothing is built on it; when the newer one is back, so is
// the server.
func TestStore_that_was_put_back(t *testing.T) {
	t.Parallel()
	for what, foreign := range map[string]int{"as it was": 0, "and has grown since": 400} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			putBack(t, foreign)
		})
	}
}

func putBack(t *testing.T, foreign int) {
	t.Helper()
	newer, older := newNodeRig(t), newNodeRig(t)
	script := storetest.NewScript(t, hostOf(newer.address))
	r := start(t, "--eventstore", plainly(script.Addr))
	t.Cleanup(r.stop)
	r.preset("before")
	if _, err := newer.copies(older); err != nil {
		t.Fatal(err)
	}
	var last *answer
	for i := range 30 {
		last = r.make(fmt.Sprint("after-", i))
		last.want(201)
	}
	at := "?consistency=strict&min_position=" + last.Header.Get("Prelude-Position")
	r.do("GET", "/v1/presets/after-29"+at, nil).want(200)
	for i := range foreign {
		older.append(fmt.Sprint("order-", i), eventlog.None, "OrderPlaced", `{"x":"`+strings.Repeat("a", 2000)+`"}`, `{}`)
	}
	script.Behind(t, hostOf(older.address))
	said := ""
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(said)
		}
	})
	soon(t, "/readyz says what was lost", func() bool {
		a := r.do("GET", "/readyz", nil)
		said = string(a.Body)
		return a.Status == http.StatusServiceUnavailable && strings.Contains(said, "knows events that the log does not have")
	})
	script.Behind(t, hostOf(newer.address))
	soon(t, "it is well again", func() bool {
		a := r.do("GET", "/readyz", nil)
		said = string(a.Body)
		return a.Status == http.StatusOK
	})
	r.works()
}

// hostOf is the host and port of a store's plain address.
func hostOf(address string) string {
	return strings.TrimSuffix(strings.TrimPrefix(address, "esdb://"), "?tls=false")
}

// TestServer_without_rights: a store that takes rights or the password away while the server runs does not end it: writes
// are told to come again, /readyz has the reason, one line of the log is an error, and all heals by itself.
func TestServer_without_rights(t *testing.T) {
	t.Parallel()
	denied, unknown := status.Error(codes.PermissionDenied, "Access Denied"), status.Error(codes.Unauthenticated, "")
	for what, refuse := range map[string]map[storetest.Call]error{
		"to append":   {storetest.Batch: denied},
		"to read":     {storetest.Read: denied, storetest.Subscribe: denied},
		"of any kind": {storetest.Batch: unknown, storetest.Read: unknown, storetest.Subscribe: unknown},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			script := storetest.NewScript(t, externalNode(t, shapeNode(esnode.Config{})).Addr())
			r := start(t, "--eventstore", plainly(script.Addr))
			t.Cleanup(r.stop)
			r.preset("kept")
			script.Play(storetest.Part{Refuse: refuse})
			soon(t, "/readyz has the reason", func() bool {
				a := r.do("GET", "/readyz", nil)
				return a.Status == http.StatusServiceUnavailable && strings.Contains(string(a.Body), "refuses whoever")
			})
			var all sync.WaitGroup
			for i := range 8 {
				all.Go(func() {
					a := r.make(fmt.Sprint("not-now-", i))
					if a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" ||
						!strings.Contains(string(a.Body), `"unavailable"`) {
						t.Errorf("a write is answered %d: %s", a.Status, a.Body)
					}
				})
			}
			all.Wait()
			if n := strings.Count(r.logs.String(), `"level":"ERROR"`); n != 1 {
				t.Errorf("%d lines are errors, want 1:\n%s", n, r.logs)
			}
			script.Play(storetest.Part{})
			soon(t, "it is well again", r.isReady)
			r.works()
		})
	}
}

// TestMe_is_answered_at_once: where the log's tail holds nothing for rights, a question waits for no reader.
func TestMe_is_answered_at_once(t *testing.T) {
	t.Parallel()
	median := func(r *rig) time.Duration {
		var took []time.Duration
		for i := range 100 {
			if i%10 == 0 {
				r.make(fmt.Sprint("m-", i)).want(201)
			}
			began := time.Now()
			r.do("GET", "/v1/me", nil).want(200)
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		return took[len(took)/2]
	}
	external := start(t, "--eventstore", plainly(externalNode(t, shapeNode(esnode.Config{})).Addr()))
	t.Cleanup(external.stop)
	there, here := median(external), median(start(t))
	t.Logf("GET /v1/me: %s on an external store, %s on the embedded one (the bound is 20ms)", there, here)
	if most := storetest.Scale(100*time.Millisecond, 20*time.Millisecond); there > most {
		t.Errorf("GET /v1/me takes %s, at most %s", there, most)
	}
}

// TestCopy_is_served: a copy whose tail holds nothing for rights is soon ready after a rebuild.
func TestCopy_is_served(t *testing.T) {
	t.Parallel()
	from, to := newNodeRig(t), newNodeRig(t)
	r := start(t, "--eventstore", from.address)
	r.works()
	r.stop()
	if out, err := from.copies(to); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out := &buffer{}
	if err := run(t.Context(), []string{"rebuild", "--yes", "--data", r.data, "--database-url", r.dsn, "--eventstore",
		to.address}, out, out); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Cleanup(r.stop)
	began := time.Now()
	r.serve("--eventstore", to.address)
	soon(t, "it is ready", r.isReady)
	within5(t, "a copy", time.Since(began))
	r.do("GET", "/v1/presets/first", nil).want(200)
}
