package eventstore_test

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"prelude/internal/esnode"
	"prelude/internal/eventlog"
	"prelude/internal/eventstore/storetest"
)

// TestReady_says_what_is_wrong: what answers at an address and is no event store is named, in the end of every call.
func TestReady_says_what_is_wrong(t *testing.T) {
	t.Parallel()
	cert, key, _ := storetest.Certificate(t)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	own := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	trusted := "&tlsCAFile=" + cert
	for what, c := range map[string]struct{ address, want string }{
		"a store that is too old":           {plainly(serve(t, &odd{old: true})), "21.10 or newer"},
		"a store that knows no features":    {plainly(foreign(t, nil, true)), "21.10 or newer"},
		"another gRPC server":               {plainly(foreign(t, nil, false)), "speaks HTTP/2, and is no event store"},
		"another gRPC server over TLS":      {secretly(foreign(t, own, false)) + trusted, "speaks HTTP/2, and is no event store"},
		"a web server":                      {plainly(web(t, nil)), "speaks HTTP/1"},
		"a web server over TLS":             {secretly(web(t, own)) + trusted, "speaks TLS and not HTTP/2"},
		"a web server over TLS, plainly":    {plainly(web(t, own)), "the address says tls=false"},
		"a gRPC server over TLS, plainly":   {plainly(foreign(t, own, false)), "the address says tls=false"},
		"a plain store, over TLS":           {"esdb://admin:secret@" + serve(t, &odd{}), "speaks no TLS"},
		"one that talks first":              {plainly(talker(t, "220 mail ready\r\n")), "speaks another protocol"},
		"a certificate of others":           {secretly(foreign(t, own, false)), "certificate"},
		"nobody":                            {plainly("127.0.0.1:1"), "nobody answers"},
		"a cluster of nobody":               {"esdb+discover://" + serve(t, &odd{}) + "?tls=false", "no node of the cluster"},
		"a web server instead of a cluster": {"esdb+discover://" + web(t, nil) + "?tls=false", "speaks HTTP/1"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			store := to(t, c.address)
			waiting := within(t, 5*time.Second)
			err := store.Ready(waiting)
			if strings.Contains(c.want, "speaks") && waiting.Err() != nil {
				t.Error("it waits for what will not come")
			}
			if !errors.Is(err, eventlog.ErrUnavailable) || !strings.Contains(err.Error(), c.want) ||
				strings.Contains(err.Error(), "secret@") {
				t.Errorf("it is ready with %v", err)
			}
			_, err = store.Append(within(t, 500*time.Millisecond), "s", eventlog.None, events(1))
			if !errors.Is(err, eventlog.ErrUnavailable) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("an append ends with %v", err)
			}
		})
	}
}

func plainly(address string) string  { return "esdb://" + address + "?tls=false" }
func secretly(address string) string { return "esdb://" + address + "?tls=true" }

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// web runs a server of HTTP/1 and gives its address.
func web(t *testing.T, secret *tls.Config) string {
	t.Helper()
	l := listen(t)
	address := l.Addr().String()
	if secret != nil {
		l = tls.NewListener(l, secret)
	}
	s := http.Server{ReadHeaderTimeout: time.Second}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), <-done); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return address
}

// foreign runs a gRPC server that is no event store, or one from before stores said what they can.
func foreign(t *testing.T, secret *tls.Config, store bool) string {
	t.Helper()
	var options []grpc.ServerOption
	if secret != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(secret)))
	}
	s := grpc.NewServer(options...)
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	if store {
		ancient(s)
	}
	return storetest.GRPC(t, s)
}

// talker runs a server that says something to whoever comes, and hangs up when they have spoken.
func talker(t *testing.T, says string) string {
	t.Helper()
	l := listen(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return // it was closed
			}
			_, _ = conn.Write([]byte(says)) // who has left again does not hear it
			_, _ = conn.Read(make([]byte, 1))
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return l.Addr().String()
}

// What is no event store may give way to one, which is used then.
func TestReady_after_a_stranger(t *testing.T) {
	t.Parallel()
	l := listen(t)
	address := l.Addr().String()
	first, done := http.Server{ReadHeaderTimeout: time.Second}, make(chan error, 1)
	go func() { done <- first.Serve(l) }()
	store := to(t, plainly(address))
	if err := store.Ready(within(t, 10*time.Second)); err == nil || !strings.Contains(err.Error(), "speaks HTTP/1") {
		t.Errorf("beside a web server it is ready with %v", err)
	}
	if err := errors.Join(first.Close(), <-done); !errors.Is(err, http.ErrServerClosed) {
		t.Fatal(err)
	}
	n, err := esnode.Start(t.Context(), esnode.Config{Dir: t.TempDir(), Listen: address})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := store.Append(within(t, 20*time.Second), "s", eventlog.None, events(1)); err != nil {
		t.Error(err)
	}
	if err := store.Ready(within(t, 10*time.Second)); err != nil {
		t.Error(err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}
