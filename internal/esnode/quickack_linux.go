package esnode

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// quickAcks makes a listener whose connections acknowledge at once what they have read. Linux else
// waits up to 40 ms for an answer to ride on, and a client that waits for the acknowledgement
// before it sends on takes 44 ms for a read of 1 ms.
func quickAcks(l net.Listener) net.Listener { return quickListener{l} }

type quickListener struct{ net.Listener }

// Accept waits for a connection.
func (l quickListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c, nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return c, nil //nolint:nilerr // the connection works without it, only slower
	}
	return &quickConn{TCPConn: tcp, raw: raw}, nil
}

type quickConn struct {
	*net.TCPConn
	raw syscall.RawConn
}

// Read reads, and asks again: the kernel forgets it by itself.
func (c *quickConn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	if err == nil {
		// It is a wish: a connection that cannot have it works all the same.
		_ = c.raw.Control(quickAck)
	}
	return n, err
}

func quickAck(fd uintptr) {
	_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
}
