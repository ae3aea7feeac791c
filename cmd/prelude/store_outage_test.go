package main

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"prelude/internal/esnode"
	"prelude/internal/eventstore/storetest"
	"prelude/internal/pgserver/pgtest"
)

// TestStoreOutages: whatever happens to the way between a server and its store, and for however long, /readyz tells the
// truth, and all goes on by itself afterwards: commands, each done once, and the views.
func TestStoreOutages(t *testing.T) {
	t.Parallel()
	outages := storetest.Scale([]time.Duration{300 * time.Millisecond, 3 * time.Second},
		[]time.Duration{300 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second, time.Minute})
	for name, away := range map[string]func(*storetest.Proxy) (back func()){
		"the way is cut":     func(p *storetest.Proxy) func() { p.Down(); return p.Up },
		"the way is silent":  func(p *storetest.Proxy) func() { p.Hold(storetest.Both); return p.Release },
		"answers are silent": func(p *storetest.Proxy) func() { p.Hold(storetest.Answers); return p.Release },
		"answers are cut in the middle": func(p *storetest.Proxy) func() {
			p.CutDownload(500)
			return func() { p.CutDownload(-1) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node, err := esnode.Start(t.Context(), shapeNode(esnode.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"}))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := node.Close(); err != nil {
					t.Error(err)
				}
			})
			proxy := storetest.NewProxy(t, "127.0.0.1:0", node.Addr())
			r := &rig{t: t, data: t.TempDir(), dsn: pgtest.Database(t)}
			r.serve("--eventstore", "esdb://"+proxy.Path+"?tls=false")
			var made []string
			for i, outage := range outages {
				c := r.steadily(t, fmt.Sprint("made-", i))
				back := away(proxy)
				over := time.After(outage)
				if !strings.Contains(name, "middle") {
					r.isAway(t, over)
				} else {
					<-over
				}
				back()
				ready := soon(t, "/readyz says that all is well", r.isReady)
				inTime(t, fmt.Sprintf("being ready after %v", outage), ready, 5*time.Second)
				c.goesOn()
				made = append(made, c.end()...)
				last := "/v1/presets/" + made[len(made)-1] + "?consistency=strict&min_position=" + c.position
				soon(t, "the view has the last one", func() bool { return r.do("GET", last, nil).Status == 200 })
				t.Logf("%s for %v: ready %v after; %d commands done, %d refused", name, outage,
					ready.Round(time.Millisecond), c.acknowledged.Load(), c.refused.Load())
			}
			r.onceEach(t, made)
		})
	}
}

// noticedWithin is how soon /readyz says that a store is away which is only silent, on a machine with much to do.
const noticedWithin = 2 * time.Second

// isAway expects /readyz to say, soon and then each time until it is over, that the store does not answer, and to say so at
// once however that hangs.
func (r *rig) isAway(t *testing.T, over <-chan time.Time) {
	t.Helper()
	began, said := time.Now(), false
	for {
		asked, at := make(chan *answer, 1), time.Now()
		go func() { asked <- r.do("GET", "/readyz", nil) }()
		select {
		case <-over:
			<-asked
			return
		case a := <-asked:
			if took := time.Since(at); took > time.Second { // 0.1 s where the machine has nothing else to do
				t.Errorf("it takes %s to say", took)
			}
			if a.Status == http.StatusOK && !said && time.Since(began) < noticedWithin {
				continue
			}
			said = true
			if a.Status != http.StatusServiceUnavailable || !strings.Contains(string(a.Body), "the event store does not answer") {
				t.Errorf("it says %d: %s", a.Status, a.Body)
			}
			if strings.Contains(string(a.Body), "database") {
				t.Errorf("it says that the database is away: %s", a.Body)
			}
		}
	}
}

// TestServer_on_a_full_disk: commands are told to come again, questions are answered, and when there is room again the
// server goes on by itself. That files may not grow stands for a disk that is full.
func TestServer_on_a_full_disk(t *testing.T) {
	t.Parallel()
	embedded(t)
	r := &rig{t: t, data: t.TempDir(), dsn: pgtest.Database(t)}
	p := launch(r)
	t.Cleanup(func() { p.end(syscall.SIGTERM) })
	id := r.preset("kept")
	var free unix.Rlimit
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, nil, &free); err != nil {
		t.Fatal(err)
	}
	full := unix.Rlimit{Cur: 4096, Max: free.Max}
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, &full, nil); err != nil {
		t.Fatal(err)
	}
	refused := r.make("not-now")
	refused.refused(503, "unavailable")
	if refused.Header.Get("Retry-After") == "" {
		t.Error("it does not say when to come again")
	}
	r.do("GET", "/v1/presets/"+id, nil).want(200)
	r.do("GET", "/v1/presets/"+id+"/history", nil).want(200) // from the log
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, &free, nil); err != nil {
		t.Fatal(err)
	}
	soon(t, "commands are taken again", func() bool { return r.make("not-now").Status == 201 })
	r.onceEach(t, []string{"not-now"})
	if text := r.logs.String(); !strings.Contains(text, "event store write failed") {
		t.Errorf("its log does not say so:\n%s", text)
	}
}
