package esnode

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"prelude/internal/eventstore/storetest"
	"prelude/test/conformance/wire"
)

const (
	testUser     = "admin"
	testPassword = "pass:word ü"
)

// guardedNode listens behind TLS and a password, and on a socket without either.
func guardedNode(t *testing.T, logger *slog.Logger) (*Node, *x509.CertPool, Config) {
	t.Helper()
	cert, key, pool := storetest.Certificate(t)
	dir, err := os.MkdirTemp("", "esnode")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Dir: dir, Socket: filepath.Join(dir, "s"), Listen: "127.0.0.1:0", Logger: logger,
		CertFile: cert, KeyFile: key, User: testUser, Password: testPassword,
	}
	n, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return n, pool, cfg
}

func dialed(t *testing.T, target string, c credentials.TransportCredentials) *wire.Client {
	t.Helper()
	client := wire.Dial(t, target, grpc.WithTransportCredentials(c))
	t.Cleanup(func() {
		if err := client.Conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

func basicWord(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func TestTLS(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	t.Cleanup(func() { // when the node has ended
		if strings.Contains(log.String(), testPassword) {
			t.Error("the password is in the log")
		}
	})
	n, pool, cfg := guardedNode(t, slog.New(slog.NewTextHandler(&log, nil)))
	c := dialed(t, n.Addr(), credentials.NewTLS(&tls.Config{
		RootCAs: pool, MinVersion: tls.VersionTLS12,
	}))
	for name, rule := range map[string]struct {
		words []string
		want  codes.Code
	}{
		"user and password":   {[]string{basicWord(testUser, testPassword)}, codes.OK},
		"a word in capitals":  {[]string{"BASIC" + basicWord(testUser, testPassword)[5:]}, codes.OK},
		"none":                {nil, codes.Unauthenticated},
		"another password":    {[]string{basicWord(testUser, "password")}, codes.Unauthenticated},
		"a longer password":   {[]string{basicWord(testUser, testPassword+"x")}, codes.Unauthenticated},
		"no password":         {[]string{basicWord(testUser, "")}, codes.Unauthenticated},
		"another user":        {[]string{basicWord("ops", testPassword)}, codes.Unauthenticated},
		"another scheme":      {[]string{"Bearer" + basicWord(testUser, testPassword)[5:]}, codes.Unauthenticated},
		"nonsense":            {[]string{"Basic %%%"}, codes.Unauthenticated},
		"without a colon":     {[]string{"Basic YWRtaW4="}, codes.Unauthenticated},
		"two, one being true": {[]string{basicWord(testUser, testPassword), "x"}, codes.Unauthenticated},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := wire.Within(t)
			for _, w := range rule.words {
				ctx = metadata.AppendToOutgoingContext(ctx, "authorization", w)
			}
			checkCalls(ctx, t, c.For(t), rule.want)
		})
	}
	socket := dialed(t, "unix:"+cfg.Socket, insecure.NewCredentials())
	checkCalls(wire.Within(t), t, socket, codes.OK)
}

// checkCalls makes a call of each kind that wants a password, and those that do not.
func checkCalls(ctx context.Context, t *testing.T, c *wire.Client, want codes.Code) {
	t.Helper()
	_, err := c.Streams.Delete(ctx, nil)
	if got := wire.Code(err); (want == codes.OK) != (got == codes.InvalidArgument) ||
		want != codes.OK && got != want {
		t.Errorf("a unary call ends with %v", err)
	}
	batch, err := c.Streams.BatchAppend(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// What names no append ends the call, for those who may make one.
	if err := batch.Send(&api.BatchAppendReq{}); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	_, err = batch.Recv()
	if got := wire.Code(err); (want == codes.OK) != (got == codes.InvalidArgument) ||
		want != codes.OK && got != want {
		t.Errorf("a stream ends with %v", err)
	}
	if _, err := serverfeatures.NewServerFeaturesClient(c.Conn).
		GetSupportedMethods(ctx, wire.Empty); err != nil {
		t.Errorf("the features: %v", err)
	}
	if _, err := gossip.NewGossipClient(c.Conn).Read(ctx, wire.Empty); err != nil {
		t.Errorf("the gossip: %v", err)
	}
}

func TestTLS_takes_no_other_connection(t *testing.T) {
	t.Parallel()
	n, pool, _ := guardedNode(t, nil)
	plain := dialed(t, n.Addr(), insecure.NewCredentials())
	if _, err := plain.Read(wire.Options()); wire.Code(err) != codes.Unavailable {
		t.Errorf("a plain connection: %v", err)
	}
	stranger := dialed(t, n.Addr(), credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12}))
	if _, err := stranger.Read(wire.Options()); wire.Code(err) != codes.Unavailable {
		t.Errorf("a client that does not trust the node: %v", err)
	}
	old, err := tls.Dial("tcp", n.Addr(), &tls.Config{
		RootCAs: pool, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11,
	})
	if err == nil {
		t.Errorf("TLS 1.1 is taken: %v", old.Close())
	}
}

// Without TLS clients are told not to send a password; one that does is let in.
func TestPlain_ignores_credentials(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := metadata.AppendToOutgoingContext(wire.Within(t),
		"authorization", basicWord("any", "thing"), "requires-leader", "true", "connection-name", "x")
	checkCalls(ctx, t, r.Client, codes.OK)
}

func TestStart_refuses_half_a_guard(t *testing.T) {
	t.Parallel()
	cert, key, _ := storetest.Certificate(t)
	whole := Config{Listen: "0.0.0.0:0", CertFile: cert, KeyFile: key, User: testUser, Password: testPassword}
	for name, rule := range map[string]struct {
		change func(c *Config)
		want   string
	}{
		"no certificate": {func(c *Config) { c.CertFile = "" }, "lacks a certificate"},
		"no key":         {func(c *Config) { c.KeyFile = "" }, "lacks a certificate's key"},
		"no user":        {func(c *Config) { c.User = "" }, "lacks a user"},
		"no password":    {func(c *Config) { c.Password = "" }, "lacks a password"},
		"only a user": {func(c *Config) { *c = Config{Listen: "127.0.0.1:0", User: testUser} },
			"lacks a certificate and a certificate's key and a password"},
		"nothing":                  {func(c *Config) { *c = Config{Listen: "0.0.0.0:0"} }, "loopback addresses only"},
		"a user with a colon":      {func(c *Config) { c.User = "a:b" }, "colon"},
		"a file that is not there": {func(c *Config) { c.CertFile += "x" }, "load the event store's certificate"},
		"a key that does not fit": {func(c *Config) { _, c.KeyFile, _ = storetest.Certificate(t) },
			"load the event store's certificate"},
	} {
		cfg := whole
		rule.change(&cfg)
		cfg.Dir = t.TempDir()
		_, err := Start(t.Context(), cfg)
		if err == nil || !strings.Contains(err.Error(), rule.want) || strings.Contains(err.Error(), testPassword) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A test may listen on loopback only; that any other address is taken when it is guarded is told by
// the check before.
func TestStart_listens_anywhere_with_a_guard(t *testing.T) {
	t.Parallel()
	cert, key, _ := storetest.Certificate(t)
	// An address of nobody's: it gets as far as the attempt to listen.
	_, err := Start(t.Context(), Config{
		Dir: t.TempDir(), Listen: "192.0.2.1:0", CertFile: cert, KeyFile: key,
		User: testUser, Password: testPassword,
	})
	if err == nil || !strings.Contains(err.Error(), "listen for the event store") {
		t.Errorf("got %v", err)
	}
}
