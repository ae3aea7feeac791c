package esnode

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"prelude/test/conformance/wire"
)

// On one port the node answers gRPC and, over HTTP/1.1, whether it lives; what it does not have it says.
func TestHTTP(t *testing.T) {
	t.Parallel()
	r := newRigWith(t, Config{Listen: "127.0.0.1:0"})
	guarded, pool, _ := guardedNode(t, nil)
	for name, at := range map[string]struct {
		base  string
		plain *tls.Config
	}{
		"in the clear": {"http://" + r.node.Addr(), nil},
		"with TLS":     {"https://" + guarded.Addr(), &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}},
		"with TLS and the protocol's name": {"https://" + guarded.Addr(), &tls.Config{
			RootCAs: pool, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		}},
	} {
		transport := &http.Transport{TLSClientConfig: at.plain}
		client := http.Client{Transport: transport}
		for _, rule := range []struct {
			method, path string
			status       int
			says         string
		}{
			{http.MethodGet, "/health/live", http.StatusNoContent, ""},
			{http.MethodHead, "/health/live", http.StatusNoContent, ""},
			{http.MethodGet, "/info", http.StatusNotImplemented, "speaks gRPC and has no"},
			{http.MethodGet, "/subscriptions", http.StatusNotImplemented, "no persistent subscriptions"},
			{http.MethodGet, "/subscriptions/s/group/info", http.StatusNotImplemented, "no persistent subscriptions"},
			{http.MethodPost, "/subscriptions/s/g/replayParked", http.StatusNotImplemented, "no persistent"},
			{http.MethodPost, "/subscriptions/restart", http.StatusNotImplemented, "no persistent subscriptions"},
			{http.MethodGet, "/streams/s", http.StatusNotImplemented, "no streams over HTTP"},
			{http.MethodGet, "/", http.StatusNotFound, "this node speaks gRPC"},
			{http.MethodGet, "/nothing", http.StatusNotFound, "this node speaks gRPC"},
		} {
			status, body := asked(t, &client, rule.method, at.base+rule.path)
			if status != rule.status || !strings.Contains(body, rule.says) || rule.says == "" && body != "" {
				t.Errorf("%s: %s %s is answered %d %q", name, rule.method, rule.path, status, body)
			}
		}
		transport.CloseIdleConnections()
	}
	c := dialed(t, r.node.Addr(), insecure.NewCredentials())
	c.Must("s", noStream, "a")
	secure := dialed(t, guarded.Addr(), credentials.NewTLS(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}))
	ctx := metadata.AppendToOutgoingContext(wire.Within(t), "authorization", basicWord(testUser, testPassword))
	if got := secure.Batch(ctx); got == nil {
		t.Error("gRPC with TLS has no batch")
	}
}

func asked(t *testing.T, c *http.Client, method, url string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// Whoever connects and says nothing, or half a word, keeps nobody else out, and does not hold the node up
// when it closes.
func TestMux_silent_connections(t *testing.T) {
	t.Parallel()
	r := newStoppedRig(t)
	r.cfg.Listen = "127.0.0.1:0"
	r.start(t)
	var d net.Dialer
	var silent []net.Conn
	for _, word := range []string{"", "P", "PRI", "GET"} {
		c, err := d.DialContext(t.Context(), "tcp", r.node.Addr())
		if err == nil {
			_, err = c.Write([]byte(word))
		}
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, c)
	}
	c := dialed(t, r.node.Addr(), insecure.NewCredentials())
	c.Must("s", noStream, "a")
	ctx, cancel := context.WithTimeout(t.Context(), sortTimeout/2)
	defer cancel()
	closed := make(chan error, 1)
	go func() { closed <- r.node.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-ctx.Done():
		t.Error("the node does not close")
	}
	for _, c := range silent {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a silent connection was answered")
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := r.Conn.Close(); err != nil {
		t.Error(err)
	}
}

// flaky is a listener that cannot accept at first.
type flaky struct {
	net.Listener
	failures int
}

func (l *flaky) Accept() (net.Conn, error) {
	if l.failures--; l.failures >= 0 {
		return nil, errors.New("too many open files")
	}
	return l.Listener.Accept()
}

// An error of the listener passes: what connects after it is taken.
func TestMux_accepts_again(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := newMux(&flaky{l, 1}, nil)
	ran := make(chan struct{})
	go func() { m.run(); close(ran) }()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	if err == nil {
		_, err = c.Write([]byte("GET / HTTP/1.1\r\n"))
	}
	if err != nil {
		t.Fatal(err)
	}
	taken, err := m.http.Accept()
	if err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 16)
	if _, err := io.ReadFull(taken, first); err != nil || string(first) != "GET / HTTP/1.1\r\n" {
		t.Errorf("it says %q, %v", first, err)
	}
	if err := errors.Join(taken.Close(), c.Close(), m.Close()); err != nil {
		t.Error(err)
	}
	<-ran
	if _, err := m.grpc.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("when it is closed it says %v", err)
	}
}
