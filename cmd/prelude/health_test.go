package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"prelude/internal/api"
	"prelude/internal/esnode"
	"prelude/internal/eventstore/storetest"
	"prelude/internal/pgserver/pgtest"
	"prelude/readmodels"
)

// picture is the body of /readyz as the contract has it.
type picture struct {
	Status string `json:"status"`
	Wrong  []struct {
		Part   string     `json:"part"`
		Reason string     `json:"reason"`
		Since  *time.Time `json:"since"`
	} `json:"wrong"`
	Readers []struct {
		Name   string     `json:"name"`
		State  string     `json:"state"`
		Behind *int       `json:"behind"`
		Since  *time.Time `json:"since"`
		Why    *string    `json:"why"`
	} `json:"readers"`
	EventStore struct {
		State string `json:"state"`
	} `json:"event_store"`
}

// reason is what is wrong with a part; empty: nothing.
func (p picture) reason(part string) string {
	for _, w := range p.Wrong {
		if w.Part == part {
			return w.Reason
		}
	}
	return ""
}

// states are the states of the readers, by name.
func (p picture) states() map[string]string {
	all := map[string]string{}
	for _, r := range p.Readers {
		all[r.Name] = r.State
	}
	return all
}

// readyz asks for the picture. It has to come in time and in the shape of the contract, whatever it says.
func (r *rig) readyz() picture {
	r.t.Helper()
	began := time.Now()
	a := r.do("GET", "/readyz", nil)
	if took := time.Since(began); took > storetest.Scale(500*time.Millisecond, 100*time.Millisecond) {
		r.t.Errorf("/readyz takes %s: %s", took, a.Body)
	}
	var p picture
	d := json.NewDecoder(bytes.NewReader(a.Body))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		r.t.Fatalf("%v: %s", err, a.Body)
	}
	statuses := map[string]int{"ready": 200, "degraded": 200, "not_ready": 503}
	roles := []string{"leader", "follower", "none"}
	if statuses[p.Status] != a.Status || p.Wrong == nil || p.Readers == nil || (len(p.Wrong) == 0) != (p.Status == "ready") ||
		!slices.Contains(roles, p.EventStore.State) {
		r.t.Errorf("%d: %s", a.Status, a.Body)
	}
	for _, w := range p.Wrong {
		if w.Part == "" || w.Reason == "" || w.Since == nil || w.Since.After(time.Now()) {
			r.t.Errorf("a part is wrong in another shape: %s", a.Body)
		}
	}
	for _, one := range p.Readers {
		wrong := one.State == "stopped" || one.State == "stalled"
		known := wrong || one.State == "following" || one.State == "waiting"
		if one.Name == "" || !known || one.Behind == nil || (one.Since == nil) != (one.State == "following") ||
			(one.Why != nil) != wrong || wrong && !strings.Contains(p.reason("readers"), one.Name) {
			r.t.Errorf("a reader is in another shape: %s", a.Body)
		}
	}
	return p
}

// says waits until /readyz has a status, what is wrong with parts, and the states of some readers.
func (r *rig) says(status string, wrong, readers map[string]string) {
	r.t.Helper()
	var last picture
	var longest time.Duration
	defer func() {
		if r.t.Failed() {
			r.t.Logf("it says %+v", last)
		}
	}()
	after := soon(r.t, "/readyz says "+status, func() bool {
		began := time.Now()
		last = r.readyz()
		longest = max(longest, time.Since(began))
		for part, text := range wrong {
			if !strings.Contains(last.reason(part), text) {
				return false
			}
		}
		states := last.states()
		maps.DeleteFunc(states, func(name, _ string) bool { return readers[name] == "" })
		return last.Status == status && maps.Equal(states, readers)
	})
	r.t.Logf("it says %s after %s; each answer took %s at most", status, after.Round(time.Millisecond),
		longest.Round(time.Millisecond))
	for _, w := range last.Wrong {
		if wrong[w.Part] == "" {
			r.t.Errorf("it says that %s is wrong: %s", w.Part, w.Reason)
		}
	}
}

// impatient serves with readers that count as stalled at once. A change of the configuration comes before.
func (r *rig) impatient(change func(*Config)) {
	r.t.Helper()
	cfg := r.config()
	cfg.Listen, cfg.OpenAIWindow, cfg.LogLevel = "127.0.0.1:0", "128000", "info"
	if change != nil {
		change(cfg)
	}
	cmd := &serveCmd{DevEnv: true, StalledAfter: 200 * time.Millisecond}
	r.ready(r.runs(func(ctx context.Context, s streams) error { return cmd.Run(ctx, cfg, s) }))
}

