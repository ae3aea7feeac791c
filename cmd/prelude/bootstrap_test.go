package main

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"prelude/internal/pgserver/pgtest"
)

// begins starts a server on an address that is known before, and so can be asked from the first moment on.
func (r *rig) begins(args ...string) *buffer {
	r.t.Helper()
	t, ok := r.t.(*testing.T)
	if !ok {
		r.t.Fatal("it is of tests")
	}
	address := freeAddress(t)
	r.url = "http://" + address
	out := r.starting(append([]string{"--listen", address}, args...)...)
	soon(t, "it listens", func() bool {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
	return out
}

// isStarting expects a server to live and not to be ready, for a reason, and to take nothing yet.
func (r *rig) isStarting(part, reason string) {
	r.t.Helper()
	r.says("not_ready", map[string]string{"server": startingOrStopping, part: reason}, map[string]string{})
	r.do("GET", "/healthz", nil).want(200)
	for _, path := range []string{"/v1/me", "/v1/no-such-thing", "/docs"} {
		a := r.do("GET", path, nil)
		a.refused(503, "unavailable")
		if a.Header.Get("Retry-After") == "" {
			r.t.Errorf("%s: it does not say when to come again", path)
		}
	}
	if a := r.do("POST", "/v1/chat/completions", doc{}); a.Status != 503 || !strings.Contains(string(a.Body), `"error"`) {
		r.t.Errorf("status %d: %s", a.Status, a.Body)
	}
}

// TestStart_says_what_it_waits_for: a server answers probes from the moment at which it listens.
func TestStart_says_what_it_waits_for(t *testing.T) {
	t.Parallel()
	t.Run("a silent store", func(t *testing.T) {
		t.Parallel()
		silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0") // connections wait, and are not taken
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = silent.Close() })
		r := &rig{t: t, data: t.TempDir(), dsn: pgtest.Database(t)}
		r.begins("--eventstore", plainly(silent.Addr().String()))
		r.isStarting("event_store", "the event store has not answered yet")
		r.isStarting("event_store", "the event store does not answer: the event store takes connections")
		r.givesUp()
	})
	t.Run("nobody at the store's address", func(t *testing.T) {
		t.Parallel()
		r := &rig{t: t, data: t.TempDir(), dsn: pgtest.Database(t)}
		r.begins("--eventstore", plainly("127.0.0.1:1"))
		r.isStarting("event_store", "the event store does not answer: nobody answers at the event store's address")
		r.givesUp()
	})
	t.Run("a migration", func(t *testing.T) {
		t.Parallel()
		r := &rig{t: t, data: t.TempDir(), dsn: before(t)}
		release := r.locks(allRows)
		out := r.begins()
		r.isStarting("database", "the database is being opened and migrated")
		r.goesOn(release, out)
	})
	t.Run("the vault", func(t *testing.T) {
		t.Parallel()
		r := start(t)
		r.stop()
		release := r.locks("LOCK TABLE vault.applied IN ACCESS EXCLUSIVE MODE")
		out := r.begins()
		r.isStarting("vault", "the vault is being opened and held against the log")
		r.goesOn(release, out)
	})
}

// givesUp ends a start that waits: it is told to, and ends with what it waited for.
func (r *rig) givesUp() {
	r.t.Helper()
	r.cancel()
	r.cancel = nil
	if err := <-r.done; err == nil {
		r.t.Error("it ended as if it had served")
	}
	if _, err := http.Get(r.url + "/healthz"); err == nil {
		r.t.Error("it answers when it has ended")
	}
}

// goesOn releases what a start waits for, while clients ask on connections that they keep. No request is lost.
func (r *rig) goesOn(release func(), out *buffer) {
	r.t.Helper()
	var all sync.WaitGroup
	var starting, served atomic.Int64
	url := r.url // ready notes it again
	over := make(chan struct{})
	for _, path := range []string{"/readyz", "/v1/me", "/healthz"} {
		client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
		all.Go(func() {
			defer client.CloseIdleConnections()
			for last := false; !last; {
				select {
				case <-over:
					last = true
				default:
				}
				resp, err := client.Get(url + path)
				if err != nil {
					r.t.Errorf("%s: %v", path, err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body) // so that the connection is used again
				_ = resp.Body.Close()
				switch resp.StatusCode {
				case http.StatusServiceUnavailable:
					starting.Add(1)
				case http.StatusOK, http.StatusUnauthorized: // they have no key
					served.Add(1)
				default:
					r.t.Errorf("%s: status %d", path, resp.StatusCode)
				}
			}
		})
	}
	soon(r.t, "the clients are told that it starts", func() bool { return starting.Load() > 0 })
	release()
	r.ready(out)
	close(over)
	all.Wait()
	r.t.Logf("%d requests were answered that it starts, and %d as usual", starting.Load(), served.Load())
	r.says("ready", nil, map[string]string{"rights": "following", "views": "following", "out": "following"})
	r.works()
}
