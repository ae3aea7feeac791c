package eventstore

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
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

var (
	errNoNode  = errors.New("no node of the cluster can be used at this moment")
	errTooOld  = errors.New("the event store does not announce batch appends: it must be 21.10 or newer")
	errNotTLS  = errors.New("the event store's user certificate cannot be read")
	batchNames = [2]string{"event_store.client.streams.streams", "batchappend"}
)

// seeds lists the nodes to ask for the cluster's members.
func seeds(c *esdb.Configuration) (all []string) {
	for _, seed := range c.GossipSeeds {
		all = append(all, seed.String())
	}
	if c.DnsDiscover && len(all) == 0 {
		all = append(all, c.Address)
	}
	return all
}

// dial connects to the node to use, and makes sure that it can what is needed.
func (s *Store) dial() (*grpc.ClientConn, error) {
	if len(s.seeds) == 0 {
		return s.use(s.config.Address)
	}
	last := errNoNode
	for _, i := range rand.Perm(len(s.seeds)) { //nolint:gosec // an order, not a secret
		address, err := s.discover(s.seeds[i])
		if err == nil {
			var conn *grpc.ClientConn
			if conn, err = s.use(address); err == nil {
				return conn, nil
			}
		}
		last = err
	}
	return nil, last
}

// use connects to a node by its address.
func (s *Store) use(address string) (*grpc.ClientConn, error) {
	conn, err := s.connect(address)
	if err != nil {
		return nil, err
	}
	if err := s.able(conn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

func (s *Store) connect(address string) (*grpc.ClientConn, error) {
	c := s.config
	secure := insecure.NewCredentials()
	options := []grpc.DialOption{
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(maxReceive), grpc.ForceCodecV2(newCodec()),
		),
		grpc.WithInitialWindowSize(flowWindow),
		grpc.WithInitialConnWindowSize(2 * flowWindow),
		grpc.WithDisableServiceConfig(),
	}
	if !c.DisableTLS {
		config := &tls.Config{
			RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12,
			InsecureSkipVerify: c.SkipCertificateVerification, //nolint:gosec // tlsVerifyCert=false asks for it
		}
		if c.UserCertFile != "" {
			pair, err := tls.LoadX509KeyPair(c.UserCertFile, c.UserKeyFile)
			if err != nil {
				return nil, errNotTLS // the cause may quote the files
			}
			config.Certificates = []tls.Certificate{pair}
		}
		secure = credentials.NewTLS(config)
		if c.Username != "" && c.Password != "" {
			options = append(options, grpc.WithPerRPCCredentials(basic(c.Username, c.Password)))
		}
	}
	options = append(options, grpc.WithTransportCredentials(secure))
	if c.KeepAliveInterval >= 0 {
		options = append(options, grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: c.KeepAliveInterval, Timeout: c.KeepAliveTimeout, PermitWithoutStream: true,
		}))
	}
	conn, err := grpc.NewClient(address, options...)
	if err != nil {
		return nil, fmt.Errorf("connect to the event store: %w", err)
	}
	return conn, nil
}

// able asks a node whether it can what is needed. It is also what shows that the node is there.
func (s *Store) able(conn *grpc.ClientConn) error {
	ctx, cancel := context.WithTimeout(s.closed, findTime)
	defer cancel()
	all, err := serverfeatures.NewServerFeaturesClient(conn).
		GetSupportedMethods(ctx, &shared.Empty{})
	if code := status.Code(err); code == codes.Unimplemented || code == codes.NotFound {
		return s.old(conn)
	}
	if err != nil {
		return fmt.Errorf("find the event store: %w", err)
	}
	if !slices.ContainsFunc(all.GetMethods(), func(m *serverfeatures.SupportedMethod) bool {
		return m.GetServiceName() == batchNames[0] && m.GetMethodName() == batchNames[1]
	}) {
		return errTooOld
	}
	return nil
}

// discover asks a node for the members of its cluster and gives the address of the best.
func (s *Store) discover(seed string) (string, error) {
	conn, err := s.connect(seed)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(s.closed, findTime)
	defer cancel()
	info, err := gossip.NewGossipClient(conn).Read(ctx, &shared.Empty{})
	if err != nil {
		return "", fmt.Errorf("ask for the cluster's nodes: %w", err)
	}
	var best *gossip.MemberInfo
	for _, m := range info.GetMembers() {
		if m.GetIsAlive() && s.rank(m) > s.rank(best) {
			best = m
		}
	}
	if best == nil {
		return "", errNoNode
	}
	at := best.GetHttpEndPoint()
	return net.JoinHostPort(at.GetAddress(), strconv.FormatUint(uint64(at.GetPort()), 10)), nil
}

// rank orders members by the node that the connection string prefers; 0 cannot be used.
func (s *Store) rank(m *gossip.MemberInfo) int {
	prefers := s.config.NodePreference
	switch m.GetState() {
	case gossip.MemberInfo_Leader:
		if m == nil {
			return 0
		}
		return rankOf(prefers == esdb.NodePreferenceLeader)
	case gossip.MemberInfo_Follower:
		return rankOf(prefers == esdb.NodePreferenceFollower)
	case gossip.MemberInfo_ReadOnlyReplica, gossip.MemberInfo_PreReadOnlyReplica,
		gossip.MemberInfo_ReadOnlyLeaderless:
		return rankOf(prefers == esdb.NodePreferenceReadOnlyReplica)
	}
	return 0
}

func rankOf(preferred bool) int {
	if preferred {
		return 2
	}
	return 1
}

// login is the user and password that every call over TLS carries.
type login struct{ header map[string]string }

func basic(user, password string) login {
	text := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	return login{map[string]string{"authorization": "Basic " + text}}
}

// GetRequestMetadata gives the header.
func (l login) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return l.header, nil
}

// RequireTransportSecurity keeps the password off plain connections.
func (login) RequireTransportSecurity() bool { return true }
