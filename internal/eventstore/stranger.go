package eventstore

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"prelude/internal/eventlog"
)

// lookTime is how long one look at who answers may take.
const lookTime = time.Second

// old tells a store that is too old to say what it can from what is none: every store has streams.
func (s *Store) old(conn *grpc.ClientConn) error {
	ctx, cancel := context.WithTimeout(s.closed, findTime)
	defer cancel()
	call, err := api.NewStreamsClient(conn).Read(ctx, request(1, eventlog.Backwards, ofAll(eventlog.End)))
	if err == nil {
		_, err = call.Recv()
	}
	switch status.Code(err) {
	case codes.Unimplemented:
		return errNoStore
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return fmt.Errorf("find the event store: %w", err)
	}
	return errTooOld
}

// explain finds out why no connection to a node can be made: gRPC's own words for it tell only those who know the
// protocol. err is what an attempt ended with; it is what is given where nothing better is known.
func (s *Store) explain(address string, err error) error {
	if r := ReasonOf(err); r != nil || strings.HasPrefix(address, "unix:") {
		return err
	}
	if err = s.because(err, false); ReasonOf(err) != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.closed, lookTime)
	defer cancel()
	conn, dialed := new(net.Dialer).DialContext(ctx, "tcp", address)
	var dns *net.DNSError
	switch {
	case errors.As(dialed, &dns) && dns.IsNotFound:
		return s.named(errName)
	case dialed != nil:
		return s.named(errNobody)
	}
	_ = conn.Close() // nothing was written
	var r *Reason
	if s.address.plain {
		r = explainPlain(ctx, address)
	} else if config, bad := s.address.tlsConfig(); bad != nil {
		return bad
	} else {
		r = explainTLS(ctx, address, config)
	}
	switch {
	case r != nil:
		return s.named(r)
	case status.Code(err) == codes.DeadlineExceeded:
		return s.named(errMute)
	case status.Code(err) == codes.Unavailable:
		return s.named(errHangsUp)
	}
	return err
}

// handshake makes a TLS connection and closes it. Config nil: whose certificate it is does not matter.
func handshake(ctx context.Context, address string, config *tls.Config) (tls.ConnectionState, error) {
	if config == nil {
		config = &tls.Config{InsecureSkipVerify: true, //nolint:gosec // it is looked at, and told nothing
			MinVersion: tls.VersionTLS12}
	}
	config.NextProtos = []string{"h2"}
	d := tls.Dialer{Config: config}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer func() { _ = conn.Close() }() // nothing was written
	c, _ := conn.(*tls.Conn)
	return c.ConnectionState(), nil
}

// greeting is what a client of HTTP/2 begins with: its preface, and settings that change none.
const greeting = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// The beginnings of answers.
var (
	settings = []byte{4} // the type of the first frame of HTTP/2, after the length
	alert    = []byte{21, 3}
	web      = []byte("HTTP/1")
)

// explainPlain looks at who answers on a plain connection.
func explainPlain(ctx context.Context, address string) *Reason {
	answer, err := greet(ctx, address)
	switch {
	case err != nil:
		return nil //nolint:nilerr // nobody is there, which has been said
	case bytes.HasPrefix(answer, web):
		return errWeb
	case len(answer) > 3 && bytes.HasPrefix(answer[3:], settings):
		return nil
	case len(answer) == 0 || bytes.HasPrefix(answer, alert):
		// Some who expect TLS hang up without a word.
		if _, err := handshake(ctx, address, nil); err == nil {
			return errSecret
		}
		return nil
	}
	return errOther
}

// greet gives the beginning of the answer to the greeting; empty: there is none.
func greet(ctx context.Context, address string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	defer func() { _ = conn.Close() }() // what was written was read or not
	if _, err := io.WriteString(conn, greeting); err != nil {
		return nil, err
	}
	answer := make([]byte, len(web))
	n, _ := io.ReadFull(conn, answer) // what came before it ended is the answer
	return answer[:n], nil
}
