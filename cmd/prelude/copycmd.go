package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"prelude/internal/eventstore"
)

type logCopyCmd struct {
	From string `env:"PRELUDE_COPY_FROM" required:"" placeholder:"esdb://…" help:"The store to copy from."`
	To   string `env:"PRELUDE_COPY_TO" required:"" placeholder:"esdb://…" help:"The store to copy to: without a log of Prelude, or as an earlier copy left it."`
	All  bool   `env:"PRELUDE_COPY_ALL" help:"Copy the streams of other applications in the store too."`
}

var errDigests = errors.New("the two stores differ: see above")

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
	err = (&copying{from: from, to: to, all: c.All, gauge: newGauge(s, "copy")}).run(ctx, s)
	if err != nil && ctx.Err() != nil {
		err = errors.New("interrupted; the same command goes on from here")
	}
	return errors.Join(err, from.Close(), to.Close())
}

func (c logCopyCmd) check() error {
	var faults []error
	for _, a := range [][2]string{{"PRELUDE_COPY_FROM", c.From}, {"PRELUDE_COPY_TO", c.To}} {
		if err := eventstore.CheckAddress(a[1]); err != nil {
			faults = append(faults, fmt.Errorf("%s %w", a[0], err))
		}
	}
	if c.From == c.To {
		faults = append(faults, errors.New("PRELUDE_COPY_TO must be another store than PRELUDE_COPY_FROM"))
	}
	return errors.Join(faults...)
}

// copyPatience is how long a store may take to answer: whoever copies has both running.
const copyPatience = 4 * time.Second

func openStore(ctx context.Context, cfg *Config, s streams, name, address string) (*eventstore.Store, error) {
	store, err := eventstore.Open(eventstore.Config{Address: address, Name: name, Logger: cfg.logger(s.err)})
	if err != nil {
		return nil, err
	}
	ready, cancel := context.WithTimeout(ctx, copyPatience)
	defer cancel()
	if err := store.Readable(ready); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, storeFault(err)), store.Close())
	}
	return store, nil
}

// run copies, and then compares both sides.
func (c *copying) run(ctx context.Context, s streams) error {
	if err := c.apart(ctx); err != nil {
		return err
	}
	if err := c.copyAll(ctx); err != nil {
		return err
	}
	id, err := c.finish(ctx)
	if err != nil {
		return err
	}
	source := c.digests.sum()
	target, err := c.digestOfTarget(ctx)
	if err != nil {
		return err
	}
	c.report(s.out, id)
	fmt.Fprintf(s.out, "digest of the source %s\ndigest of the target %s\n", hex.EncodeToString(source),
		hex.EncodeToString(target))
	if string(source) != string(target) {
		return errDigests
	}
	return nil
}

// report says what was copied, and what of the source is not the same in the target.
func (c *copying) report(out io.Writer, id string) {
	fmt.Fprintf(out, "%d events copied, %d were there already, in %d streams; the log's id is %s\n", c.copied,
		c.skipped, len(c.digests), id)
	if c.limitsKept > 0 {
		fmt.Fprintf(out, "metadata of %d streams copied, %d of them without events\n", c.limitsKept, c.bare)
	}
	fmt.Fprintln(out, "not kept: positions, and the times at which the store took the events")
	if n := len(c.buried); n > 0 {
		fmt.Fprintf(out, "not kept: that %d streams were deleted for good; in the target they are hidden, and their names "+
			"can be used again\n", n)
	}
	if c.own > 0 {
		fmt.Fprintf(out, "not copied: %d events of the store's own streams, whose names begin with $\n", c.own)
	}
	c.others.tell(out, "not copied, --all does it")
	for _, name := range slices.Sorted(maps.Keys(c.begins)) {
		fmt.Fprintf(out, "%s begins at revision %d, as in the source; what fills the place before it is hidden\n",
			printable(name), c.begins[name])
	}
}
