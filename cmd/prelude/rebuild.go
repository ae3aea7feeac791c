package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"prelude/commands"
	"prelude/internal/eventlog"
	"prelude/internal/postgres"
	"prelude/internal/vault"
	"prelude/projections"
)

type rebuildCmd struct {
	Yes     bool `env:"PRELUDE_REBUILD_YES" help:"Drop what is built from the log; the next serve builds it anew. No server may run."`
	Warm    bool `env:"PRELUDE_REBUILD_WARM" help:"Build this program's versions while another program's are served."`
	Verify  bool `env:"PRELUDE_REBUILD_VERIFY" help:"Build anew on the side, compare with what is served, and say where they differ."`
	DropOld bool `env:"PRELUDE_REBUILD_DROP_OLD" help:"Drop the tables and indexes of versions before this program's, if no program feeds them."`
}

var errRebuild = errors.New("say which: --yes drops what is built from the log (read models and the search index; " +
	"the vault, usage and the log stay), and the next serve builds it anew: stop all servers first; --warm builds this " +
	"program's versions while the server of another goes on; --verify compares what is served with what the log " +
	"says; --drop-old drops the versions before this program's")

// Run rebuilds in the way that was asked for.
func (c rebuildCmd) Run(ctx context.Context, cfg *Config, s streams) error {
	if err := cfg.check(); err != nil {
		return err
	}
	var run func(context.Context, *Config, streams) error
	asked := 0
	for _, way := range []struct {
		asked bool
		run   func(context.Context, *Config, streams) error
	}{{c.Yes, dropBuilt}, {c.Warm, warm}, {c.Verify, verify}, {c.DropOld, dropOld}} {
		if way.asked {
			run = way.run
			asked++
		}
	}
	if asked != 1 {
		return errRebuild
	}
	return run(ctx, cfg, s)
}

// dropBuilt drops what this program's versions keep, and takes back to the log's end what was sent out of a log that
// ended later.
func dropBuilt(ctx context.Context, cfg *Config, s streams) error {
	p, err := openLog(ctx, cfg, cfg.logger(s.err), true)
	if err == nil {
		err = p.openDatabase(ctx)
	}
	if err == nil {
		err = p.takePlace(ctx, true)
	}
	if err == nil {
		err = p.ownLog(ctx)
	}
	if err != nil {
		return errors.Join(err, p.Close())
	}
	for _, step := range []func() error{
		func() error {
			cut, err := projections.Cut(ctx, p.pool, p.log)
			if err != nil {
				return err
			}
			return postgres.Owned(ctx, p.dsn, slices.Concat(projections.Drop(), projections.Build(), cut)...)
		},
		func() error { return adopt(ctx, p, s) },
		func() error { return vault.Unapply(ctx, p.pool) },
		func() error { return dropIndex(ctx, p) },
	} {
		if err == nil {
			err = p.place.Held(ctx)
		}
		if err == nil {
			err = step()
		}
	}
	if err == nil {
		_, err = fmt.Fprintln(s.out, "dropped; the next serve builds it anew")
	}
	return errors.Join(err, p.Close())
}

// ownLog refuses the log of another installation, where there is a vault to tell by: to adopt it were to serve what
// nobody here has the keys of.
func (p *parts) ownLog(ctx context.Context) error {
	fresh, err := vault.Fresh(ctx, p.pool)
	if err != nil {
		return fmt.Errorf("look at the vault: %w", err)
	}
	if fresh {
		p.logID, err = p.log.Identity(ctx)
		return err
	}
	if err := p.openVault(ctx, true); err != nil {
		return err
	}
	p.logID, err = commands.NewEngine(p.log, nil, p.logger).Identify(ctx, p.vault.Installation())
	return err
}

// adopt makes the database that of this log, if it was of another, as after a restore. What it keeps besides the
// vault was of the other log.
func adopt(ctx context.Context, p *parts, s streams) error {
	if p.logID == "" {
		var err error
		if p.logID, err = commands.NewEngine(p.log, nil, p.logger).Identify(ctx, ""); err != nil {
			return fmt.Errorf("identify the log: %w", err)
		}
	}
	changed, err := postgres.Adopt(ctx, p.dsn, p.logID)
	if changed {
		fmt.Fprintln(s.out, "the database was of another log and is of this one now; its vault was kept")
	}
	return err
}

func dropIndex(ctx context.Context, p *parts) error {
	if p.cfg.OpenSearchURL == "" {
		return nil
	}
	index, err := openIndex(p)
	if err != nil {
		return err
	}
	return errors.Join(index.Drop(ctx), index.Close())
}

// warm builds this program's versions up to the log's end, beside a server or without one. They are fed by nobody until
// this program serves, which then has little left to do.
func warm(ctx context.Context, cfg *Config, s streams) error {
	return withReaders(ctx, cfg, s, func(ctx context.Context, p *parts, l looked) error {
		for _, r := range l.readers {
			if r.Name == projections.Out {
				continue // it keeps nothing, and sends nothing twice
			}
			head, err := p.log.Head(ctx)
			if err == nil {
				err = l.engine.Build(ctx, r, head, progressOf(s.err, r.Name, head))
			}
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(s.out, "%s, version %d, is built\n", r.Name, r.Version); err != nil {
				return err
			}
		}
		return nil
	})
}

// progressOf tells people every second how far a build is, and how long it will take from here.
func progressOf(w io.Writer, what string, to eventlog.Position) func(eventlog.Position) {
	began, said := time.Now(), time.Now()
	first := eventlog.Position(0)
	return func(at eventlog.Position) {
		if first == 0 {
			first = at
		}
		if time.Since(said) < time.Second || at <= first {
			return
		}
		said = time.Now()
		left := time.Duration(float64(time.Since(began)) * float64(to-min(at, to)) / float64(at-first))
		fmt.Fprintf(w, "%s: %d of 100 parts of the log, about %s left\n", what, at*100/to, left.Round(time.Second))
	}
}
