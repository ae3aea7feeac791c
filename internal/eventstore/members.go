package eventstore

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"google.golang.org/grpc"
)

// Role is what a node is in its cluster, as far as calls go.
type Role string

// The roles. A store that is one node alone leads itself.
const (
	None     Role = "none" // nobody is connected to, or the node is no working part of its cluster
	Leader   Role = "leader"
	Follower Role = "follower"
	Replica  Role = "replica" // one that only reads
)

// roleOf is the role of a node in a state.
func roleOf(state gossip.MemberInfo_VNodeState) Role {
	switch state {
	case gossip.MemberInfo_Leader:
		return Leader
	case gossip.MemberInfo_Follower:
		return Follower
	case gossip.MemberInfo_ReadOnlyReplica, gossip.MemberInfo_PreReadOnlyReplica,
		gossip.MemberInfo_ReadOnlyLeaderless:
		return Replica
	}
	return None
}

// wants says whether a role is the one that the address asks for.
func (p preference) wants(r Role) bool {
	switch p {
	case preferFollower:
		return r == Follower
	case preferReplica:
		return r == Replica
	case preferAny:
		return r != None
	}
	return r == Leader
}

// member is a node of the cluster as another, or it itself, tells of it.
type member struct {
	address string
	role    Role
	alive   bool
}

// view is what one node says of the cluster.
type view struct {
	asked   string
	members []member
	err     error
}

// mostMembers bounds what is remembered of what a store says.
const mostMembers = 100

// askMembers asks a node for the members of its cluster.
func (s *Store) askMembers(ctx context.Context, conn *grpc.ClientConn) ([]member, error) {
	ctx, cancel := context.WithTimeout(ctx, s.address.findTimeout)
	defer cancel()
	info, err := gossip.NewGossipClient(conn).Read(ctx, &shared.Empty{})
	if err != nil {
		return nil, fmt.Errorf("ask for the cluster's nodes: %w", err)
	}
	var all []member
	for _, m := range info.GetMembers()[:min(mostMembers, len(info.GetMembers()))] {
		at := m.GetHttpEndPoint()
		all = append(all, member{role: roleOf(m.GetState()), alive: m.GetIsAlive(),
			address: net.JoinHostPort(at.GetAddress(), strconv.FormatUint(uint64(at.GetPort()), 10))})
	}
	return all, nil
}

// survey asks the members of the cluster which of them to use, and ranks them, the best first. Members that were seen
// before are asked, whatever the address names; where none of them can say, those that it names. Avoid is the node that
// is doubted: of two that both call themselves the leader it is the one to leave.
func (s *Store) survey(avoid string) ([]member, error) {
	s.mu.Lock()
	seen := slices.Clone(s.seen)
	s.mu.Unlock()
	var failed *view
	for _, asked := range [][]string{seen, s.hosts()} {
		var views []view
		for _, v := range s.askAll(asked) {
			if v.err == nil {
				views = append(views, v)
			} else {
				failed = &v
			}
		}
		s.remember(views)
		if ranked := rank(views, s.address.prefers, avoid); len(ranked) > 0 {
			return ranked, nil
		}
		if len(views) > 0 {
			failed = nil // they answer, and none can be used
		}
	}
	if failed != nil {
		return nil, s.explain(failed.asked, failed.err)
	}
	return nil, s.named(errNoNode)
}

// remember keeps who the members are.
func (s *Store) remember(views []view) {
	var all []string
	for _, v := range views {
		for _, m := range v.members {
			if !slices.Contains(all, m.address) && len(all) < mostMembers {
				all = append(all, m.address)
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// One whose members do not know it any more may be cut off from them, so it is kept as long as there is room.
	for _, address := range s.seen {
		if !slices.Contains(all, address) && len(all) < mostMembers {
			all = append(all, address)
		}
	}
	s.seen = all
}

// askAll asks nodes, side by side. It does not wait for those that are silent once most agree who leads.
func (s *Store) askAll(nodes []string) (views []view) {
	ctx, cancel := context.WithTimeout(s.closed, s.address.findTimeout)
	defer cancel()
	answers := make(chan view, len(nodes))
	for _, address := range nodes {
		s.spawn(func() {
			v := view{asked: address}
			conn, err := s.connect(address, None)
			if err == nil {
				v.members, err = s.askMembers(ctx, conn)
				_ = conn.Close() // its one error says that it is closed already
			}
			v.err = err
			answers <- v
		})
	}
	for range nodes {
		select {
		case v := <-answers:
			views = append(views, v)
		case <-ctx.Done():
			return views
		}
		if _, votes := elected(views); votes > len(nodes)/2 {
			return views
		}
	}
	return views
}

// elected is the node of which most views say that it leads.
func elected(views []view) (leader string, votes int) {
	count := map[string]int{}
	for _, v := range views {
		for _, m := range v.members {
			if m.role == Leader && m.alive {
				if count[m.address]++; count[m.address] > votes {
					leader, votes = m.address, count[m.address]
				}
			}
		}
	}
	return leader, votes
}

// rank orders the nodes that can be used: first those of the role that is preferred. What a node says of itself counts
// more than what others say of it, but that it leads is believed of one node alone, of which most say so: a leader that
// was cut off goes on calling itself one for a while.
func rank(views []view, prefers preference, avoid string) []member {
	best, own, votes := map[string]member{}, map[string]bool{}, map[string]int{}
	for _, v := range views {
		for _, m := range v.members {
			if m.alive && m.role == Leader {
				votes[m.address]++
			}
			if itself := v.asked == m.address; itself || !own[m.address] && !best[m.address].alive {
				best[m.address], own[m.address] = m, own[m.address] || itself
			}
		}
	}
	var all []member
	for _, m := range best {
		if m.alive && m.role != None {
			all = append(all, m)
		}
	}
	//nolint:gosec // an order, not a secret: of equals anyone is taken, and not always the same
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	slices.SortStableFunc(all, func(a, b member) int {
		return cmp.Or(
			truth(prefers.wants(b.role))-truth(prefers.wants(a.role)),
			votes[b.address]-votes[a.address],
			truth(a.address == avoid)-truth(b.address == avoid),
		)
	})
	led := false
	return slices.DeleteFunc(all, func(m member) bool {
		stale := m.role == Leader && led
		led = led || m.role == Leader
		return stale
	})
}

func truth(is bool) int {
	if is {
		return 1
	}
	return 0
}
