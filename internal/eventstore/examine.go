package eventstore

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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
	// Fault is why some rights could not be tried, with a [Reason] where one is known: the store does not answer all
	// calls now, whoever asks. Nil: all were tried.
	Fault error
}

// Member is a node of the cluster, as the node in use tells of it.
type Member struct {
	Address string
	Role    Role
	Alive   bool
}

// Right is something that Prelude has to be allowed to do. Trying it changes nothing.
type Right struct {
	What  string
	Tried bool  // false: the store gave no answer to it
	Err   error // why it is refused to who asks; nil: it is not
}

// May says that it was tried and not refused.
func (r Right) May() bool { return r.Tried && r.Err == nil }

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
	ends := make([]error, len(trials))
	var all sync.WaitGroup
	for i, trial := range trials {
		e.Rights[i].What = trial.what
		all.Go(func() { ends[i] = s.insist(ctx, trial.try) })
	}
	all.Wait()
	for i, err := range ends {
		switch r := &e.Rights[i]; {
		case err == nil || kindOf(err) == denied:
			r.Tried, r.Err = true, err
		case e.Fault == nil:
			e.Fault = s.explainTrial(e.Address, err)
		}
	}
	return e, nil
}

// insist makes a trial call, again while a node that is starting, or another connection, may still answer it.
func (s *Store) insist(ctx context.Context, try func(context.Context, *link) error) error {
	var why error
	for {
		l, err := s.acquireIfAny(ctx)
		if err == nil {
			err = try(ctx, l)
		}
		if err == nil {
			return nil
		}
		why = telling(why, err)
		kind := kindOf(err)
		if l == nil || kind != transport && kind != elsewhere || !sleep(ctx, jitter(firstPause)) {
			return why
		}
	}
}

// explainTrial gives the reason why a trial call failed that was refused to nobody. A store that gives no answer to one
// kind of call hangs as one does that gives none to any.
func (s *Store) explainTrial(address string, err error) error {
	switch {
	case ReasonOf(err) != nil:
		return err
	case errors.Is(err, errSilent), errors.Is(err, errLate), errors.Is(err, context.DeadlineExceeded),
		status.Code(err) == codes.DeadlineExceeded:
		return explained{s.named(errMute), err}
	}
	return s.explain(address, err)
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
