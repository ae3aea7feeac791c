package main

import (
	"context"
	"errors"
	"fmt"

	"prelude/internal/search"
	"prelude/projections"
)

// verifyIndex holds every document of the search index against the presets of views that were built on the side, which
// it builds on to what is newer than the documents. It tells what is missing, too much, or other.
func (p *parts) verifyIndex(ctx context.Context, l looked, views projections.Reader, s streams,
) (differences int, err error) {
	r, _ := l.reader(projections.IndexReader)
	head, err := p.log.Head(ctx)
	if err != nil {
		return 0, err
	}
	to, err := p.servedTo(ctx, r, head) // what was applied up to here is in the index before the look at it
	if err != nil {
		return 0, err
	}
	index, err := l.index.Look(ctx)
	if errors.Is(err, search.ErrLost) {
		_, err = fmt.Fprintf(s.out, "%s, version %d: there is none; a server with this OpenSearch makes it\n",
			r.Name, r.Version)
		return 1, err
	}
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, index.Close(context.WithoutCancel(ctx))) }()
	if head, err = p.log.Head(ctx); err != nil {
		return 0, err
	}
	if err := l.engine.Build(ctx, views, head, nil); err != nil {
		return 0, err
	}
	built, err := p.look(ctx, views)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, built.close(ctx)) }()
	n, err := index.Compare(ctx, built.Documents(ctx), uint64(to), func(d projections.Difference) {
		differences++
		printDifference(s.out, d, search.Served)
	})
	if err == nil {
		_, err = fmt.Fprintf(s.out, "%s, version %d: %d documents, %d differences\n",
			r.Name, r.Version, n.Documents, differences)
	}
	if err == nil && n.Open > 0 {
		_, err = fmt.Fprintf(s.out, "%s: %d presets are not compared: the index has not come to their last change yet\n",
			r.Name, n.Open)
	}
	return differences, err
}
