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
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
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
