package main

import (
	"context"
	"errors"
	"fmt"

	"prelude/commands"
	"prelude/internal/vault"
)

type vaultCmd struct {
	Backup  vaultBackupCmd  `cmd:"" help:"Write all keys to a new file, wrapped as they are."`
	Restore vaultRestoreCmd `cmd:"" help:"Put the keys of a backup back; what was erased stays erased."`
	Rotate  vaultRotateCmd  `cmd:"" help:"Replace the master key."`
	GiveUp  vaultGiveUpCmd  `cmd:"" help:"End what is sealed under keys that the vault lacks, where no backup has them."`
}

type vaultBackupCmd struct {
	File string `arg:"" type:"path" help:"The file; it must not be there yet."`
}

// Run writes a backup, also while a server runs.
func (c vaultBackupCmd) Run(ctx context.Context, cfg *Config, s streams) error {
	return withVault(ctx, cfg, s, false, func(p *parts) error {
		at, err := p.log.Head(ctx)
		if err != nil {
			return err
		}
		if err := p.openWhole(ctx); err != nil {
			return err
		}
		keys, err := p.vault.Backup(ctx, c.File, p.logID, at)
		if err != nil {
			return fmt.Errorf("%s: %w", c.File, err)
		}
		_, err = fmt.Fprintf(s.out, "%d keys, for the log up to position %d\nthe master key is not in it: %s\n", keys, at,
			cfg.masterKey())
		return err
	})
}

type vaultRestoreCmd struct {
	File string `arg:"" type:"existingfile" help:"A backup."`
}

// Run merges a backup into the vault, which nobody else has open.
func (c vaultRestoreCmd) Run(ctx context.Context, cfg *Config, s streams) error {
	return withVault(ctx, cfg, s, true, func(p *parts) error {
		if err := p.settle(ctx); err != nil {
			return err
		}
		key, _, err := vault.MasterKey(cfg.masterKey(), false)
		if err != nil {
			return err
		}
		erased, _, err := erasures(ctx, p.log, 0, p.gauge)
		if err != nil {
			return err
		}
		// A log that was restored or copied has a new id, and the keys of before.
		ids, err := p.log.Identities(ctx)
		if err != nil {
			return err
		}
		if err := p.place.Held(ctx); err != nil {
			return err
		}
		r, err := vault.Restore(ctx, p.pool, key, c.File, ids, erased)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(s.out, "%d keys of the log up to position %d; %d were not there\n"+
			"%d users whom the log says were erased are erased\n", r.Keys, r.Position, r.Added, len(erased))
		return err
	})
}

type vaultRotateCmd struct{}

// Run replaces the master key, while nobody else has the vault open.
func (c vaultRotateCmd) Run(ctx context.Context, cfg *Config, s streams) error {
	return withVault(ctx, cfg, s, true, func(p *parts) error {
		// The backup that a vault lacks keys of would be of another master key afterwards.
		if err := p.openWhole(ctx); err != nil {
			return err
		}
		if err := p.place.Held(ctx); err != nil {
			return err
		}
		keys, err := p.vault.Rotate(ctx, cfg.masterKey())
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(s.out, "the master key in %s is a new one, and %d keys are wrapped by it\n"+
			"back up the file, and the vault anew: older backups open with the old key alone\n", cfg.masterKey(), keys)
		return err
	})
}

type vaultGiveUpCmd struct {
	Yes bool `env:"PRELUDE_VAULT_GIVE_UP_YES" help:"Do it; without it they are counted. No server may run."`
}

// Run marks the keys that the log names and the vault has never heard of as destroyed, for ever.
func (c vaultGiveUpCmd) Run(ctx context.Context, cfg *Config, s streams) error {
	return withVault(ctx, cfg, s, true, func(p *parts) error {
		named, lacking, err := unknownKeys(ctx, p.log, 0, p.pool, p.gauge)
		if err != nil {
			return err
		}
		what := "are lacking: with --yes what is sealed under them is given up for ever; nothing was changed"
		if c.Yes {
			if err := p.openVault(ctx, true); err != nil {
				return err
			}
			if err := p.place.Held(ctx); err != nil {
				return err
			}
			if err := p.vault.GiveUp(ctx, lacking); err != nil {
				return err
			}
			if err := commands.NewEngine(p.log, nil, p.logger).Own(ctx, p.vault.Installation()); err != nil {
				return err
			}
			what = "were lacking, and are marked as destroyed"
		}
		_, err = fmt.Fprintf(s.out, "%d of the %d keys that the log names %s\n", len(lacking), named, what)
		return err
	})
}

var errNoLog = errors.New("the log is empty: there is nothing that a vault could hold the keys of")

// withVault opens the log and the database, but not the vault. Alone: a server that runs here is in the way.
func withVault(ctx context.Context, cfg *Config, s streams, alone bool, do func(*parts) error) error {
	if err := cfg.check(); err != nil {
		return err
	}
	p, err := openLog(ctx, cfg, cfg.logger(s.err), alone)
	if err == nil {
		p.gauge = newGauge(s, "vault")
		p.logID, err = p.log.Identity(ctx)
	}
	if err == nil && p.logID == "" {
		err = errNoLog
	}
	if err == nil {
		err = p.openDatabase(ctx)
	}
	if err == nil {
		err = p.takePlace(ctx, alone)
	}
	if err == nil {
		err = do(p)
	}
	return errors.Join(err, p.Close())
}

// openWhole opens a vault that has all keys which the log names.
func (p *parts) openWhole(ctx context.Context) error {
	if err := p.openVault(ctx, false); err != nil {
		return err
	}
	return p.compareVault(ctx)
}

// settle ends what a rotation left that was cut off.
func (p *parts) settle(ctx context.Context) error {
	found, err := vault.Settle(ctx, p.pool, p.cfg.masterKey())
	if found != "" {
		p.logger.Warn(found, "file", p.cfg.masterKey())
	}
	return err
}
