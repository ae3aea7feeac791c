package eventstore

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"

	"prelude/internal/eventlog"
)

// Examination is what an operator wants to know of a store.
type Examination struct {
	Address string // of the node in use, host:port
	Version string // as the store says it; empty: it does not
	Role    Role   // of that node
	Members []Member
	Rights  []Right
}

// Member is a node of the cluster, as the node in use tells of it.
type Member struct {
	Address string
	Role    Role
	Alive   bool
}

// Right is something that Prelude has to be allowed to do. It was tried; nothing was changed by that.
type Right struct {
	What string
	Err  error // nil: it may
}

// Examine looks at the store without changing anything. It does not wait for what waiting does not bring. Error:
// eventlog.ErrUnavailable, with a [Reason] where one is known; then nothing was tried.
func (s *Store) Examine(ctx context.Context) (Examination, error) {
	ctx, cancel := s.patience(ctx)
	defer cancel()
	l, err := s.acquireIfAny(ctx)
	if err != nil {
		return Examination{}, unavailable(ctx, err)
	}
	e := Examination{Address: l.address, Version: l.version, Role: l.role}
	if s.socket == "" {
		members, err := s.askMembers(ctx, l.conn)
		if err == nil { // a store may keep that to itself
			for _, m := range members {
				e.Members = append(e.Members, Member{m.address, m.role, m.alive})
			}
		}
	}
	trials := []struct {
		what string
		try  func(context.Context, *link) error
	}{
		{"read $all", s.tryRead},
		{"append", s.tryAppend},
		{"read streams", func(ctx context.Context, l *link) error { return s.tryStream(ctx, l, trialStream) }},
		{"read streams' metadata", func(ctx context.Context, l *link) error { return s.tryStream(ctx, l, "$$"+trialStream) }},
	}
	e.Rights = make([]Right, len(trials))
	var all sync.WaitGroup
	for i, trial := range trials {
		all.Go(func() { e.Rights[i] = Right{trial.what, trial.try(ctx, l)} })
	}
	all.Wait()
	return e, nil
}

// tryStream asks the node of a link whether a stream may be read. It need not be there.
func (s *Store) tryStream(ctx context.Context, l *link, stream string) error {
	req := request(1, eventlog.Backwards, ofStream(stream, eventlog.Last))
	err := s.receive(ctx, l, l.conn, req, func(protowire.Number, *eventlog.Raw) error { return nil })
	if errors.Is(err, eventlog.ErrGone) {
		return nil
	}
	return s.because(err, false)
}
