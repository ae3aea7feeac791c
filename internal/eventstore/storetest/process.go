package storetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// nodeOf names the folder of a node's process to it.
const nodeOf = "STORETEST_NODE"

// Process is a node in a process of its own, which can be killed: this test's program again, which runs
// its TestNode alone. That test is what calls Serve.
type Process struct {
	dir string
	cmd *exec.Cmd
	in  io.Closer // the node's input: it ends when this test does, however that ends
}

// NewProcess starts a node in a folder. It is killed with the test's end.
func NewProcess(t testing.TB, dir string) *Process {
	t.Helper()
	p := &Process{dir: dir}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// Serve runs a node in the process that NewProcess has started: start starts it in a folder. Elsewhere it
// skips the test.
func Serve(t *testing.T, start func(dir string) (io.Closer, error)) {
	dir := os.Getenv(nodeOf)
	if dir == "" {
		t.Skip("it runs in a process of its own")
	}
	node, err := start(dir)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(ready)
	_, err = io.Copy(io.Discard, os.Stdin)
	if err = errors.Join(err, node.Close()); err != nil {
		t.Error(err)
	}
}

const ready = "the node is ready"

// Start starts the node, which must not run.
func (p *Process) Start() error {
	p.cmd = exec.CommandContext(context.Background(), os.Args[0], "-test.run=^TestNode$")
	p.cmd.Env = append(os.Environ(), nodeOf+"="+p.dir)
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return err
	}
	p.in = in
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		return err
	}
	said, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.TrimSpace(said) != ready {
		p.Kill()
		return fmt.Errorf("the node's process says %q: %w", said, errors.Join(errStart, err))
	}
	return nil
}

var errStart = errors.New("it did not start")

// Kill kills the node, as the kernel does: nothing in it is told.
func (p *Process) Kill() {
	if p.cmd.Process == nil {
		return // it never ran
	}
	_ = p.cmd.Process.Kill() // it may have ended, and has been waited for
	_ = p.cmd.Wait()
	_ = p.in.Close()
}

// Restart kills the node and starts it again.
func (p *Process) Restart() error {
	p.Kill()
	return p.Start()
}
