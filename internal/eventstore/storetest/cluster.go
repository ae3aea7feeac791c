package storetest

import (
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
)

// Cluster is some scripts before one node that tell clients of each other: a cluster whose members always have the same
// events, and lead, follow, fail and are cut off as a test wants.
type Cluster struct {
	Members []*Script

	mu     sync.Mutex
	states []gossip.MemberInfo_VNodeState
	cut    []bool
}

// NewCluster has n members before a node; the first leads.
func NewCluster(t testing.TB, node string, n int) *Cluster {
	t.Helper()
	c := &Cluster{states: make([]gossip.MemberInfo_VNodeState, n), cut: make([]bool, n)}
	for i := range n {
		s := NewScript(t, node)
		s.mu.Lock()
		s.members = func() *gossip.ClusterInfo { return c.seenBy(i) }
		s.mu.Unlock()
		c.Members = append(c.Members, s)
	}
	c.Elect(0)
	return c
}

// Address is a connection string that names all members, with more options if there are any.
func (c *Cluster) Address(options ...string) string {
	var hosts []string
	for _, m := range c.Members {
		hosts = append(hosts, m.Addr)
	}
	return "esdb://" + strings.Join(hosts, ",") + "?" + strings.Join(append(options, "tls=false"), "&")
}

// Elect has a member lead, and all others that are not cut off follow it.
func (c *Cluster) Elect(leader int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, m := range c.Members {
		switch {
		case i == leader:
			c.states[i] = gossip.MemberInfo_Leader
			m.Goes(Part{})
		case !c.cut[i]:
			c.states[i] = gossip.MemberInfo_Follower
			m.Goes(Part{Follows: c.Members[leader].Addr})
		}
	}
}

// State has a member be in a state, whatever the others are.
func (c *Cluster) State(member int, s gossip.MemberInfo_VNodeState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.states[member] = s
}

// Replica has a member be one that only reads. Nothing keeps a test from appending to it.
func (c *Cluster) Replica(member int) {
	c.State(member, gossip.MemberInfo_ReadOnlyReplica)
	c.Members[member].Goes(Part{})
}

// CutOff cuts a member off from the others: they call it dead, and it them. It goes on calling itself what it was, can
// be read, and takes no appends.
func (c *Cluster) CutOff(member int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut[member] = true
	c.Members[member].Goes(Part{NotHandled: "Server Is Not Ready", Appends: true})
}

// Proxies puts a proxy before each member: clients know the members by those alone. Call it before any client comes.
func (c *Cluster) Proxies(t testing.TB) (all []*Proxy) {
	t.Helper()
	for _, m := range c.Members {
		p := NewProxy(t, "127.0.0.1:0", m.Addr)
		m.Addr, all = p.Path, append(all, p)
	}
	c.Elect(0) // the others' parts hold the leader's address
	return all
}

// Rejoin ends that; the member follows.
func (c *Cluster) Rejoin(member, leader int) {
	c.mu.Lock()
	c.cut[member] = false
	c.mu.Unlock()
	c.Elect(leader)
}

// seenBy is the cluster as a member tells of it.
func (c *Cluster) seenBy(member int) *gossip.ClusterInfo {
	c.mu.Lock()
	defer c.mu.Unlock()
	info := &gossip.ClusterInfo{}
	for i, m := range c.Members {
		host, port, _ := net.SplitHostPort(m.Addr)   // it is a listener's
		number, _ := strconv.ParseUint(port, 10, 16) // likewise
		alive := i == member || !c.cut[i] && !c.cut[member]
		info.Members = append(info.Members, &gossip.MemberInfo{State: c.states[i], IsAlive: alive,
			HttpEndPoint: &gossip.EndPoint{Address: host, Port: uint32(number)}})
	}
	return info
}
