package eventstore_test

import (
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
)

// proxy stands between the guard and the node and misbehaves when told to.
type proxy struct {
	t        *testing.T
	path, to string

	mu       sync.Mutex
	listener net.Listener
	pairs    map[*pair]bool
	all      sync.WaitGroup

	upload   atomic.Int64 // bytes from the client until the connection is cut; below 0: never
	download atomic.Int64 // bytes to the client until then
}

// pair is a connection and its continuation.
type pair struct {
	client, server net.Conn
	held           atomic.Bool // what the node says is swallowed
}

func (p *pair) close() {
	_ = p.client.Close()
	_ = p.server.Close()
}

func newProxy(t *testing.T, path, to string) *proxy {
	t.Helper()
	p := &proxy{t: t, path: path, to: to, pairs: map[*pair]bool{}}
	p.upload.Store(-1)
	p.download.Store(-1)
	p.up()
	t.Cleanup(func() {
		p.down()
		p.all.Wait()
	})
	return p
}

func (p *proxy) up() {
	p.t.Helper()
	l, err := net.Listen("unix", p.path)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	p.listener = l
	p.mu.Unlock()
	p.all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.serve(c)
		}
	})
}

// down closes the listener and all connections.
func (p *proxy) down() {
	p.mu.Lock()
	_ = p.listener.Close()
	p.mu.Unlock()
	_ = os.Remove(p.path)
	p.cut()
}

// cut closes all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for pair := range p.pairs {
		pair.close()
	}
}

// hold swallows what the node says on the connections that there are, and leaves them open.
func (p *proxy) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for pair := range p.pairs {
		pair.held.Store(true)
	}
}

func (p *proxy) serve(c net.Conn) {
	s, err := net.Dial("unix", p.to)
	if err != nil {
		_ = c.Close()
		return
	}
	one := &pair{client: c, server: s}
	p.mu.Lock()
	p.pairs[one] = true
	p.mu.Unlock()
	never := new(atomic.Bool)
	var both sync.WaitGroup
	both.Go(func() { copyUntil(s, c, &p.upload, never); one.close() })
	both.Go(func() { copyUntil(c, s, &p.download, &one.held); one.close() })
	p.all.Go(func() {
		both.Wait()
		p.mu.Lock()
		delete(p.pairs, one)
		p.mu.Unlock()
	})
}

// copyUntil copies until the budget, if there is one, is spent: then it stops in the middle.
func copyUntil(to, from net.Conn, budget *atomic.Int64, held *atomic.Bool) {
	b := make([]byte, 8<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		if held.Load() {
			continue
		}
		if left := budget.Load(); left >= 0 && budget.Add(-int64(n)) < 0 {
			budget.Store(-1)
			_, _ = to.Write(b[:min(left, int64(n))])
			return
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}
