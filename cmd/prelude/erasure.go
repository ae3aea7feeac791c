package main

import (
	"context"
	"fmt"

	"prelude/domain"
	"prelude/domain/user"
	"prelude/internal/eventlog"
	"prelude/internal/vault"
)

// erasures gives who was erased after a position of the log, and how far the log had come.
func erasures(ctx context.Context, log *eventlog.Log, after eventlog.Position,
) (erased []vault.Erased, to eventlog.Position, err error) {
	to, err = log.Head(ctx)
	if err != nil || to == 0 || after == to {
		return nil, to, err
	}
	if after > to {
		after = 0 // the log was restored from before that
	}
	filter := eventlog.Filter{Prefixes: []string{eventlog.UserCategory + "-"}}
	for signal, err := range log.Store.Subscribe(ctx, after, filter) {
		if err != nil {
			return nil, 0, fmt.Errorf("look for who was erased: %w", err)
		}
		if signal.Kind == eventlog.CaughtUp {
			break
		}
		if signal.Kind != eventlog.Event {
			continue
		}
		rec, err := eventlog.Decode(signal.Raw)
		if err != nil {
			return nil, 0, err
		}
		if e, ok := rec.Event.(user.Erased); ok {
			erased = append(erased, vault.Erased{Org: e.Org, User: e.User})
		}
	}
	return erased, to, nil
}

// reapply destroys the keys of who was erased, where the vault does not show that it was done: the destroying was cut
// off, or the vault was put back from before.
func (p *parts) reapply(ctx context.Context) error {
	from, err := p.vault.Applied(ctx, p.logID)
	if err != nil {
		return err
	}
	erased, to, err := erasures(ctx, p.log, from)
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

// newest is how many of the log's last events are held against the vault.
const newest = 1000

// unknownKeys says how many keys the log's newest events name, and how many of those the vault has never heard of:
// keys are made before what they seal, so a vault that lacks any is older than the log.
func unknownKeys(ctx context.Context, log *eventlog.Log,
	unknown func(context.Context, []domain.KeyID) (int, error)) (named, lacking int, err error) {
	seen := map[domain.KeyID]bool{}
	var ids []domain.KeyID
	for raw, err := range log.Store.ReadAll(ctx, eventlog.End, eventlog.Backwards, newest) {
		if err != nil {
			return 0, 0, fmt.Errorf("read the log's end: %w", err)
		}
		rec, err := eventlog.Decode(raw)
		if err != nil {
			continue // the store's own, or a fault that others tell of
		}
		for _, id := range rec.SealedUnder() {
			if !seen[id] {
				seen[id] = true
				ids = append(ids, id)
			}
		}
	}
	if len(ids) == 0 {
		return 0, 0, nil
	}
	lacking, err = unknown(ctx, ids)
	return len(ids), lacking, err
}

// olderVault is what is wrong with a vault that lacks keys.
func olderVault(named, lacking int) string {
	return fmt.Sprintf("the vault has never heard of %d of the %d keys that the log's newest events name: it is older "+
		"than the log, and what is sealed under them cannot be read", lacking, named)
}

// startVault brings the vault to what the log says before anything is served from it, and warns of one that is older
// than the log.
func (p *parts) startVault(ctx context.Context) error {
	if err := p.reapply(ctx); err != nil {
		return err
	}
	named, lacking, err := unknownKeys(ctx, p.log, p.vault.Unknown)
	if lacking > 0 {
		p.logger.Warn(olderVault(named, lacking) + ": restore a newer backup of it, with prelude vault restore")
	}
	return err
}
