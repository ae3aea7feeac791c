package storetest

import (
	"errors"
	"net"
	"testing"

	"google.golang.org/grpc"
)

// GRPC runs a gRPC server, whatever it serves, until the test ends, and gives its address on loopback.
func GRPC(t testing.TB, s *grpc.Server) string {
	t.Helper()
	return serve(t, s, "127.0.0.1:0")
}

// serve is GRPC at an address; port 0 picks one.
func serve(t testing.TB, s *grpc.Server, address string) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) { // before it began
			t.Error(err)
		}
	})
	return l.Addr().String()
}
