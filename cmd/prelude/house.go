package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"prelude/commands"
	"prelude/domain"
)

// houseEvery is how often what is to be forgotten is looked for; up to a quarter more is added, so that instances
// which started together do not all do it at once.
const houseEvery = time.Hour

// houseAtStart is how long a start waits for it. A vault that was put back from before may hold what has expired.
const houseAtStart = 10 * time.Second

// clockMayDiffer is how far this process's clock may be from the database's where texts are destroyed by age.
const clockMayDiffer = 5 * time.Minute

// keepHouse destroys what is to be forgotten, once an hour until the context ends. What fails is tried again the next
// time.
func (s *server) keepHouse(ctx context.Context) {
	for {
		pause := time.NewTimer(houseEvery + rand.N(houseEvery/4)) //nolint:gosec // it is no secret
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
		s.houseOnce(ctx)
	}
}

// houseOnce goes through all that is to be forgotten.
func (s *server) houseOnce(ctx context.Context) {
	if err := s.reapply(ctx); err != nil && ctx.Err() == nil {
		s.logger.Error("erasures were not applied", "error", err)
	}
	now := s.parts.engine.Now()
	switch differs, err := s.clockDiffers(ctx, now); {
	case ctx.Err() != nil:
		return
	case err != nil:
		s.logger.Error("idle sessions are not looked for", "error", err)
		return
	case differs:
		s.logger.Warn("idle sessions are not looked for: the clock is not the database's")
		return
	}
	sessions, err := s.retain(ctx, now)
	if err != nil && ctx.Err() == nil {
		s.logger.Error("the texts of idle sessions were not all destroyed", "error", err)
	}
	if sessions > 0 {
		s.parts.engine.Forget() // states hold what was appended here open
		s.logger.Info("the texts of idle sessions were destroyed", "sessions", sessions)
	}
}

// clockDiffers says whether one of two clocks is wrong: what is destroyed by a wrong one does not come back.
func (s *server) clockDiffers(ctx context.Context, now time.Time) (bool, error) {
	var theirs time.Time
	if err := s.pool.QueryRow(ctx, "SELECT now()").Scan(&theirs); err != nil {
		return false, fmt.Errorf("ask the database for the time: %w", err)
	}
	return now.Sub(theirs).Abs() > clockMayDiffer, nil
}

// idlePage is how many sessions are looked at in one go.
const idlePage = 500

// retain destroys the keys of what is older than its org keeps texts, and says of how many sessions. A session that
// cannot be ended holds up no other.
func (s *server) retain(ctx context.Context, now time.Time) (sessions int, err error) {
	orgs, err := s.api.Read.Orgs(ctx)
	for _, o := range orgs {
		n, failed := s.retainOrg(ctx, o, now)
		sessions, err = sessions+n, errors.Join(err, failed)
		if ctx.Err() != nil {
			break
		}
	}
	return sessions, err
}

// retainOrg begins with the keys that there are, not with the sessions: so what came back with a backup is destroyed
// once more, and what was destroyed is not looked at again.
func (s *server) retainOrg(ctx context.Context, o domain.OrgID, now time.Time) (sessions int, err error) {
	policy, err := commands.Orgs{Engine: s.parts.engine}.Policy(ctx, o)
	before, expires := policy.Expires(now)
	if err != nil || !expires {
		return 0, err
	}
	if err := s.vault.ExpireDays(ctx, o, before.UTC().Format(time.DateOnly)); err != nil {
		return 0, err
	}
	for after := domain.SessionID(""); ; {
		ids, failed := s.vault.Sessions(ctx, o, after, idlePage)
		if failed != nil || len(ids) == 0 {
			return sessions, errors.Join(err, failed)
		}
		after = ids[len(ids)-1]
		idle, failed := s.api.Read.Idle(ctx, o, ids, before)
		if err = errors.Join(err, failed); ctx.Err() != nil {
			return sessions, err
		}
		for _, id := range idle {
			ended, failed := s.api.Sessions.Expire(ctx, o, id, before, policy.RetentionDays, s.vault)
			if failed != nil {
				err = errors.Join(err, fmt.Errorf("session %s: %w", id, failed))
			}
			if ended {
				sessions++
			}
		}
	}
}
