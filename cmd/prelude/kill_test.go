package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"prelude/internal/esnode"
	"prelude/internal/esnode/esnodetest"
	"prelude/internal/pgserver/pgtest"
)

// asProgram makes the test binary the program itself, so that tests can kill it.
const asProgram = "PRELUDE_TEST_AS_PROGRAM"

// moodSeed is of the moods of the nodes; a run that fails tells it.
var moodSeed = esnodetest.Seed()

func TestMain(m *testing.M) {
	if os.Getenv("PRELUDE_BENCH") == "" { // what is measured is the program as it is
		shapeNode = func(c esnode.Config) esnode.Config { return esnodetest.Shape(c, moodSeed) }
	}
	switch os.Getenv(asProgram) {
	case "":
	case asBaseline:
		if err := baseline(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	default:
		main()
		return
	}
	code := m.Run()
	if code != 0 {
		fmt.Fprintf(os.Stderr, "the nodes' moods had PRELUDE_TEST_SEED=%d\n", moodSeed)
	}
	os.Exit(code)
}

// process is a Prelude in a process of its own.
type process struct {
	*rig
	cmd *exec.Cmd
}

// launch starts a process on a rig's data and waits until it is ready.
func launch(r *rig, args ...string) *process {
	r.t.Helper()
	p := &process{rig: r, cmd: exec.Command(os.Args[0], append([]string{"serve", "--data", r.data,
		"--listen", "127.0.0.1:0", "--dev-env"}, append(r.storeFlags(args...), args...)...)...)}
	p.cmd.Env = append(os.Environ(), asProgram+"=1", "DATABASE_URL="+r.dsn)
	out := &buffer{}
	r.logs = &buffer{}
	p.cmd.Stdout, p.cmd.Stderr = out, r.logs
	if err := p.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_ = p.cmd.Wait() // the state says it too, also where there is no error
		ended <- fmt.Errorf("the process has ended: %s", p.cmd.ProcessState)
	}()
	m, err := out.until(answersAt, ended)
	if err != nil {
		r.t.Fatalf("%v\n%s", err, r.logs)
	}
	p.done = ended
	r.url = m[1]
	if m := keyShown.FindStringSubmatch(out.String()); m != nil {
		r.key = m[1]
	}
	return p
}

// end sends a signal and waits for the end.
func (p *process) end(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
	p.t.Log(<-p.done)
}

// TestKill kills the program in the middle of a streamed reply, again and again: every acknowledged message is
// there, the reply is closed as lost at the start, and the session takes the next message at once.
func TestKill(t *testing.T) {
	t.Parallel()
	rounds := 20
	if testing.Short() {
		rounds = 2
	}
	r := &rig{t: t, data: t.TempDir(), dsn: pgtest.Database(t)}
	p := launch(r)
	t.Cleanup(func() { p.end(syscall.SIGKILL) })
	session := r.session()
	for round := range rounds {
		reply := r.killMidway(p, session, round)
		p = launch(r)
		r.afterKill(session, reply, round)
	}
}

// killMidway posts a message whose reply takes long, and kills the program when some of it has come.
func (r *rig) killMidway(p *process, session string, round int) (reply string) {
	r.t.Helper()
	resp := r.open("POST", "/v1/sessions/"+session+"/messages",
		doc{"content": fmt.Sprintf("Round %d demo:chunks=400 demo:delay=20ms", round)}, "Accept: text/event-stream")
	defer func() { _ = resp.Body.Close() }()
	lines := scanner(resp.Body)
	for deltas := 0; deltas <= round%5 && lines.Scan(); {
		if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
			reply, _, _ = strings.Cut(id, ":")
		}
		if lines.Text() == "event: reply.delta" {
			deltas++
		}
	}
	p.end(syscall.SIGKILL)
	return reply
}

func (r *rig) afterKill(session, reply string, round int) {
	r.t.Helper()
	lost := r.do("GET", "/v1/replies/"+reply, nil).want(200)
	if lost.str("status") != "failed" || lost.str("error", "code") != "lost" {
		r.t.Fatalf("round %d: the reply is %v", round, lost)
	}
	next := r.do("POST", "/v1/sessions/"+session+"/messages", doc{"content": "And now?"}).want(201)
	if next.str("reply", "status") != "completed" {
		r.t.Fatalf("round %d: the next reply is %v", round, next)
	}
	all := r.do("GET", "/v1/sessions/"+session+"/messages?limit=100", nil).want(200).list("data")
	if len(all) != 4*(round+1) {
		r.t.Fatalf("round %d: %d messages and replies, want %d", round, len(all), 4*(round+1))
	}
	for i := range round + 1 {
		if got := all[4*i].str("content"); !strings.HasPrefix(got, fmt.Sprintf("Round %d ", i)) {
			r.t.Fatalf("round %d: message %d is %q", round, i, got)
		}
	}
}

// TestTerminate sends SIGTERM while a reply is under way: it is closed, and the program ends cleanly within ten
// seconds.
func TestTerminate(t *testing.T) {
	t.Parallel()
	r := &rig{t: t, data: t.TempDir(), dsn: pgtest.Database(t)}
	p := launch(r)
	session := r.session()
	resp := r.open("POST", "/v1/sessions/"+session+"/messages",
		doc{"content": "demo:chunks=10000 demo:delay=20ms"}, "Accept: text/event-stream")
	defer func() { _ = resp.Body.Close() }()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	got := events(t, scanner(resp.Body))
	if last := got[len(got)-1]; last.Name != "reply.failed" || !strings.Contains(last.Data, `"interrupted"`) {
		t.Fatalf("the stream ended with %v", last)
	}
	if err := <-p.done; p.cmd.ProcessState.ExitCode() != 0 {
		t.Fatalf("%v\n%s", err, r.logs)
	}
}

// TestTerminateSlowly sends SIGTERM while a reply is under way and the Postgres that Prelude runs does nothing any
// more: the program ends cleanly within ten seconds all the same, and the next start finds everything.
func TestTerminateSlowly(t *testing.T) {
	t.Parallel()
	r := &rig{t: t, data: t.TempDir()}
	p := launch(r)
	session := r.session()
	resp := r.open("POST", "/v1/sessions/"+session+"/messages",
		doc{"content": "demo:chunks=10000 demo:delay=20ms"}, "Accept: text/event-stream")
	defer func() { _ = resp.Body.Close() }()
	text, err := os.ReadFile(filepath.Join(r.data, "postgres", "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	postmaster, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(postmaster, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	p.end(syscall.SIGTERM)
	if took := time.Since(began); took > 10*time.Second || p.cmd.ProcessState.ExitCode() != 0 {
		t.Fatalf("it took %s\n%s", took, r.logs)
	}
	p = launch(r)
	t.Cleanup(func() { p.end(syscall.SIGTERM) })
	all := r.do("GET", "/v1/sessions/"+session+"/messages", nil).want(200).list("data")
	if len(all) != 2 || all[1].str("error", "code") != "interrupted" {
		t.Fatalf("there are %v", all)
	}
}
