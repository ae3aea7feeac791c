package esnode

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
)

// longestSocket is the longest path that a unix socket can have on Linux, in bytes.
const longestSocket = 107

// entrance is a listener with what the server behind it demands.
type entrance struct {
	net.Listener
	options []grpc.ServerOption
	mux     *mux // what shares the listener with HTTP/1.1; nil where nothing does
}

func (n *Node) listen(ctx context.Context, cfg Config) (all []entrance, err error) {
	if cfg.Socket == "" && cfg.Listen == "" {
		return nil, errors.New("the event store has neither a socket nor an address to listen on")
	}
	if cfg.Socket != "" {
		l, err := listenUnix(ctx, cfg.Socket)
		if err != nil {
			return nil, err
		}
		all = append(all, entrance{Listener: l})
	}
	if cfg.Listen != "" {
		e, err := listenTCP(ctx, &cfg)
		if err != nil {
			return all, err
		}
		n.tcp = e
		all = append(all, e)
	}
	return all, nil
}

func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	if len(path) > longestSocket {
		return nil, fmt.Errorf("the socket's path has %d bytes, at most %d are possible: %s",
			len(path), longestSocket, path)
	}
	if err := removeStale(ctx, path); err != nil {
		return nil, err
	}
	var c net.ListenConfig
	l, err := c.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on the socket: %w", err)
	}
	return l, nil
}

// removeStale removes a socket that a process left behind when it was killed.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the socket: %w", err)
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("%s is in the way of the event store's socket", path)
	}
	d := net.Dialer{Timeout: time.Second}
	if c, err := d.DialContext(ctx, "unix", path); err == nil {
		return errors.Join(fmt.Errorf("somebody else listens on %s", path), c.Close())
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove the old socket: %w", err)
	}
	return nil
}

// listenTCP refuses any address that other machines could reach, unless it is guarded: whoever
// reaches the node may read and write everything.
func listenTCP(ctx context.Context, cfg *Config) (e entrance, err error) {
	guarded, err := cfg.guarded()
	if err != nil {
		return e, err
	}
	host, _, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return e, fmt.Errorf("the event store's address: %w", err)
	}
	ip := net.ParseIP(host)
	if !guarded && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return e, fmt.Errorf("the event store listens on loopback addresses only, not on %q, "+
			"unless it has a certificate with its key, a user and a password", cfg.Listen)
	}
	var secure *tls.Config
	if guarded {
		if secure, e.options, err = cfg.protection(); err != nil {
			return e, err
		}
	}
	var c net.ListenConfig
	l, err := c.Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return e, fmt.Errorf("listen for the event store: %w", err)
	}
	if tcp, ok := l.Addr().(*net.TCPAddr); !guarded && ok && !tcp.IP.IsLoopback() {
		return e, errors.Join(fmt.Errorf("%q is not a loopback address", cfg.Listen), l.Close())
	}
	e.mux = newMux(quickAcks(l), secure)
	e.Listener = e.mux.grpc
	return e, nil
}

func closeEntrances(all []entrance) error {
	var errs []error
	for _, e := range all {
		errs = append(errs, e.Close())
	}
	return errors.Join(errs...)
}
