package conformance

import (
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"prelude/test/conformance/wire"
)

// long makes tests run that take more than half a minute.
const long = "PRELUDE_TORTURE"

func TestConnect(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T, *wire.Client){
		"the version is three numbers":                versionIsNumbers,
		"the methods of streams are announced":        methodsAnnounced,
		"gossip names one leader, where it was asked": gossipNamesLeader,
		"the client finds it by gossip":               clientDiscovers,
		"an unknown service is unimplemented":         unknownService,
		"headers that clients send are taken":         headersIgnored,
		"pings without a call are taken":              pingsTaken,
		"an idle subscription lives for 35 s":         idleSubscription,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, plain(t))
		})
	}
}

func supported(t *testing.T, c *wire.Client) *serverfeatures.SupportedMethods {
	t.Helper()
	got, err := serverfeatures.NewServerFeaturesClient(c.Conn).
		GetSupportedMethods(wire.Within(t), wire.Empty)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// The client does not connect if the first three parts are no numbers.
func versionIsNumbers(t *testing.T, c *wire.Client) {
	t.Helper()
	version := supported(t, c).GetEventStoreServerVersion()
	parts := strings.SplitN(version, ".", 4)
	for _, part := range parts[:min(3, len(parts))] {
		if _, err := strconv.Atoi(part); err != nil || len(parts) < 3 {
			t.Errorf("the version is %q", version)
		}
	}
}

func methodsAnnounced(t *testing.T, c *wire.Client) {
	t.Helper()
	var got []string
	for _, m := range supported(t, c).Methods {
		if m.ServiceName == "event_store.client.streams.streams" {
			got = append(got, m.MethodName)
		}
	}
	for _, want := range []string{"read", "append", "delete", "tombstone", "batchappend"} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is not announced: %v", want, got)
		}
	}
}

// Clients that look for a cluster keep their connection only if they are told the address they used.
func gossipNamesLeader(t *testing.T, c *wire.Client) {
	t.Helper()
	got, err := gossip.NewGossipClient(c.Conn).Read(wire.Within(t), wire.Empty)
	if err != nil {
		t.Fatal(err)
	}
	leaders := 0
	for _, m := range got.Members {
		if m.State != gossip.MemberInfo_Leader {
			continue
		}
		leaders++
		port := strconv.Itoa(int(m.GetHttpEndPoint().GetPort()))
		at := net.JoinHostPort(m.GetHttpEndPoint().GetAddress(), port)
		if !m.IsAlive || len(got.Members) == 1 && at != configuration(t).Address {
			t.Errorf("the leader is %v, we asked at %s", m, configuration(t).Address)
		}
	}
	if leaders != 1 {
		t.Errorf("there are %d leaders", leaders)
	}
}

func clientDiscovers(t *testing.T, w *wire.Client) {
	t.Helper()
	cfg := configuration(t)
	endpoint, err := esdb.ParseEndPoint(cfg.Address)
	if err != nil {
		t.Fatal(err)
	}
	cfg.GossipSeeds, cfg.Address = []*esdb.EndPoint{endpoint}, ""
	c, err := esdb.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	s := stream(t, w, 1)
	r, err := c.ReadStream(wire.Within(t), s, esdb.ReadStreamOptions{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Recv(); err != nil {
		t.Error(err)
	}
}

func unknownService(t *testing.T, c *wire.Client) {
	t.Helper()
	err := c.Conn.Invoke(wire.Within(t), "/event_store.client.nothing.Nothing/Do", wire.Empty, wire.Empty)
	if wire.Code(err) != codes.Unimplemented {
		t.Errorf("it ends with %v", err)
	}
}

func headersIgnored(t *testing.T, c *wire.Client) {
	t.Helper()
	ctx := metadata.AppendToOutgoingContext(wire.Within(t),
		"requires-leader", "true", "connection-name", "conformance")
	if _, err := serverfeatures.NewServerFeaturesClient(c.Conn).
		GetSupportedMethods(ctx, wire.Empty); err != nil {
		t.Error(err)
	}
}

// Clients ping every 10 s. A server that finds this too often hangs up at the third, after 31 s.
func idleSubscription(t *testing.T, w *wire.Client) {
	t.Helper()
	if os.Getenv(long) == "" {
		t.Skip("it takes more than half a minute; " + long + "=1 runs it")
	}
	c, s := official(t), named(t, "s")
	sub, err := c.SubscribeToStream(t.Context(), s, esdb.SubscribeToStreamOptions{From: esdb.Start{}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := sub.Close(); err != nil {
			t.Error(err)
		}
	}()
	<-time.After(35 * time.Second)
	w.Must(s, wire.NoStream, s)
	for {
		m := sub.Recv()
		if m.SubscriptionDropped != nil {
			t.Fatal(m.SubscriptionDropped.Error)
		}
		if m.EventAppeared != nil {
			return
		}
	}
}
