// Package wire speaks to an event store with nothing but the protocol's own messages, for tests of
// what the official client cannot say. Its calls fail the test where the protocol has no word for
// what went wrong, and give back what it has one for.
package wire

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// MaxMessage is the largest message that a client takes, in bytes.
const MaxMessage = 17 << 20

// Empty is what the protocol says where a choice has no value.
var Empty = &shared.Empty{}

// Client is a connection to a store, used by one test.
type Client struct {
	T       *testing.T
	Conn    *grpc.ClientConn
	Streams api.StreamsClient
}

// Dial makes a client for a target of gRPC. Whoever calls it closes the connection.
func Dial(t *testing.T, target string, opts ...grpc.DialOption) *Client {
	t.Helper()
	opts = append(opts, grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage)))
	conn, err := grpc.NewClient(target, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return &Client{T: t, Conn: conn, Streams: api.NewStreamsClient(conn)}
}

// For gives the same connection to another test.
func (c *Client) For(t *testing.T) *Client {
	return &Client{T: t, Conn: c.Conn, Streams: c.Streams}
}

// Within is how long a call of a test may take: so long that only one that hangs does.
func Within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// ID gives the same id for the same name.
func ID(name string) uuid.UUID { return uuid.NewSHA1(uuid.NameSpaceOID, []byte(name)) }

// Structured gives an id in the form of two numbers.
func Structured(id uuid.UUID) *shared.UUID {
	return &shared.UUID{Value: &shared.UUID_Structured_{Structured: &shared.UUID_Structured{
		MostSignificantBits:  int64(binary.BigEndian.Uint64(id[:8])),
		LeastSignificantBits: int64(binary.BigEndian.Uint64(id[8:])),
	}}}
}

// Text gives an id in the form of a string.
func Text(id uuid.UUID) *shared.UUID {
	return &shared.UUID{Value: &shared.UUID_String_{String_: id.String()}}
}

// Stream names a stream.
func Stream(name string) *shared.StreamIdentifier {
	return &shared.StreamIdentifier{StreamName: []byte(name)}
}

// Code is the status of an error.
func Code(err error) codes.Code { return status.Code(err) }
