package eventstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	// maxReceive is what the official client takes of one message: an event of 16 MiB and what is
	// around it.
	maxReceive = 17 << 20
	// findTime is how long one node may take to say what it can, or who else there is.
	findTime = 2 * time.Second
	// flowWindow is how many bytes may be under way to a reader that has not taken them yet.
	flowWindow = 4 << 20
)

var batchNames = [2]string{"event_store.client.streams.streams", "batchappend"}

// dial connects to the node to use. Avoid is one that is doubted: of a cluster another is preferred to it.
func (s *Store) dial(avoid string) (*link, error) {
	if !s.address.discover {
		host := s.hosts()[0]
		l, err := s.use(host, Leader)
		if err != nil {
			err = s.explain(host, err)
		}
		return l, err
	}
	ranked, err := s.survey(avoid)
	for _, m := range ranked {
		var l *link
		if l, err = s.use(m.address, m.role); err == nil {
			return l, nil
		}
		err = s.explain(m.address, err)
	}
	return nil, err
}

// use connects to a node by its address, and makes sure that it can what is needed.
func (s *Store) use(address string, role Role) (*link, error) {
	conn, err := s.connect(address, role)
	if err != nil {
		return nil, err
	}
	version, err := s.able(conn)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return newLink(s, conn, address, role, version), nil
}

// connect prepares a connection. Calls over one to a leader say that they are for the leader alone: so a node that has
// given its leadership away says so, and does not pass them on for ever.
func (s *Store) connect(address string, role Role) (*grpc.ClientConn, error) {
	a := s.address
	secure := insecure.NewCredentials()
	options := []grpc.DialOption{
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(maxReceive), grpc.ForceCodecV2(newCodec()),
		),
		grpc.WithInitialWindowSize(flowWindow),
		grpc.WithInitialConnWindowSize(2 * flowWindow),
		grpc.WithDisableServiceConfig(),
	}
	if !a.plain {
		config, err := a.tlsConfig()
		if err != nil {
			return nil, err
		}
		secure = credentials.NewTLS(config)
		if s.login != nil {
			options = append(options, grpc.WithPerRPCCredentials(s.login))
		}
	}
	options = append(options, grpc.WithTransportCredentials(secure))
	options = append(options, a.headers(a.discover && role == Leader)...)
	if a.keepAlive >= 0 {
		options = append(options, grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: a.keepAlive, Timeout: a.keepAliveTimeout, PermitWithoutStream: true,
		}))
	}
	conn, err := grpc.NewClient(address, options...)
	if err != nil {
		return nil, fmt.Errorf("connect to the event store: %w", err)
	}
	return conn, nil
}

// headers are the ones that all calls over a connection carry.
func (a *address) headers(leaderOnly bool) []grpc.DialOption {
	var pairs []string
	if leaderOnly {
		pairs = append(pairs, "requires-leader", "true")
	}
	if a.connectionName != "" {
		pairs = append(pairs, "connection-name", a.connectionName)
	}
	if pairs == nil {
		return nil
	}
	return []grpc.DialOption{
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn,
			call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			return call(metadata.AppendToOutgoingContext(ctx, pairs...), method, req, reply, cc, opts...)
		}),
		grpc.WithStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string,
			open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			return open(metadata.AppendToOutgoingContext(ctx, pairs...), desc, cc, method, opts...)
		}),
	}
}

// able asks a node for its version, and whether it can what is needed. It is also what shows that the node is there.
func (s *Store) able(conn *grpc.ClientConn) (version string, err error) {
	ctx, cancel := context.WithTimeout(s.closed, s.address.findTimeout)
	defer cancel()
	all, err := serverfeatures.NewServerFeaturesClient(conn).
		GetSupportedMethods(ctx, &shared.Empty{})
	if code := status.Code(err); code == codes.Unimplemented || code == codes.NotFound {
		return "", s.old(conn)
	}
	if err != nil {
		return "", fmt.Errorf("find the event store: %w", err)
	}
	if !slices.ContainsFunc(all.GetMethods(), func(m *serverfeatures.SupportedMethod) bool {
		return m.GetServiceName() == batchNames[0] && m.GetMethodName() == batchNames[1]
	}) {
		return "", s.named(errTooOld)
	}
	return strings.ToValidUTF8(all.GetEventStoreServerVersion(), "?"), nil
}
