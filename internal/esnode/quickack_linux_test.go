package esnode

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// A connection acknowledges at once after every read, whatever the kernel thought of it before.
func TestQuickAcks(t *testing.T) {
	t.Parallel()
	inner, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := quickAcks(inner)
	defer func() { _ = l.Close() }()
	client, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	quick, ok := c.(*quickConn)
	if !ok {
		t.Fatalf("it is a %T", c)
	}
	for range 3 {
		quickly(t, quick, 0)
		if _, err := client.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := quick.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if quickly(t, quick, -1) == 0 {
			t.Error("a read left the connection to acknowledge late")
		}
	}
}

// quickly sets the option, unless to is -1, and gives it.
func quickly(t *testing.T, c *quickConn, to int) (is int) {
	t.Helper()
	var err error
	failed := c.raw.Control(func(fd uintptr) {
		if to >= 0 {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, to)
		}
		if err == nil {
			is, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK)
		}
	})
	if failed != nil || err != nil {
		t.Fatal(failed, err)
	}
	return is
}
