package esnode

import (
	"net"
	"strconv"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/persistent"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
)

func TestFeatures(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	got, err := serverfeatures.NewServerFeaturesClient(r.conn).GetSupportedMethods(within(t), empty)
	if err != nil || got.EventStoreServerVersion != "24.10.0" {
		t.Fatalf("%v, %v", got, err)
	}
	for _, m := range got.Methods {
		if m.ServiceName == "event_store.client.persistent_subscriptions.persistentsubscriptions" {
			t.Errorf("%v is announced", m)
		}
	}
	_, err = persistent.NewPersistentSubscriptionsClient(r.conn).List(within(t), &persistent.ListReq{})
	if code(err) != codes.Unimplemented {
		t.Errorf("an unknown service answers %v", err)
	}
}

// Clients that look for a cluster keep the connection only if they are told the address they used.
func TestGossip(t *testing.T) {
	t.Parallel()
	n, err := Start(t.Context(), Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = n.Close() }()
	_, port, err := net.SplitHostPort(n.Addr())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("localhost:"+port,
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	got, err := gossip.NewGossipClient(conn).Read(within(t), empty)
	if err != nil || len(got.Members) != 1 {
		t.Fatalf("%v, %v", got, err)
	}
	m := got.Members[0]
	if m.State != gossip.MemberInfo_Leader || !m.IsAlive ||
		m.HttpEndPoint.Address != "localhost" || strconv.Itoa(int(m.HttpEndPoint.Port)) != port {
		t.Errorf("the member is %v", m)
	}
}
