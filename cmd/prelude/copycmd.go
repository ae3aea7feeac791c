package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"prelude/internal/eventstore"
)

type logCopyCmd struct {
	From string `env:"PRELUDE_COPY_FROM" required:"" placeholder:"esdb://…" help:"The store to copy from."`
	To   string `env:"PRELUDE_COPY_TO" required:"" placeholder:"esdb://…" help:"The store to copy to: empty, or as an earlier copy left it."`
}

var (
	errDigests = errors.New("the two stores differ: see above")
	errHeads   = errors.New("some streams could not be copied: see above")
)

// Run copies a log.
func (c logCopyCmd) Run(ctx context.Context, cfg *Config, s streams) error {
	if err := errors.Join(cfg.check(), c.check()); err != nil {
		return err
	}
	from, err := openStore(ctx, cfg, s, "PRELUDE_COPY_FROM", c.From)
	if err != nil {
		return err
	}
	to, err := openStore(ctx, cfg, s, "PRELUDE_COPY_TO", c.To)
	if err != nil {
		return errors.Join(err, from.Close())
	}
	err = (&copying{from: from, to: to, gauge: newGauge(s.err, "copy")}).run(ctx, s)
	if err != nil && ctx.Err() != nil {
		err = errors.New("interrupted; the same command goes on from here")
	}
	return errors.Join(err, from.Close(), to.Close())
}

func (c logCopyCmd) check() error {
	var faults []error
	for _, a := range [][2]string{{"PRELUDE_COPY_FROM", c.From}, {"PRELUDE_COPY_TO", c.To}} {
		if !strings.HasPrefix(a[1], "esdb://") && !strings.HasPrefix(a[1], "esdb+discover://") {
			faults = append(faults, fmt.Errorf("%s must begin with esdb:// or esdb+discover://", a[0]))
		}
	}
	if c.From == c.To {
		faults = append(faults, errors.New("PRELUDE_COPY_TO must be another store than PRELUDE_COPY_FROM"))
	}
	return errors.Join(faults...)
}

func openStore(ctx context.Context, cfg *Config, s streams, name, address string) (*eventstore.Store, error) {
	store, err := eventstore.Open(eventstore.Config{Address: address, Logger: cfg.logger(s.err)})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	ready, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := store.Ready(ready); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: no event store answers there: %w", name, err), store.Close())
	}
	return store, nil
}

// run copies, and then compares both sides.
func (c *copying) run(ctx context.Context, s streams) error {
	if err := c.copyAll(ctx); err != nil {
		return err
	}
	id, err := c.finish(ctx)
	if err != nil {
		return err
	}
	there := newDigests()
	if err := c.read(ctx, c.to, there.add); err != nil {
		return fmt.Errorf("read what was copied: %w", err)
	}
	source, target := c.digests.sum(), there.sum()
	fmt.Fprintf(s.out, "%d events copied, %d were there already, in %d streams; the log's id is %s\n", c.copied,
		c.skipped, len(c.digests), id)
	fmt.Fprintf(s.out, "not kept: positions, and the times at which the store took the events\n")
	if c.tombstones > 0 {
		fmt.Fprintf(s.out, "not kept: that %d streams were deleted for good; what is left of them was copied\n",
			c.tombstones)
	}
	for _, name := range slices.Sorted(maps.Keys(c.beheaded)) {
		fmt.Fprintf(s.out, "not copied: %s, which begins at revision %d: its revisions cannot be kept\n", name,
			c.beheaded[name])
	}
	fmt.Fprintf(s.out, "digest of the source %s\ndigest of the target %s\n", hex.EncodeToString(source),
		hex.EncodeToString(target))
	switch {
	case string(source) != string(target):
		return errDigests
	case len(c.beheaded) > 0:
		return errHeads
	}
	return nil
}
