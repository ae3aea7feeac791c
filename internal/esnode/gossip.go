package esnode

import (
	"context"
	"net"
	"strconv"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/google/uuid"
	"google.golang.org/grpc/metadata"
)

// gossiper tells clients that look for a cluster that this node is all of it.
type gossiper struct {
	gossip.UnimplementedGossipServer
	id   uuid.UUID
	addr string
}

func newGossiper(addr string) gossiper { return gossiper{id: uuid.New(), addr: addr} }

// Read gives the one member, at the address by which the client reached it: then it keeps the
// connection.
func (g gossiper) Read(ctx context.Context, _ *shared.Empty) (*gossip.ClusterInfo, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	reached := append(md.Get(":authority"), g.addr)
	end := &gossip.EndPoint{}
	for _, addr := range reached {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			continue
		}
		if number, err := strconv.ParseUint(port, 10, 16); err == nil {
			end = &gossip.EndPoint{Address: host, Port: uint32(number)}
			break
		}
	}
	return &gossip.ClusterInfo{Members: []*gossip.MemberInfo{{
		InstanceId:   structured(g.id),
		TimeStamp:    time.Now().UnixNano() / 100,
		State:        gossip.MemberInfo_Leader,
		IsAlive:      true,
		HttpEndPoint: end,
	}}}, nil
}
