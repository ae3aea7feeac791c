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

// What an address may lead to that is no event store, or not one that is spoken to in the right way.
var (
	errNoStore  = answers("HTTP/2, and is no event store")
	errWeb      = answers("HTTP/1, and is no event store")
	errOther    = answers("another protocol, and is no event store")
	errSecret   = answers("TLS, and the address says tls=false")
	errOpen     = answers("no TLS: for a plain connection the address has to say tls=false")
	errNotHTTP2 = answers("TLS and not HTTP/2, and is no event store")
)

func answers(speaks string) error {
	return errors.New("what answers at the event store's address speaks " + speaks)
}

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

// explain finds out, of an address at which no event store was ever found, what else answers there: gRPC's own words
// for it tell only those who know the protocol.
func (s *Store) explain(err error) {
	address := s.config.Address
	if len(s.seeds) > 0 {
		address = s.seeds[0]
	}
	s.mu.Lock()
	known := s.generation > 0
	s.mu.Unlock()
	if known || strings.HasPrefix(address, "unix:") {
		return
	}
	look := explainSecret
	if s.config.DisableTLS {
		look = explainPlain
	}
	var stranger error
	if errors.Is(err, errNoStore) {
		stranger = errNoStore
	} else {
		stranger = look(s.closed, address)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(stranger)
}

// note keeps who answers, and ends the waiting for a store where that is somebody else; nil: nobody, or a store. The
// lock must be held.
func (s *Store) note(stranger error) {
	s.stranger = stranger
	switch {
	case stranger != nil:
		s.found()
	case s.strange.Err() != nil:
		s.strange, s.found = context.WithCancel(s.closed)
	}
}

// explainSecret looks at who answers where TLS is expected. Whose certificate it is does not matter: nothing is told.
func explainSecret(ctx context.Context, address string) error {
	state, err := handshake(ctx, address)
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &record):
		return errOpen
	case err == nil && state.NegotiatedProtocol != "h2":
		return errNotHTTP2
	}
	return nil
}

func handshake(ctx context.Context, address string) (tls.ConnectionState, error) {
	d := tls.Dialer{Config: &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // it is looked at, and told nothing
		MinVersion:         tls.VersionTLS12, NextProtos: []string{"h2"},
	}}
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
func explainPlain(ctx context.Context, address string) error {
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
		if _, err := handshake(ctx, address); err == nil {
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
