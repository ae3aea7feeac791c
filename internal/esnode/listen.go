package esnode

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"
)

// longestSocket is the longest path that a unix socket can have on Linux, in bytes.
const longestSocket = 107

func (n *Node) listen(ctx context.Context, cfg Config) (all []net.Listener, err error) {
	if cfg.Socket == "" && cfg.Listen == "" {
		return nil, errors.New("the event store has neither a socket nor an address to listen on")
	}
	if cfg.Socket != "" {
		l, err := listenUnix(ctx, cfg.Socket)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	if cfg.Listen != "" {
		if n.tcp, err = listenLoopback(ctx, cfg.Listen); err != nil {
			return all, err
		}
		all = append(all, n.tcp)
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

// listenLoopback refuses any address that other machines could reach: whoever reaches the node may
// read and write everything.
func listenLoopback(ctx context.Context, address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("the event store's address: %w", err)
	}
	ip := net.ParseIP(host)
	if host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("the event store listens on loopback addresses only, not on %q", address)
	}
	var c net.ListenConfig
	l, err := c.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for the event store: %w", err)
	}
	if tcp, ok := l.Addr().(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
		return nil, errors.Join(fmt.Errorf("%q is not a loopback address", address), l.Close())
	}
	return l, nil
}

func closeListeners(all []net.Listener) error {
	var errs []error
	for _, l := range all {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
