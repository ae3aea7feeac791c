package commands

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"prelude/internal/eventlog"
)

// ErrOtherInstallation: the event store holds the log of another installation, whose keys this one's vault does not
// have.
var ErrOtherInstallation = errors.New("another installation needs an event store of its own. Where it is the same " +
	"one, DATABASE_URL leads to the database of another; after a loss of the database put the vault's newest backup " +
	"back with prelude vault restore")

// Identify gives the log's id. A log without one gets one, with the name of the installation whose it is. Error:
// [ErrOtherInstallation].
func (e *Engine) Identify(ctx context.Context, installation string) (id string, err error) {
	for tries := e.Conflicts.begin(ctx); ; {
		all, err := e.Log.Identified(ctx)
		if err != nil {
			return "", err
		}
		if len(all) > 0 {
			return all[0].Log, others(all, installation)
		}
		err = e.identified(ctx, eventlog.None, eventlog.Identified{Log: uuid.NewString(), Installation: installation})
		if err != nil && (!errors.Is(err, eventlog.ErrMoved) || !tries.wait(ctx)) {
			return "", err
		}
	}
}

// Own has a log that does not say whose it is, or is to be another installation's from now on, say so.
func (e *Engine) Own(ctx context.Context, installation string) error {
	for tries := e.Conflicts.begin(ctx); ; {
		all, err := e.Log.Identified(ctx)
		if err != nil || len(all) == 0 || ownerOf(all) == installation {
			return err
		}
		ours := eventlog.Identified{Log: all[0].Log, Installation: installation}
		err = e.identified(ctx, eventlog.Revision(len(all)-1), ours)
		if err == nil || !errors.Is(err, eventlog.ErrMoved) || !tries.wait(ctx) {
			return err
		}
	}
}

func (e *Engine) identified(ctx context.Context, last eventlog.Revision, event eventlog.Identified) error {
	meta := eventlog.Meta{Job: "setup", Command: uuid.New(), Step: uuid.New(), At: e.Now()}
	_, _, err := e.Log.Append(ctx, eventlog.IdentityStream, last, meta, []any{event})
	return err
}

// ownerOf is whose the log is; empty: it does not say.
func ownerOf(all []eventlog.Identified) string {
	for _, i := range all {
		if i.Installation != "" {
			return i.Installation
		}
	}
	return ""
}

func others(all []eventlog.Identified, installation string) error {
	if owner := ownerOf(all); owner != "" && owner != installation {
		return fmt.Errorf("the event store holds the log %s of another installation: %w", all[0].Log, ErrOtherInstallation)
	}
	return nil
}
