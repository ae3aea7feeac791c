package esnode

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// Config says where a node keeps its log and where it listens.
type Config struct {
	Dir    string       // the folder of the log; made where missing
	Socket string       // path of a unix socket, at most 107 bytes; who may enter its folder may write
	Listen string       // a loopback host:port to listen on as well, "" for none; port 0 picks one
	Logger *slog.Logger // nil: no log
}

// Node is a running event store.
type Node struct {
	dir    *os.File
	server *grpc.Server
	tcp    net.Listener
	book   *logbook
	writer *writer
	conns  []*conn // that read
	logger *slog.Logger

	closing chan struct{}
	serving sync.WaitGroup
	once    sync.Once
	err     error
}

// stopGrace is how long calls under way may take to end when the node closes.
const stopGrace = 5 * time.Second

// Start opens the log in cfg.Dir, making it where there is none, and listens; the node answers when
// Start returns. Errors: ErrLocked, a log of a newer format, an address that may not be listened
// on.
func Start(ctx context.Context, cfg Config) (*Node, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	n := &Node{logger: cfg.Logger, closing: make(chan struct{})}
	listeners, err := n.open(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, n.release(), closeListeners(listeners))
	}
	go n.writer.run()
	n.server = n.newServer()
	for _, l := range listeners {
		n.serving.Go(func() {
			if err := n.server.Serve(l); err != nil {
				n.logger.Error("event store stopped listening", "error", err)
			}
		})
	}
	return n, nil
}

func (n *Node) open(ctx context.Context, cfg Config) ([]net.Listener, error) {
	err := makeDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	if n.dir, err = lockDir(cfg.Dir); err != nil {
		return nil, err
	}
	file, err := logIn(cfg.Dir)
	if err != nil {
		return nil, err
	}
	w, readers, err := openDatabase(file, max(4, runtime.GOMAXPROCS(0)))
	if err != nil {
		return nil, err
	}
	n.conns = readers
	n.book = newLogbook(file, readers)
	if n.writer, err = newWriter(n.book, file, w, cfg.Logger); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return n.listen(ctx, cfg)
}

func (n *Node) newServer() *grpc.Server {
	s := grpc.NewServer(
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxSendMsgSize(2*maxMessage),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: 10 * time.Second, Timeout: 10 * time.Second,
		}),
		// The client pings every 10 s, also without a call; gRPC's own policy would hang up on it.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime: 5 * time.Second, PermitWithoutStream: true,
		}),
		grpc.WaitForHandlers(true),
	)
	streams.RegisterStreamsServer(s, &service{book: n.book, writer: n.writer, closing: n.closing})
	serverfeatures.RegisterServerFeaturesServer(s, features{})
	gossip.RegisterGossipServer(s, newGossiper(n.Addr()))
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
		stopped := time.AfterFunc(stopGrace, n.server.Stop)
		n.server.GracefulStop()
		stopped.Stop()
		n.serving.Wait()
		close(n.writer.queue)
		<-n.writer.done
		n.err = n.release()
	})
	return n.err
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
