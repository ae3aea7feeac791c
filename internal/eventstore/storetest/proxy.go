// Package storetest misbehaves between the guard and an event store, for tests that must see what
// happens then.
package storetest

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Proxy stands between a client and a store, on unix sockets or ports, and does what it is told to.
type Proxy struct {
	Path string // where clients come in: a socket's path, or host:port

	t  testing.TB
	to string

	mu       sync.Mutex
	listener net.Listener // nil: away
	pairs    map[*pair]bool
	held     [2]chan struct{} // by way: nil while it passes; closed with Release
	all      sync.WaitGroup

	delay    atomic.Int64 // of what the store says, in nanoseconds
	rate     atomic.Int64 // bytes a second to the store; 0: as many as come
	upload   atomic.Int64 // bytes from the client until the connection is cut; below 0: never
	download atomic.Int64 // bytes to the client until then
	cuts     atomic.Int64
	told     atomic.Int64 // bytes of the store's that came to a client
}

// way is a direction.
type way int

const (
	up   way = iota // to the store
	down            // to the client
)

// Silence is what does not get through while the way is silent.
type Silence []way

// What may be silent. In Answers the store hears and does what it is asked, and nobody hears of it.
var (
	Answers = Silence{down}
	Both    = Silence{up, down}
)

// pair is a connection and its continuation.
type pair struct {
	client, server net.Conn
	lost           atomic.Bool // what the store says is swallowed for good
	once           sync.Once
	closed         chan struct{}
}

func (p *pair) close() {
	p.once.Do(func() {
		close(p.closed)
		_ = p.client.Close()
		_ = p.server.Close()
	})
}

// NewProxy listens on path, a socket's or host:port, and passes on to another, until the test ends. Port 0 picks one.
func NewProxy(t testing.TB, path, to string) *Proxy {
	t.Helper()
	p := &Proxy{t: t, Path: path, to: to, pairs: map[*pair]bool{}}
	p.upload.Store(-1)
	p.download.Store(-1)
	p.Up()
	if p.listener != nil {
		p.Path = p.listener.Addr().String()
	}
	t.Cleanup(func() {
		p.Down()
		p.all.Wait()
	})
	return p
}

// Up listens again.
func (p *Proxy) Up() {
	p.t.Helper()
	l, err := net.Listen(network(p.Path), p.Path)
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
			p.serve(l, c)
		}
	})
}

// Down goes away: it closes the listener and all connections.
func (p *Proxy) Down() {
	p.mu.Lock()
	if p.listener != nil {
		_ = p.listener.Close()
	}
	p.listener = nil
	p.mu.Unlock()
	if network(p.Path) == "unix" {
		_ = os.Remove(p.Path)
	}
	p.Cut()
}

func network(address string) string {
	if filepath.IsAbs(address) {
		return "unix"
	}
	return "tcp"
}

// Cut closes all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for pair := range p.pairs {
		pair.close()
	}
}

// Hold makes the way silent, on the connections that there are and on those that come, until Release.
// What is said meanwhile waits, and is heard in its order then, even if who said it has hung up: TCP
// repeats what the network drops. So an append arrives that was given up and repeated elsewhere long
// ago, and answers come that nobody waits for any more. That a connection ends waits too.
func (p *Proxy) Hold(s Silence) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range s {
		if p.held[w] == nil {
			p.held[w] = make(chan struct{})
		}
	}
}

// Release ends the silence.
func (p *Proxy) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for w, held := range p.held {
		if held != nil {
			close(held)
		}
		p.held[w] = nil
	}
}

// Lose swallows for good what the store says on the connections that there are, their end too, and leaves them open:
// so does a router that has forgotten them. New ones pass.
func (p *Proxy) Lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for pair := range p.pairs {
		pair.lost.Store(true)
	}
}

// Delay holds back all that the store says for a time.
func (p *Proxy) Delay(d time.Duration) { p.delay.Store(int64(d)) }

// Slow lets at most so many bytes a second to the store on each connection; 0 lets all.
func (p *Proxy) Slow(bytes int64) { p.rate.Store(bytes) }

// CutUpload cuts the connection on which the nth byte from now goes to the store, after that byte.
// Below 0: none is cut.
func (p *Proxy) CutUpload(n int64) { p.upload.Store(n) }

// CutDownload cuts the connection on which the nth byte from now comes from the store, after that
// byte. What the client sent before has reached the store. Below 0: none is cut.
func (p *Proxy) CutDownload(n int64) { p.download.Store(n) }

// Cuts is how many connections were cut at a byte.
func (p *Proxy) Cuts() int64 { return p.cuts.Load() }

// Connections is how many there are.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.pairs)
}

// serve passes on what a listener has accepted, unless the way has gone meanwhile.
func (p *Proxy) serve(l net.Listener, c net.Conn) {
	s, err := net.Dial(network(p.to), p.to)
	if err != nil {
		_ = c.Close()
		return
	}
	one := &pair{client: c, server: s, closed: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != l {
		one.close()
		return
	}
	p.pairs[one] = true
	var both sync.WaitGroup
	both.Go(func() { p.copy(one, up, s, c, &p.upload); one.close() })
	both.Go(func() { p.copy(one, down, c, s, &p.download); one.close() })
	p.all.Go(func() {
		both.Wait()
		p.mu.Lock()
		delete(p.pairs, one)
		p.mu.Unlock()
	})
}

// copy copies until the budget, if there is one, is spent: then it stops in the middle. Only what
// the store says can be lost or delayed.
func (p *Proxy) copy(one *pair, w way, to io.Writer, from io.Reader, budget *atomic.Int64) {
	b := make([]byte, 8<<10)
	for {
		n, err := from.Read(b)
		if !p.passes(one, w) {
			return
		}
		if err != nil {
			if w == down {
				p.mute(one)
			}
			return
		}
		if w == down && one.lost.Load() {
			continue
		}
		p.pause(w, n)
		if left := budget.Load(); left >= 0 && budget.Add(-int64(n)) < 0 {
			budget.Store(-1)
			p.cuts.Add(1)
			_, _ = to.Write(b[:min(left, int64(n))])
			return
		}
		if _, err := to.Write(b[:n]); err != nil {
			if w == up {
				p.mute(one)
			}
			return
		}
		if w == down {
			p.told.Add(int64(n))
		}
	}
}

// mute waits while the client is not to hear that the store has ended a connection.
func (p *Proxy) mute(one *pair) {
	if p.passes(one, down) && one.lost.Load() {
		<-one.closed
	}
}

// pause makes n bytes late.
func (p *Proxy) pause(w way, n int) {
	d := time.Duration(p.delay.Load())
	if w == up {
		d = 0
		if rate := p.rate.Load(); rate > 0 {
			d = time.Duration(n) * time.Second / time.Duration(rate)
		}
	}
	if d > 0 {
		<-time.After(d)
	}
}

// passes waits while the way is silent; false says that the connection was cut.
func (p *Proxy) passes(one *pair, w way) bool {
	for {
		p.mu.Lock()
		held := p.held[w]
		p.mu.Unlock()
		if held == nil {
			return true
		}
		select {
		case <-held:
		case <-one.closed:
			return false
		}
	}
}
