package commands

import (
	"context"
	"time"

	"prelude/domain"
	"prelude/domain/session"
	"prelude/internal/eventlog"
)

// Expire ends a session if the last that happened in it lies before a time, and then destroys its keys; those of one
// that ended before are destroyed once more, for they may have come back with a backup. It says whether the session
// has ended.
func (h Sessions) Expire(ctx context.Context, o domain.OrgID, id domain.SessionID, before time.Time, days int,
	vault Eraser) (bool, error) {
	meta := Meta{By: domain.Principal{Org: o, Job: "retention"}, Command: newCommand()}
	left, err := transact(ctx, h.Engine, eventlog.SessionStream(o, id), meta.Step("expire"),
		func(s session.Session, _ *Meta) ([]session.Event, error) { return s.Expire(before, days, h.Now()) })
	if err != nil || left.State.ExpiredAt == nil {
		return false, err
	}
	return true, vault.Expire(ctx, o, id)
}
