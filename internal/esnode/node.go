package esnode

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // requests may be compressed
	"google.golang.org/grpc/keepalive"

	"prelude/internal/filelock"
)

// Config says where a node keeps its log and where it listens.
type Config struct {
	Dir    string       // the folder of the log; made where missing
	Socket string       // path of a unix socket, at most 107 bytes; who may enter its folder may write
	Listen string       // a host:port to listen on as well, "" for none; port 0 picks one
	Logger *slog.Logger // nil: no log

	// MaxAppendSize bounds the events of one append together, in bytes; 0: 1 MiB, a real store's default.
	MaxAppendSize int

	// Notices is the version of the store whose caught-up and checkpoint messages are sent: up to 24 they
	// say neither when nor where, from 25 on they do; 0: 25.
	Notices int

	Moods *Moods // for tests: what a real store does at times; nil: none

	// What Listen needs unless it is a loopback address; the socket is never behind it. The files
	// are PEM, of a certificate with those that signed it and of its key.
	CertFile, KeyFile string
	User, Password    string
}

// Node is a running event store.
type Node struct {
	dir     *filelock.Lock
	servers []*grpc.Server
	tcp     net.Listener
	web     *http.Server // beside gRPC on tcp; nil without it
	cfg     Config
	book    *logbook
	writer  *writer
	conns   []*conn // that read
	logger  *slog.Logger

	closing chan struct{}
	serving sync.WaitGroup
	readers sync.WaitGroup // of calls that are read and answered at the same time
	once    sync.Once
	err     error
}

// stopGrace is how long calls under way may take to end when the node closes.
const stopGrace = 5 * time.Second

// streamsPerConnection is how many calls a connection may have at once; more wait in the client. A real
// store has this limit always, so we have it always too, not as a mood: a client that needs more on one
// connection is wrong in the same way every time.
const streamsPerConnection = 100

const defaultMaxAppendSize = 1 << 20

func (cfg *Config) validate() error {
	if cfg.MaxAppendSize < 1 || cfg.MaxAppendSize > largestAppend {
		return fmt.Errorf("the largest append has from 1 to %d bytes, not %d",
			largestAppend, cfg.MaxAppendSize)
	}
	return nil
}

// Start opens the log in cfg.Dir, making it where there is none, and listens; the node answers when
// Start returns. Errors: ErrLocked, a log of a newer format, an address that may not be listened
// on: any but loopback ones need TLS, a user and a password.
func Start(ctx context.Context, cfg Config) (*Node, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxAppendSize == 0 {
		cfg.MaxAppendSize = defaultMaxAppendSize
	}
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, logger: cfg.Logger, closing: make(chan struct{})}
	entrances, err := n.open(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, n.release(), closeEntrances(entrances))
	}
	go n.writer.run()
	who := newGossiper(n.Addr())
	for _, e := range entrances {
		s := n.newServer(who, e.options)
		n.servers = append(n.servers, s)
		n.serving.Go(func() { n.served(s.Serve(e)) })
		if e.mux != nil {
			n.web = newWeb(n.logger)
			n.serving.Go(e.mux.run)
			n.serving.Go(func() { n.served(n.web.Serve(e.mux.http)) })
		}
	}
	return n, nil
}

func (n *Node) served(err error) {
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		n.logger.Error("event store stopped listening", "error", err)
	}
}

func (n *Node) open(ctx context.Context, cfg Config) ([]entrance, error) {
	err := makeDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	if n.dir, err = lockDir(cfg.Dir); err != nil {
		return nil, err
	}
	file, err := logIn(cfg.Dir, upgrading(cfg.Logger))
	if err != nil {
		return nil, err
	}
	w, readers, err := openDatabase(file, max(4, runtime.GOMAXPROCS(0)))
	if err != nil {
		return nil, err
	}
	n.conns = readers
	n.book = newLogbook(file, readers)
	if n.writer, err = newWriter(n.book, file, w, cfg.Logger, cfg.Moods); err != nil {
		return nil, errors.Join(err, w.close())
	}
	if cfg.Moods != nil && cfg.Moods.Cut > 0 {
		n.writer.canceled = n.closing
	}
	return n.listen(ctx, cfg)
}

func (n *Node) newServer(who gossiper, more []grpc.ServerOption) *grpc.Server {
	s := grpc.NewServer(append(more,
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxSendMsgSize(2*maxMessage),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: 10 * time.Second, Timeout: 10 * time.Second,
		}),
		// The client pings every 10 s, also without a call, others more often; gRPC's own policy would
		// hang up on them, a real store takes any number.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime: time.Nanosecond, PermitWithoutStream: true,
		}),
		grpc.MaxConcurrentStreams(streamsPerConnection),
		grpc.WaitForHandlers(true),
		// Closing waits for connections that have not greeted yet; gRPC's own 120 s would hold up the end.
		grpc.ConnectionTimeout(stopGrace),
	)...)
	streams.RegisterStreamsServer(s, &service{
		book: n.book, writer: n.writer, closing: n.closing, readers: &n.readers,
		limit: n.cfg.MaxAppendSize, notices: notices(n.cfg.Notices == 0 || n.cfg.Notices > 24),
		moods: n.cfg.Moods,
	})
	serverfeatures.RegisterServerFeaturesServer(s, features{})
	gossip.RegisterGossipServer(s, who)
	return s
}

// Addr gives the host:port of the TCP listener, "" without one.
func (n *Node) Addr() string {
	if n.tcp == nil {
		return ""
	}
	return n.tcp.Addr().String()
}

// Close stops accepting, ends subscriptions with UNAVAILABLE, lets appends that were handed in
// become durable and answers them, then closes the log. Close clients before it.
func (n *Node) Close() error {
	n.once.Do(func() {
		close(n.closing)
		n.stop()
		n.serving.Wait()
		n.readers.Wait()
		close(n.writer.queue)
		<-n.writer.done
		n.err = n.release()
	})
	return n.err
}

// stop ends the servers, at the same time.
func (n *Node) stop() {
	var all sync.WaitGroup
	for _, s := range n.servers {
		all.Go(func() {
			late := time.AfterFunc(n.cfg.Moods.patience(), s.Stop)
			s.GracefulStop()
			late.Stop()
		})
	}
	all.Wait()
	if n.web != nil {
		n.served(n.web.Close())
	}
}

func (n *Node) release() error {
	err := closeAll(n.conns)
	if n.writer != nil && n.writer.conn != nil {
		err = errors.Join(err, n.writer.conn.close())
	}
	if n.dir != nil {
		err = errors.Join(err, n.dir.Close())
	}
	return err
}
