package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"prelude/internal/postgres"
	"prelude/projections"
)

var errFed = errors.New("nothing is dropped: stop the programs of older versions first; one that was killed counts " +
	"as stopped after a few seconds")

// dropOld drops the tables and the indexes of versions before this program's, which nobody may be feeding. Going back
// to the programs of those builds them anew.
func dropOld(ctx context.Context, cfg *Config, s streams) error {
	p := &parts{cfg: cfg, logger: cfg.logger(s.err)}
	if err := p.openDatabase(ctx); err != nil {
		return errors.Join(err, p.Close())
	}
	dropped, err := p.dropTables(ctx, s)
	if err == nil && cfg.OpenSearchURL != "" {
		var indexes int
		indexes, err = p.dropIndexes(ctx, s)
		dropped += indexes
	}
	if err == nil && dropped == 0 {
		_, err = fmt.Fprintln(s.out, "there are no versions before this program's")
	}
	return errors.Join(err, p.Close())
}

// dropTables drops tables, in one transaction that ends without effect where an older program begins meanwhile.
func (p *parts) dropTables(ctx context.Context, s streams) (dropped int, err error) {
	conn, err := postgres.Look(ctx, p.dsn)
	if err != nil {
		return 0, err
	}
	old, err := projections.Older(ctx, conn)
	var feeders []projections.Feeding
	if err == nil {
		feeders, err = projections.Feeders(ctx, conn)
	}
	if err = errors.Join(err, conn.Close(ctx)); err != nil {
		return 0, err
	}
	for _, f := range feeders {
		err = errors.Join(err, fmt.Errorf("%s, version %d, is fed by instance %s", f.Reader, f.Version, f.Owner))
	}
	if err != nil {
		return 0, errors.Join(err, errFed)
	}
	if err := postgres.Owned(ctx, p.dsn, projections.DropOlder(old)...); err != nil {
		return 0, err
	}
	for _, r := range old {
		if _, err := fmt.Fprintf(s.out, "%s, version %d, is dropped\n", r.Name, r.Version); err != nil {
			return 0, err
		}
	}
	return len(old), nil
}

// dropIndexes drops indexes, and how far their readers were.
func (p *parts) dropIndexes(ctx context.Context, s streams) (dropped int, err error) {
	index, err := openIndex(p)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, index.Close()) }()
	older, err := index.Older(ctx)
	if err != nil {
		return 0, err
	}
	for _, version := range slices.Sorted(maps.Keys(older)) {
		err := index.DropIndexes(ctx, older[version]...)
		if err == nil {
			err = postgres.Owned(ctx, p.dsn, projections.ForgetIndex(version)...)
		}
		if err == nil {
			_, err = fmt.Fprintf(s.out, "%s, version %d, is dropped\n", projections.IndexReader, version)
		}
		if err != nil {
			return dropped, err
		}
		dropped++
	}
	return dropped, nil
}
