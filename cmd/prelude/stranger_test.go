package main

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"prelude/internal/eventstore/storetest"
)

// foreignGRPC runs a gRPC server that is no event store, and gives its address.
func foreignGRPC(t *testing.T) string {
	t.Helper()
	s := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	return storetest.GRPC(t, s)
}

// foreignWeb runs a web server; over TLS it speaks HTTP/2 too.
func foreignWeb(t *testing.T, secret bool) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains of who is no client
	if secret {
		s.EnableHTTP2 = true
		s.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// TestStrangers: what is no event store is not taken for one, from nor to which a log is copied, nor to serve on. The
// sentence says what is there, and the log beside it is as it was.
func TestStrangers(t *testing.T) {
	t.Parallel()
	n := newNodeRig(t)
	n.fill("thing-acme_1", 2)
	from, to := []string{"log", "copy", "--to", n.address, "--from"}, []string{"log", "copy", "--from", n.address, "--to"}
	serve := []string{"serve", "--listen", "127.0.0.1:0", "--database-url", "postgres://nobody@127.0.0.1:1/none", "--eventstore"}
	all := map[string]struct {
		line          []string
		address, says string
	}{
		"copy_from_a_web_server":     {from, foreignWeb(t, false) + "?tls=false", "speaks HTTP/1"},
		"copy_from_TLS_plainly":      {from, foreignWeb(t, true) + "?tls=false", "the address says tls=false"},
		"copy_from_a_foreign_gRPC":   {from, foreignGRPC(t) + "?tls=false", "speaks HTTP/2, and is no event store"},
		"copy_to_a_web_server":       {to, foreignWeb(t, false) + "?tls=false", "speaks HTTP/1"},
		"copy_to_a_foreign_gRPC":     {to, foreignGRPC(t) + "?tls=false", "speaks HTTP/2, and is no event store"},
		"serve_on_a_web_server":      {serve, foreignWeb(t, false) + "?tls=false", "speaks HTTP/1"},
		"serve_on_TLS_plainly":       {serve, foreignWeb(t, true) + "?tls=false", "the address says tls=false"},
		"serve_on_a_foreign_gRPC":    {serve, foreignGRPC(t) + "?tls=false", "speaks HTTP/2, and is no event store"},
		"serve_on_another_of_HTTP/2": {serve, foreignWeb(t, true) + "?tlsVerifyCert=false", "is no event store"},
	}
	t.Run("each", func(t *testing.T) {
		for name, c := range all {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				line := append(slices.Clone(c.line), "esdb://"+c.address, "--data", t.TempDir())
				refused(t, run(t.Context(), line, io.Discard, io.Discard), "event store", c.says)
			})
		}
	})
	if got := contents(t, n.store); strings.Count(got, "\n") != 2 {
		t.Errorf("the log holds\n%s", got)
	}
}
