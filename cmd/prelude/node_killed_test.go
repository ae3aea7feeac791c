package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"prelude/internal/pgserver/pgtest"
)

// alone is prelude node in a process of its own.
func alone(t *testing.T, data, listen string) (cmd *exec.Cmd, address string) {
	t.Helper()
	cmd = exec.Command(os.Args[0], "node", "--data", data, "--listen", listen)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return cmd, strings.TrimSpace(line)
}

// TestNodeKilled kills the node under a server, again and again: /readyz says so, commands are refused and may be
// repeated, questions are answered, and all goes on by itself when the node is back. What was acknowledged is there.
func TestNodeKilled(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	node, address := alone(t, data, "127.0.0.1:0")
	kill := func() {
		if err := node.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = node.Wait() // it was killed
	}
	t.Cleanup(func() { kill() })
	r := &rig{t: t, data: t.TempDir(), dsn: pgtest.Database(t)}
	r.serve("--eventstore", "esdb://"+address+"?tls=false")
	id := r.preset("tone")
	var made []string
	rounds := 2
	if long() {
		rounds = 20
	}
	for round := range rounds {
		c := r.steadily(t, fmt.Sprintf("made-%d", round))
		kill()
		unready := soon(t, "/readyz says that the store is away", func() bool { return !r.isReady() })
		r.do("GET", "/v1/presets/"+id, nil).want(200)
		node, _ = alone(t, data, address)
		ready := soon(t, "/readyz says that all is well", r.isReady)
		again := c.goesOn()
		made = append(made, c.end()...)
		t.Logf("round %d: unready after %v, ready %v after the node was back, a command done %v later; %d done, %d refused",
			round, unready.Round(time.Millisecond), ready.Round(time.Millisecond), again.Round(time.Millisecond),
			c.acknowledged.Load(), c.refused.Load())
	}
	r.onceEach(t, made)
}

func (r *rig) isReady() bool { return r.do("GET", "/readyz", nil).Status == 200 }

// steady is a client that makes one preset after the other, each with a key, and repeats each until it is made.
type steady struct {
	t                     *testing.T
	acknowledged, refused atomic.Int64
	made                  []string
	position              string // of the last
	stop, done            chan struct{}
}

// steadily starts such a client, and waits until it works.
func (r *rig) steadily(t *testing.T, name string) *steady {
	t.Helper()
	c := &steady{t: t, stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(c.done)
		for n := 0; ; n++ {
			select {
			case <-c.stop:
				return
			default:
			}
			slug := fmt.Sprintf("%s-%d", name, n)
			a := r.make(slug)
			for ; a.Status != 201; a = r.make(slug) {
				if a.Status != 503 || a.Header.Get("Retry-After") == "" {
					t.Errorf("a command was answered with %d: %s", a.Status, a.Body)
					return
				}
				c.refused.Add(1)
			}
			c.made, c.position = append(c.made, slug), a.Header.Get("Prelude-Position")
			c.acknowledged.Add(1)
		}
	}()
	soon(t, "the client works", func() bool { return c.acknowledged.Load() > 20 })
	return c
}

// goesOn waits until one more is made.
func (c *steady) goesOn() time.Duration {
	c.t.Helper()
	before := c.acknowledged.Load()
	return soon(c.t, "commands are taken", func() bool { return c.acknowledged.Load() > before })
}

// end stops it and gives what it has made.
func (c *steady) end() []string {
	close(c.stop)
	<-c.done
	return c.made
}

// onceEach expects each preset to have been made, once.
func (r *rig) onceEach(t *testing.T, made []string) {
	t.Helper()
	lost, twice := 0, 0
	for _, slug := range made {
		switch n := len(r.do("GET", "/v1/presets/"+slug+"/history", nil).want(200).list("data")); {
		case n == 0:
			lost++
		case n > 1:
			twice++
		}
	}
	t.Logf("%d commands acknowledged: lost %d, twice %d", len(made), lost, twice)
	if lost+twice > 0 {
		t.Errorf("lost %d, twice %d", lost, twice)
	}
}

// make creates a preset; the same slug is the same command.
func (r *rig) make(slug string) *answer {
	r.t.Helper()
	return r.do("POST", "/v1/presets", draft(slug, nil), "Idempotency-Key: "+slug)
}
