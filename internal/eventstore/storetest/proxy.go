// Package storetest misbehaves between the guard and an event store, for tests that must see what
// happens then.
package storetest

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Proxy stands between a client and a store on unix sockets, and does what it is told to.
type Proxy struct {
	Path string // where clients come in

	t  testing.TB
	to string

	mu       sync.Mutex
	listener net.Listener
	pairs    map[*pair]bool
	all      sync.WaitGroup

	delay    atomic.Int64 // of what the store says, in nanoseconds
	upload   atomic.Int64 // bytes from the client until the connection is cut; below 0: never
	download atomic.Int64 // bytes to the client until then
	cuts     atomic.Int64
}

// pair is a connection and its continuation.
type pair struct {
	client, server net.Conn
	held           atomic.Bool // what the store says is swallowed
}

func (p *pair) close() {
	_ = p.client.Close()
	_ = p.server.Close()
}

// NewProxy listens on path and passes on to the socket to, until the test ends.
func NewProxy(t testing.TB, path, to string) *Proxy {
	t.Helper()
	p := &Proxy{t: t, Path: path, to: to, pairs: map[*pair]bool{}}
	p.upload.Store(-1)
	p.download.Store(-1)
	p.Up()
	t.Cleanup(func() {
		p.Down()
		p.all.Wait()
	})
	return p
}

// Up listens again.
func (p *Proxy) Up() {
	p.t.Helper()
	l, err := net.Listen("unix", p.Path)
	if err != nil {
		p.t.Error(err)
		return
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

// Down goes away: it closes the listener and all connections.
func (p *Proxy) Down() {
	p.mu.Lock()
	_ = p.listener.Close()
	p.mu.Unlock()
	_ = os.Remove(p.Path)
	p.Cut()
}

// Cut closes all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for pair := range p.pairs {
		pair.close()
	}
}

// Hold swallows what the store says on the connections that there are, and leaves them open.
func (p *Proxy) Hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for pair := range p.pairs {
		pair.held.Store(true)
	}
}

// Delay holds back all that the store says for a time.
func (p *Proxy) Delay(d time.Duration) { p.delay.Store(int64(d)) }

// CutUpload cuts the connection on which the nth byte from now goes to the store, after that byte.
func (p *Proxy) CutUpload(n int64) { p.upload.Store(n) }

// CutDownload cuts the connection on which the nth byte from now comes from the store, after that
// byte. What the client sent before has reached the store.
func (p *Proxy) CutDownload(n int64) { p.download.Store(n) }

// Cuts is how many connections were cut at a byte.
func (p *Proxy) Cuts() int64 { return p.cuts.Load() }

// Connections is how many there are.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.pairs)
}

func (p *Proxy) serve(c net.Conn) {
	s, err := net.Dial("unix", p.to)
	if err != nil {
		_ = c.Close()
		return
	}
	one := &pair{client: c, server: s}
	p.mu.Lock()
	p.pairs[one] = true
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.copy(s, c, &p.upload, nil); one.close() })
	both.Go(func() { p.copy(c, s, &p.download, &one.held); one.close() })
	p.all.Go(func() {
		both.Wait()
		p.mu.Lock()
		delete(p.pairs, one)
		p.mu.Unlock()
	})
}

// copy copies until the budget, if there is one, is spent: then it stops in the middle. Only what
// the store says can be held or delayed.
func (p *Proxy) copy(to io.Writer, from io.Reader, budget *atomic.Int64, held *atomic.Bool) {
	b := make([]byte, 8<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		if held != nil {
			if held.Load() {
				continue
			}
			if d := p.delay.Load(); d > 0 {
				<-time.After(time.Duration(d))
			}
		}
		if left := budget.Load(); left >= 0 && budget.Add(-int64(n)) < 0 {
			budget.Store(-1)
			p.cuts.Add(1)
			_, _ = to.Write(b[:min(left, int64(n))])
			return
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}
