package main

import (
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

func TestGauge(t *testing.T) {
	t.Parallel()
	out := &buffer{}
	g := newGauge(streams{err: out, pause: gaugePause}, "copy")
	now := g.began
	g.now = func() time.Time { return now }
	g.tell("events", 1, 100)
	now = now.Add(10 * time.Second)
	g.tell("events", 25, 100)
	g.tell("events", 26, 100)
	g.tell("digest", 0, 0)
	now = now.Add(10 * time.Second)
	g.tell("digest", 1, 100)
	g.tell("digest", 0, 0)
	now = now.Add(4 * time.Second)
	g.tell("digest", 50, 100)
	now = now.Add(gaugePause)
	g.tell("index", 0, 0)
	if got := out.String(); got != "copy, events: 25 %, 30s left\n"+
		"copy, digest: 1 %, 16m30s left\n"+
		"copy, digest: 50 %, 14s left\n"+
		"copy, index: it does not tell how long this takes\n" {
		t.Errorf("it says %q", got)
	}
}

// tells runs a command that is to say at once how far each of its passes is, and expects a line of each.
func (r *rig) tells(passes []string, args ...string) {
	r.t.Helper()
	out, err := r.every(0, args...)
	if err != nil {
		r.t.Fatalf("%v: %v\n%s", args, err, out)
	}
	r.saysOf(out, args[len(args)-1], passes)
}

func (r *rig) saysOf(out, command string, passes []string) {
	r.t.Helper()
	for _, pass := range passes {
		line := regexp.MustCompile(`(?m)^` + pass + `: (\d+ %, \S+ left|it does not tell how long this takes)$`)
		if !line.MatchString(out) {
			r.t.Errorf("%s says nothing of %q:\n%s", command, pass, out)
		}
	}
}

// TestProgress_of_the_log: whoever waits for a command on the log is told of each pass over it.
func TestProgress_of_the_log(t *testing.T) {
	t.Parallel()
	n := newNodeRig(t)
	if _, err := identify(t.Context(), n.store); err != nil {
		t.Fatal(err)
	}
	n.fill("preset-00000000000000000000000000_00000000000000000000000001", 30)
	file := filepath.Join(t.TempDir(), "backup")
	n.tells([]string{"backup, streams", "backup, records", "backup, the index", "backup, the copy's pages",
		"backup, the copy's records", "backup, the copy's revisions", "backup, the copy's structure"}, "log", "backup", file)
	to := newNodeRig(t)
	copies := []string{"log", "copy", "--from", n.address, "--to", to.address}
	n.tells([]string{"copy, events", "copy, the target's digest"}, copies...)
	n.append("preset-00000000000000000000000000_00000000000000000000000001", 29, "tested", `{}`)
	n.append("$$preset-00000000000000000000000000_00000000000000000000000001", -1, "$metadata", `{"$maxCount":3}`)
	n.tells([]string{"copy, what is there", "copy, what is there, beside the source", "copy, events", "copy, metadata",
		"copy, the target's digest"}, copies...)
	n.stop()
	n.tells([]string{"compact, counting", "compact, streams", "compact, records", "compact, the index",
		"compact, the copy's records"}, "log", "compact")
	n.data = t.TempDir()
	n.tells([]string{"restore, streams", "restore, records", "restore, the index"}, "log", "restore", file)
	// Its events are none of the registry's, so it ends with problems; it says how far it is all the same.
	out, err := n.every(0, "log", "verify")
	refused(t, err, "has problems")
	n.saysOf(out, "verify", []string{"verify, pages", "verify, records", "verify, revisions", "verify, structure"})
}

// TestProgress_of_the_vault: the same of what goes through the log for the vault's sake.
func TestProgress_of_the_vault(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.do("POST", "/v1/sessions/"+r.session()+"/messages", doc{"content": "Keep this"}).want(201)
	file := filepath.Join(t.TempDir(), "vault")
	r.tells(nil, "vault", "backup", file)
	r.stop()
	r.tells([]string{"vault, who was erased"}, "vault", "restore", file)
	r.tells([]string{"vault, keys that the log names"}, "vault", "give-up")
}
