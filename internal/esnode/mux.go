package esnode

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// mux shares a listener between gRPC and HTTP/1.1, by how a connection begins: clients ask some things in
// the one and some in the other, on one port.
type mux struct {
	net.Listener
	secure     *tls.Config // nil: in the clear
	grpc, http *muxListener

	closed chan struct{}
	once   sync.Once
	err    error

	mu      sync.Mutex
	pending map[net.Conn]struct{} // what has not said yet which it is; nil when closed
	sorting sync.WaitGroup
}

// acceptPause is how long nothing is accepted after an error of the listener.
const acceptPause = 100 * time.Millisecond

// sortTimeout is how long a connection may take to say which protocol it speaks.
const sortTimeout = 20 * time.Second

func newMux(l net.Listener, secure *tls.Config) *mux {
	m := &mux{
		Listener: l, secure: secure, closed: make(chan struct{}), pending: map[net.Conn]struct{}{},
	}
	m.grpc = &muxListener{mux: m, conns: make(chan net.Conn)}
	m.http = &muxListener{mux: m, conns: make(chan net.Conn)}
	return m
}

// run accepts connections until the listener is closed.
func (m *mux) run() {
	for {
		c, err := m.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // too many open files, say: it passes
			select {
			case <-time.After(acceptPause):
				continue
			case <-m.closed:
				return
			}
		}
		if m.secure != nil {
			c = tls.Server(c, m.secure)
		}
		if m.take(c) {
			go m.sort(c)
		}
	}
}

// take notes a connection that is still to be sorted.
func (m *mux) take(c net.Conn) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.pending == nil {
		_ = c.Close() // nobody has used it
		return false
	}
	m.pending[c] = struct{}{}
	m.sorting.Add(1)
	return true
}

// sort hands a connection to whom it is for. HTTP/2 begins with "PRI", which is no method of HTTP/1.1.
func (m *mux) sort(c net.Conn) {
	defer m.sorting.Done()
	first := make([]byte, len("PRI "))
	err := c.SetDeadline(time.Now().Add(sortTimeout))
	if err == nil {
		_, err = io.ReadFull(c, first)
	}
	if err == nil {
		err = c.SetDeadline(time.Time{})
	}
	m.mu.Lock()
	delete(m.pending, c)
	m.mu.Unlock()
	to := m.http
	if string(first) == "PRI " {
		to = m.grpc
	}
	if err == nil {
		select {
		case to.conns <- &muxConn{Conn: c, first: first}:
			return
		case <-m.closed:
		}
	}
	_ = c.Close() // nobody was promised anything
}

// Close closes the listener for both.
func (m *mux) Close() error {
	m.once.Do(func() {
		close(m.closed)
		m.err = m.Listener.Close()
		m.mu.Lock()
		for c := range m.pending {
			_ = c.Close() // whoever is in the middle of it is told by the next call
		}
		m.pending = nil
		m.mu.Unlock()
		m.sorting.Wait()
	})
	return m.err
}

// muxListener is the listener of one protocol.
type muxListener struct {
	*mux
	conns chan net.Conn
}

// Accept waits for a connection of the protocol.
func (l *muxListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// muxConn is a connection of which the first bytes were read.
type muxConn struct {
	net.Conn
	first []byte
}

// Read gives those first.
func (c *muxConn) Read(b []byte) (int, error) {
	if len(c.first) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.first)
	c.first = c.first[n:]
	return n, nil
}
