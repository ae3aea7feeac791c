package conformance

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"prelude/test/conformance/wire"
)

// pingPause is shorter than that of any client, which ping every 10 s.
const pingPause = 300 * time.Millisecond

// pingsTaken pings without a call, as clients do between calls, more often than a server forgives that
// finds it too often: it hangs up at the third that comes too early.
func pingsTaken(t *testing.T, _ *wire.Client) {
	t.Helper()
	conn := rawConnection(t)
	framer := http2.NewFramer(conn, conn)
	_, err := conn.Write([]byte(http2.ClientPreface))
	if err == nil {
		err = framer.WriteSettings()
	}
	if err != nil {
		t.Fatal(err)
	}
	const pings = 4 // before the first there is none that it could come too early after
	for n := byte(1); n <= pings; n++ {
		ping(t, conn, framer, n)
		if n < pings {
			quietly(t, conn, framer, pingPause)
		}
	}
	ping(t, conn, framer, pings+1) // the last was answered before a server hangs up on it
}

func rawConnection(t *testing.T) net.Conn {
	t.Helper()
	cfg := configuration(t)
	var d interface {
		DialContext(ctx context.Context, network, address string) (net.Conn, error)
	} = &net.Dialer{}
	if !cfg.DisableTLS {
		d = &tls.Dialer{Config: &tls.Config{
			MinVersion: tls.VersionTLS12, RootCAs: cfg.RootCAs, NextProtos: []string{"h2"},
			InsecureSkipVerify: cfg.SkipCertificateVerification,
		}}
	}
	conn, err := d.DialContext(t.Context(), "tcp", cfg.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}

// ping sends one and waits for its answer.
func ping(t *testing.T, conn net.Conn, framer *http2.Framer, n byte) {
	t.Helper()
	err := framer.WritePing(false, [8]byte{n})
	if err == nil {
		err = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	}
	if err != nil {
		t.Fatalf("ping %d: %v", n, err)
	}
	for {
		f, err := framer.ReadFrame()
		if err != nil {
			t.Fatalf("ping %d is not answered: %v", n, err)
		}
		if p := taken(t, framer, f); p != nil && p.IsAck() && p.Data[0] == n {
			return
		}
	}
}

// quietly lets time pass in which the server may say what needs no answer but to a ping.
func quietly(t *testing.T, conn net.Conn, framer *http2.Framer, d time.Duration) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(d)); err != nil {
		t.Fatal(err)
	}
	for {
		f, err := framer.ReadFrame()
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
			return
		}
		if err != nil {
			t.Fatalf("the server has hung up: %v", err)
		}
		taken(t, framer, f)
	}
}

// taken answers a frame as HTTP/2 asks for. A server that finds that there are too many pings says that
// it goes away.
func taken(t *testing.T, framer *http2.Framer, f http2.Frame) *http2.PingFrame {
	t.Helper()
	var err error
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			err = framer.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			err = framer.WritePing(true, f.Data)
		}
		if err == nil {
			return f
		}
	case *http2.GoAwayFrame:
		t.Fatalf("the server goes away: %v %q", f.ErrCode, f.DebugData())
	}
	if err != nil {
		t.Fatal(err)
	}
	return nil
}
