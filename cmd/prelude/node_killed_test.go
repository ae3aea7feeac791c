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
		var acknowledged, refused atomic.Int64
		stop, done := make(chan struct{}), make(chan struct{})
		go func() { // a client that goes on, each command with a key, until it is done
			defer close(done)
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				slug := fmt.Sprintf("made-%d-%d", round, n)
				for a := r.make(slug); a.Status != 201; a = r.make(slug) {
					if a.Status != 503 || a.Header.Get("Retry-After") == "" {
						t.Errorf("a command was answered with %d: %s", a.Status, a.Body)
						return
					}
					refused.Add(1)
				}
				made = append(made, slug)
				acknowledged.Add(1)
			}
		}()
		soon(t, "the client works", func() bool { return acknowledged.Load() > 20 })
		kill()
		unready := soon(t, "/readyz says that the store is away", func() bool { return r.do("GET", "/readyz", nil).Status == 503 })
		r.do("GET", "/v1/presets/"+id, nil).want(200)
		node, _ = alone(t, data, address)
		ready := soon(t, "/readyz says that all is well", func() bool { return r.do("GET", "/readyz", nil).Status == 200 })
		before := acknowledged.Load()
		again := soon(t, "commands are taken", func() bool { return acknowledged.Load() > before })
		close(stop)
		<-done
		t.Logf("round %d: unready after %v, ready %v after the node was back, a command done %v later; %d done, %d refused",
			round, unready.Round(time.Millisecond), ready.Round(time.Millisecond), again.Round(time.Millisecond),
			acknowledged.Load(), refused.Load())
	}
	lost, twice := 0, 0
	for _, slug := range made {
		switch n := len(r.do("GET", "/v1/presets/"+slug+"/history", nil).want(200).list("data")); {
		case n == 0:
			lost++
		case n > 1:
			twice++
		}
	}
	t.Logf("%d rounds, %d commands acknowledged: lost %d, twice %d", rounds, len(made), lost, twice)
	if lost+twice > 0 {
		t.Errorf("lost %d, twice %d", lost, twice)
	}
}

// make creates a preset; the same slug is the same command.
func (r *rig) make(slug string) *answer {
	r.t.Helper()
	return r.do("POST", "/v1/presets", draft(slug, nil), "Idempotency-Key: "+slug)
}
