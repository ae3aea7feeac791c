package eventstore

import (
	"context"
	"time"
)

// watchEvery is how often the node in use is asked for its role.
const watchEvery = 2 * time.Second

// judge looks at how a call has ended, before its context did, for what that says of the link.
func (s *Store) judge(ctx context.Context, l *link, err error) {
	if ctx.Err() != nil {
		return
	}
	switch kindOf(err) {
	case transport:
		s.replace(l, err)
	case elsewhere:
		l.doubt()
	case ambiguous:
		if s.address.discover && !unreadable(err) {
			l.doubt()
		}
	}
}

// doubt has the link's watch find out whether it is still the one to use.
func (l *link) doubt() {
	select {
	case l.doubted <- struct{}{}:
	default: // it is told already
	}
}

// isDoubted takes a doubt, if there is one.
func (l *link) isDoubted() bool {
	select {
	case <-l.doubted:
		return true
	default:
		return false
	}
}

// probe asks a lone node, when it is doubted, whether it is there.
func (s *Store) probe(l *link) {
	for {
		select {
		case <-l.doubted:
		case <-l.done.Done():
			return
		}
		s.there(l)
		if !sleep(l.done, doubtPause) {
			return
		}
	}
}

// there replaces a link whose node does not answer.
func (s *Store) there(l *link) {
	if _, err := s.able(l.conn); err != nil && l.done.Err() == nil {
		s.replace(l, err)
	}
}

// watch follows the role of the node in use: it asks the node now and then, and all members when the link is doubted or
// leads to another node than the address prefers.
func (s *Store) watch(l *link) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		var doubted bool
		select {
		case <-l.doubted:
			doubted = true
		case <-tick.C:
			doubted = l.isDoubted() // while a silent node is asked for its role, both become due
		case <-l.done.Done():
			return
		}
		switch {
		case s.address.discover && (doubted || !s.address.prefers.wants(s.roleNow(l))):
			s.move(l)
		case doubted:
			s.there(l)
		case !s.address.discover:
			s.roleNow(l)
		}
		if !sleep(l.done, doubtPause) {
			return
		}
	}
}

// roleNow asks the node in use for its role. One that does not say keeps the role that it was chosen for.
func (s *Store) roleNow(l *link) Role {
	members, err := s.askMembers(l.done, l.conn)
	if err != nil {
		if l.done.Err() == nil {
			s.judge(l.done, l, err)
		}
		return l.role
	}
	role, found := None, false
	for _, m := range members {
		if m.address == l.address || len(members) == 1 {
			role, found = m.role, true
		}
	}
	if !found { // it is known under another name; what it was chosen for is not doubted by that
		return l.role
	}
	s.mu.Lock()
	l.role = role
	s.mu.Unlock()
	if role == None {
		s.health.bad(connecting, s.named(errPlace))
	} else {
		s.health.good(connecting)
	}
	return role
}

// move asks the members which node is to be used, and goes there where it is another.
func (s *Store) move(l *link) {
	ranked, err := s.survey(l.address)
	for _, m := range ranked {
		if m.address == l.address {
			break // it is as good as any that is left
		}
		next, err := s.use(m.address, m.role)
		if err != nil {
			continue
		}
		if l.done.Err() != nil { // it was lost meanwhile, and others look for the next
			next.close()
			return
		}
		s.logger.Info("the event store's node was left for another", "role", m.role)
		s.install(next)
		return
	}
	if err == nil || l.done.Err() == nil {
		s.there(l) // what runs on it goes on as well as it can, unless it is silent
	}
}