// locks keeps locks in the database until they are released.
func (r *rig) locks(statements ...string) (release func()) {
	r.t.Helper()
	conn, err := pgx.Connect(r.t.Context(), r.dsn)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx := context.WithoutCancel(r.t.Context())
	r.t.Cleanup(func() { _ = conn.Close(ctx) }) // it may be released
	for _, sql := range append([]string{"BEGIN"}, statements...) {
		if _, err := conn.Exec(ctx, sql); err != nil {
			r.t.Fatal(err)
		}
	}
	return func() {
		if _, err := conn.Exec(ctx, "ROLLBACK"); err != nil {
			r.t.Error(err)
		}
	}
}

// stopsRights has an event come that rights cannot read, in a stream of the log's own org.
func (r *rig) stopsRights(n *nodeRig) {
	n.put("user-"+r.firstOrg(n)+"_"+unfoundedOrg, strangeEvents[0])
}

const (
	rowOfViews = "SELECT FROM prelude.checkpoints WHERE reader = 'views' FOR UPDATE"
	allRows    = "LOCK TABLE prelude.checkpoints IN ACCESS EXCLUSIVE MODE"
)

// TestReadyz says what is wrong with each part and each reader, in time, and no more than that; and when it is over.
func TestReadyz(t *testing.T) {
	t.Parallel()
	type harm func(t *testing.T, r *rig) (undo func())
	onNode := func(do func(r *rig, n *nodeRig) (undo func())) harm {
		return func(t *testing.T, r *rig) func() {
			n := newNodeRig(t)
			r.impatient(func(c *Config) { c.EventStore = n.address })
			t.Cleanup(r.stop) // before its store
			return do(r, n)
		}
	}
	for name, c := range map[string]struct {
		harm           harm
		status         string
		wrong, readers map[string]string
	}{
		"a reader has stopped": {onNode(func(r *rig, n *nodeRig) func() { r.stopsRights(n); return nil }),
			"degraded", map[string]string{"readers": "the reader rights stands still: "},
			map[string]string{"rights": "stopped", "views": "following", "out": "following"}},
		"a reader stands still": {func(_ *testing.T, r *rig) func() {
			r.impatient(nil)
			undo := r.locks(rowOfViews)
			r.make("unseen").want(201)
			return undo
		}, "degraded", map[string]string{"readers": "the reader views stands still: it has applied nothing for a while"},
			map[string]string{"views": "stalled"}},
		"two readers stand still": {onNode(func(r *rig, n *nodeRig) func() {
			r.locks(rowOfViews)
			r.stopsRights(n)
			return nil
		}), "degraded", map[string]string{"readers": "; the reader views stands still: "},
			map[string]string{"rights": "stopped", "views": "stalled"}},
		"the checkpoints are locked": {func(_ *testing.T, r *rig) func() {
			r.impatient(nil)
			return r.locks(allRows)
		}, "degraded", map[string]string{"readers": "how the readers are is not known"}, map[string]string{}},
		"the right to the checkpoints is lost": {func(_ *testing.T, r *rig) func() {
			r.impatient(nil)
			r.sql("REVOKE SELECT ON prelude.checkpoints FROM prelude_proj")
			return func() { r.sql("GRANT SELECT ON prelude.checkpoints TO prelude_proj") }
		}, "degraded", map[string]string{"readers": "how the readers are is not known"}, map[string]string{}},
		"the database hangs": {func(t *testing.T, r *rig) func() {
			r.dsn = "" // the one in the data folder, which is nobody else's
			r.impatient(nil)
			return freeze(t, filepath.Join(r.data, "postgres", "data", "postmaster.pid"))
		}, "not_ready", map[string]string{"database": "the database does not answer",
			"readers": "how the readers are is not known"}, map[string]string{}},
		"the store hangs": {func(t *testing.T, r *rig) func() {
			way := storetest.NewProxy(t, "127.0.0.1:0", externalNode(t, shapeNode(esnode.Config{})).Addr())
			r.impatient(func(c *Config) { c.EventStore = plainly(way.Path) })
			t.Cleanup(r.stop)
			way.Hold(storetest.Both)
			t.Cleanup(way.Release)
			return way.Release
		}, "not_ready", map[string]string{"event_store": "the event store does not answer"},
			map[string]string{"rights": "following", "views": "following", "out": "following"}},
		"OpenSearch is away": {func(t *testing.T, r *rig) func() {
			g := newGate(t)
			name := prefix(t, g.url)
			r.impatient(func(c *Config) { c.OpenSearchURL, c.OpenSearchPrefix = g.url, name })
			g.open.Store(false)
			r.preset("unsearched")
			return func() { g.open.Store(true) }
		}, "degraded", map[string]string{"search": "OpenSearch does not answer", "readers": "the reader index stands still: "},
			map[string]string{"views": "following", "index": "stopped"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &rig{t: t, data: t.TempDir(), dsn: pgtest.Database(t)}
			undo := c.harm(t, r)
			r.says(c.status, c.wrong, c.readers)
			if undo == nil {
				return
			}
			undo()
			r.says("ready", nil, map[string]string{"rights": "following", "views": "following", "out": "following"})
		})
	}
}

