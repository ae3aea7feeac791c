package esnode

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// guarded says whether the address is behind TLS, a user and a password: all of them or none.
func (cfg *Config) guarded() (bool, error) {
	var missing []string
	for _, part := range []struct{ what, value string }{
		{"a certificate", cfg.CertFile}, {"a certificate's key", cfg.KeyFile},
		{"a user", cfg.User}, {"a password", cfg.Password},
	} {
		if part.value == "" {
			missing = append(missing, part.what)
		}
	}
	switch {
	case len(missing) == 4:
		return false, nil
	case len(missing) > 0:
		return false, fmt.Errorf("the event store's address lacks %s", strings.Join(missing, " and "))
	case strings.Contains(cfg.User, ":"):
		return false, errors.New("the event store's user has a colon in it, which none can send")
	}
	return true, nil
}

// protection gives what a server needs that nobody uses without TLS and the password.
func (cfg *Config) protection() (*tls.Config, []grpc.ServerOption, error) {
	cert, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
	if err != nil {
		return nil, nil, fmt.Errorf("load the event store's certificate: %w", err)
	}
	g := gate{user: sha256.Sum256([]byte(cfg.User)), password: sha256.Sum256([]byte(cfg.Password))}
	secure := &tls.Config{
		Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
	}
	return secure, []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(g.unary),
		grpc.ChainStreamInterceptor(g.stream),
	}, nil
}

// gate lets calls pass that bring the user and the password. It keeps hashes, which have one length:
// comparing them takes the same time whatever is wrong.
type gate struct{ user, password [sha256.Size]byte }

// open are the services that clients call before they say who they are.
var open = []string{
	"/event_store.client.server_features.ServerFeatures/",
	"/event_store.client.gossip.Gossip/",
}

var errUnauthenticated = status.Error(codes.Unauthenticated,
	"the event store wants a user and a password")

func (g *gate) unary(
	ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler,
) (any, error) {
	if !g.passes(ctx, info.FullMethod) {
		return nil, errUnauthenticated
	}
	return handle(ctx, req)
}

func (g *gate) stream(
	srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler,
) error {
	if !g.passes(s.Context(), info.FullMethod) {
		return errUnauthenticated
	}
	return handle(srv, s)
}

func (g *gate) passes(ctx context.Context, method string) bool {
	for _, service := range open {
		if strings.HasPrefix(method, service) {
			return true
		}
	}
	md, _ := metadata.FromIncomingContext(ctx)
	sent := md.Get("authorization")
	if len(sent) != 1 {
		return false
	}
	scheme, word, _ := strings.Cut(sent[0], " ")
	plain, err := base64.StdEncoding.DecodeString(word)
	user, password, ok := strings.Cut(string(plain), ":")
	if !strings.EqualFold(scheme, "basic") || err != nil || !ok {
		return false
	}
	u, p := sha256.Sum256([]byte(user)), sha256.Sum256([]byte(password))
	return subtle.ConstantTimeCompare(u[:], g.user[:])&
		subtle.ConstantTimeCompare(p[:], g.password[:]) == 1
}
