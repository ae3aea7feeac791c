package main

import (
	"context"
	"errors"
	"fmt"

	"prelude/domain"
	"prelude/domain/user"
	"prelude/internal/eventlog"
	"prelude/internal/vault"
)

// erasures gives who was erased after a position of the log, and how far the log had come.
func erasures(ctx context.Context, log *eventlog.Log, after eventlog.Position, g *gauge,
) (erased []vault.Erased, to eventlog.Position, err error) {
	to, err = log.Head(ctx)
	if err != nil || to == 0 || after == to {
		return nil, to, err
	}
	if after > to {
		after = 0 // the log was restored from before that
	}
	names := eventlog.NamesOf(user.Erased{})
	filter := eventlog.Filter{Prefixes: []string{eventlog.UserCategory + "-"}}
	for signal, err := range log.Store.Subscribe(ctx, after, filter) {
		if err != nil {
			return nil, 0, fmt.Errorf("look for who was erased: %w", err)
		}
		g.reads("who was erased", signal.Position, to)
		if signal.Kind == eventlog.CaughtUp {
			break
		}
		if signal.Kind != eventlog.Event || !names[signal.Raw.Type] {
			continue
		}
		e, is, err := erasure(ctx, log, signal.Raw)
		if err != nil {
			return nil, 0, err
		}
		if is {
			erased = append(erased, vault.Erased{Org: e.Org, User: e.User})
		}
	}
	return erased, to, nil
}

// erasure reads an event that is named as one. What is of another application is none; nor is what cannot be read,
// unless it is of an org of this log: then an erasure would be missed.
func erasure(ctx context.Context, log *eventlog.Log, raw eventlog.Raw) (e user.Erased, is bool, err error) {
	rec, err := eventlog.Decode(raw)
	if errors.Is(err, eventlog.ErrForeign) {
		return e, false, nil
	}
	if err != nil {
		ours, asked := founded(ctx, log, raw.Stream)
		if asked == nil && !ours {
			return e, false, nil
		}
		return e, false, errors.Join(fmt.Errorf("event %d of %s cannot be read: %w", raw.Revision, raw.Stream, err), asked)
	}
	e, is = rec.Event.(user.Erased)
	return e, is, nil
}

// reapply destroys the keys of who was erased, where the vault does not show that it was done: the destroying was cut
// off, or the vault was put back from before.
func (p *parts) reapply(ctx context.Context) error {
	from, err := vault.Applied(ctx, p.pool, p.logID)
	if err != nil {
		return err
	}
	erased, to, err := erasures(ctx, p.log, from, p.gauge)
	if err != nil {
		return err
	}
	for _, e := range erased {
		if err := p.vault.Erase(ctx, e.Org, e.User); err != nil {
			return err
		}
	}
	if len(erased) > 0 {
		p.logger.Info("erasures were applied to the vault", "users", len(erased))
	}
	return p.vault.NoteApplied(ctx, p.logID, from, to)
}

// keysAtOnce is how many keys the vault is asked for in one question.
const keysAtOnce = 10_000

// unknownKeys says how many keys the log's events after a position name, and of which of those the vault behind q has
// never heard. Keys are made before what they seal, so a vault that lacks any is older than the log.
func unknownKeys(ctx context.Context, log *eventlog.Log, after eventlog.Position, q vault.Querier, g *gauge,
) (named int, lacking []domain.KeyID, err error) {
	to, err := log.Head(ctx)
	if err != nil {
		return 0, nil, err
	}
	if after > to {
		after = 0 // the log was restored from before that
	}
	seen := map[domain.KeyID]bool{}
	var ids []domain.KeyID
	ask := func() error {
		unknown, err := vault.Unknown(ctx, q, ids)
		lacking, ids = append(lacking, unknown...), ids[:0]
		return err
	}
	for signal, err := range log.Store.Subscribe(ctx, after, eventlog.Filter{}) {
		if err != nil {
			return len(seen), lacking, fmt.Errorf("look for keys in the log: %w", err)
		}
		g.reads("keys that the log names", signal.Position, to)
		if signal.Kind == eventlog.CaughtUp {
			break
		}
		if signal.Kind != eventlog.Event {
			continue
		}
		rec, err := eventlog.Decode(signal.Raw)
		if err != nil {
			continue // the store's own, or a fault that others tell of
		}
		for _, id := range rec.SealedUnder() {
			if !seen[id] {
				seen[id] = true
				ids = append(ids, id)
			}
		}
		if len(ids) >= keysAtOnce {
			if err := ask(); err != nil {
				return len(seen), lacking, err
			}
		}
	}
	err = ask()
	return len(seen), lacking, err
}

// errOlderVault is why nothing is done with a vault that is older than the log: keys of the same names would be made
// anew, and a newer backup could not be put back any more.
var errOlderVault = errors.New("the vault is older than the log: restore a newer backup of it with prelude vault " +
	"restore, or, if there is none, end what is sealed under the missing keys with prelude vault give-up")

// olderVault is what is wrong with a vault that lacks keys.
func olderVault(named, lacking int) error {
	return fmt.Errorf("the vault has never heard of %d of the %d keys that the log's newest events name: %w", lacking,
		named, errOlderVault)
}

// compareVault refuses a vault that lacks keys which the log names.
func (p *parts) compareVault(ctx context.Context) error {
	named, lacking, err := newKeys(ctx, p.log, p.logID, p.pool, p.gauge)
	if err == nil && len(lacking) > 0 {
		err = olderVault(named, len(lacking))
	}
	return err
}

// newKeys is unknownKeys after what was gone through already, by a start or, once an hour, by a server: a vault that is
// in use makes the keys that are named.
func newKeys(ctx context.Context, log *eventlog.Log, logID string, q vault.Querier, g *gauge,
) (named int, lacking []domain.KeyID, err error) {
	after, err := vault.Applied(ctx, q, logID)
	if err != nil {
		return 0, nil, err
	}
	return unknownKeys(ctx, log, after, q, g)
}
