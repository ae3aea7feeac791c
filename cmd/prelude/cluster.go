package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/google/uuid"

	"prelude/domain"
	"prelude/domain/session"
	"prelude/internal/api"
	"prelude/internal/eventlog"
	"prelude/internal/filelock"
	"prelude/internal/postgres"
	"prelude/internal/search"
	"prelude/projections"
	"prelude/readmodels"
)

// takeHome takes the data folder for this process, until it is closed, and gives the folder's own name: whoever has
// the folder now knows that the process that had it is gone.
func (p *parts) takeHome() (string, error) {
	if err := p.cfg.folder(); err != nil {
		return "", err
	}
	f, err := filelock.Take(p.cfg.path("instance.lock"))
	if errors.Is(err, filelock.ErrTaken) {
		return "", errAlone
	}
	if err != nil {
		return "", fmt.Errorf("take the data folder: %w", err)
	}
	p.onClose(f.Close)
	text, err := io.ReadAll(f)
	if home := strings.TrimSpace(string(text)); err != nil || home != "" {
		return home, err
	}
	home := uuid.NewString()
	if _, err := f.WriteString(home + "\n"); err != nil {
		return "", fmt.Errorf("name the data folder: %w", err)
	}
	return home, nil
}

// joinOthers enters this process in the register of instances, which refuses a second of one id.
func (s *server) joinOthers(ctx context.Context) error {
	home, err := s.takeHome()
	if err != nil {
		return err
	}
	id, err := s.cfg.instanceID()
	if err != nil {
		return err
	}
	s.instances = &postgres.Instances{Pool: s.pool, Logger: s.logger, Me: postgres.Instance{ID: id, Home: home,
		Boot: time.Now().UnixMilli(), Advertise: cmp.Or(s.cfg.Advertise, s.url())}}
	if err := s.instances.Announce(ctx); err != nil {
		return err
	}
	s.onClose(func() error { within(leaveFor, s.leave); return nil })
	return nil
}

// leaveFor is how long saying goodbye may take. Who does not hear of it learns of it by the silence.
const leaveFor = 300 * time.Millisecond

func (s *server) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), leaveFor)
	defer cancel()
	if err := s.instances.Leave(ctx); err != nil {
		s.logger.Warn("others are not told that this instance stops", "error", err)
	}
}

// producer is this process as replies name it.
func (s *server) producer() session.Producer {
	return session.Producer{Instance: s.instances.Me.ID, Boot: s.instances.Me.Boot}
}

func (s *server) gone(p session.Producer) bool { return s.instances.Gone(p.Instance, p.Boot) }

func (s *server) address(ctx context.Context, p session.Producer) (string, error) {
	return s.instances.Address(ctx, p.Instance, p.Boot)
}

// sweepEvery is how often lost replies are looked for; instances do so at different moments.
const sweepEvery = 10 * time.Second

// sweep closes replies whose producer is gone, whichever instance that was, until the context ends.
func (s *server) sweep(ctx context.Context) error {
	for {
		select {
		case <-time.After(sweepEvery/2 + rand.N(sweepEvery)): //nolint:gosec // a pause, not a secret
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if _, err := s.closeOrphans(ctx); err != nil && ctx.Err() == nil {
			s.logger.Warn("lost replies are not closed now", "error", err)
		}
	}
}

// closeOrphans closes the replies that nobody makes any more. It gives the position of the last end.
func (s *server) closeOrphans(ctx context.Context) (eventlog.Position, error) {
	orphans, err := s.api.Read.Orphans(ctx, postgres.Silence)
	if err != nil {
		return 0, err
	}
	last, closed := eventlog.Position(0), 0
	for _, o := range orphans {
		at, err := s.api.Sessions.Recover(ctx, o.Org, o.Session, o.Reply)
		if err != nil {
			return last, fmt.Errorf("close a lost reply: %w", err)
		}
		if last = max(last, at); at > 0 {
			closed++
		}
	}
	if closed > 0 {
		s.logger.Warn("lost replies were closed", "replies", closed)
	}
	return last, nil
}

// looked is how this program looks after its readers; it implements api.Readers.
type looked struct {
	engine   *projections.Engine
	progress *projections.Progress
	readers  []projections.Reader
	index    *search.Client // nil: Postgres searches
}

var _ api.Readers = looked{}

// mostLag is how many events are counted that a reader has not applied.
const mostLag = 10_000

// Lag implements api.Readers. What the live subscription has seen pass needs no look at the log.
func (l looked) Lag(ctx context.Context, p readmodels.Projection) (int, time.Time, bool, error) {
	return l.lag(ctx, p, mostLag)
}

func (l looked) lag(ctx context.Context, p readmodels.Projection, most int) (int, time.Time, bool, error) {
	r, ours := l.reader(p.Reader)
	if !ours || r.Version != p.Version {
		return 0, time.Time{}, false, nil
	}
	head, err := l.engine.Log.Head(ctx)
	if err != nil || l.progress.Reached(r.Name, head) {
		return 0, time.Time{}, err == nil, err
	}
	lag, err := projections.Behind(ctx, l.engine.Log, r, p.Position, most)
	return lag.Events, lag.Since, true, err
}

// Unpark implements api.Readers.
func (l looked) Unpark(ctx context.Context, reader string, stream eventlog.Stream) (bool, error) {
	r, ours := l.reader(reader)
	if !ours {
		return false, errNoReader
	}
	err := l.engine.Unpark(ctx, r, stream)
	switch {
	case errors.Is(err, projections.ErrNotParked):
		return false, nil
	case errors.Is(err, projections.ErrStillPoison):
		err = &domain.Error{Kind: domain.Conflict, Code: "still_parked",
			Detail: strings.ToUpper(err.Error()[:1]) + err.Error()[1:] + "."}
	}
	return err == nil, err
}

func (l looked) reader(name string) (projections.Reader, bool) {
	for _, r := range l.readers {
		if r.Name == name {
			return r, true
		}
	}
	return projections.Reader{}, false
}