// freeze stops a Postgres by its pid file, with all its processes, as a machine that hangs does, until it is thawed.
func freeze(t *testing.T, file string) (thaw func()) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	all := []string{first}
	signal := func(s syscall.Signal) {
		for _, text := range all {
			pid, err := strconv.Atoi(text)
			if err != nil {
				t.Fatal(err)
			}
			_ = syscall.Kill(pid, s) // one that has ended meanwhile does not answer either
		}
	}
	signal(syscall.SIGSTOP) // first, so that it starts no more
	children, err := os.ReadFile(fmt.Sprintf("/proc/%s/task/%[1]s/children", first))
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, strings.Fields(string(children))...)
	signal(syscall.SIGSTOP)
	thaw = func() { signal(syscall.SIGCONT) }
	t.Cleanup(thaw)
	return thaw
}

// TestReadyz_on_a_replica: a node that only reads is told as one that follows.
func TestReadyz_on_a_replica(t *testing.T) {
	t.Parallel()
	for options, role := range map[string]string{"nodePreference=readOnlyReplica": "follower", "nodePreference=leader": "leader"} {
		cluster := storetest.NewCluster(t, externalNode(t, shapeNode(esnode.Config{})).Addr(), 2)
		cluster.Replica(1)
		r := start(t, "--eventstore", cluster.Address(options))
		t.Cleanup(r.stop)
		soon(t, "a node of the role is used", func() bool { return r.readyz().EventStore.State == role })
	}
}

// TestStanding: a reader is stalled once it has stood still for ten seconds while there was something for it.
func TestStanding(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	fed := readmodels.Projection{Reader: "views", Owner: "one", Position: 7}
	moved, alone, broken := fed, fed, fed
	moved.Position, alone.Owner, broken.Error = 8, "", "why"
	var s standing
	for i, c := range []struct {
		after  int // in seconds, from the beginning
		row    readmodels.Projection
		behind int // below 0: nobody knows
		state  string
		since  int
	}{
		{0, fed, 0, "following", 0},
		{20, fed, 3, "following", 0},
		{29, fed, 3, "following", 0},
		{31, fed, 5, "stalled", 20},
		{33, fed, -1, "stalled", 20},
		{35, fed, 5, "stalled", 20},
		{36, moved, 4, "following", 0},
		{45, moved, 4, "following", 0},
		{47, moved, 4, "stalled", 36},
		{48, moved, 0, "following", 0},
		{49, alone, 0, "waiting", 49},
		{80, alone, 0, "waiting", 49},
		{81, broken, 1, "stopped", 81},
		{99, broken, 1, "stopped", 81},
		{100, fed, 1, "stalled", 81},
	} {
		var got api.ReaderHealth
		got, s = s.judge(c.row, max(c.behind, 0), c.behind >= 0, began.Add(time.Duration(c.after)*time.Second), stalledAfter)
		if got.State != c.state || got.Behind != max(c.behind, 0) {
			t.Errorf("%d: after %d s it is %s, want %s", i, c.after, got.State, c.state)
		}
		want := api.NewTime(began.Add(time.Duration(c.since) * time.Second))
		if (got.Since == nil) != (c.since == 0) || got.Since != nil && *got.Since != want {
			t.Errorf("%d: after %d s it is so since %v, want %v", i, c.after, got.Since, want)
		}
	}
}
