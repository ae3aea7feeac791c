package projections

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"prelude/domain/preset"
	"prelude/internal/eventlog"
)

// NewIndexReader feeds the search index: it waits until views has passed a batch, loads the presets' rows,
// and puts each with the row's own position as its version.
func NewIndexReader(pool *pgxpool.Pool, progress *Progress, index Index) Reader {
	views := ViewsReader().Schema()
	return Reader{Name: IndexReader, Version: IndexVersion, Parks: true, Prefixes: []string{"preset-"},
		Missing: index.Missing, Start: index.Bootstrap,
		Before: func(ctx context.Context, batch []eventlog.Record) error {
			if !progress.Wait(ctx, Views, batch[len(batch)-1].Position) {
				return errors.Join(errors.New("views did not come"), context.Cause(ctx))
			}
			docs, err := documents(ctx, pool, views, batch)
			if err != nil {
				return err
			}
			return index.Put(ctx, docs)
		}}
}

// documents loads the rows of a batch's presets, with one round trip.
func documents(ctx context.Context, pool *pgxpool.Pool, views string, batch []eventlog.Record) ([]Document, error) {
	seen := map[string]bool{}
	var orgs, ids []string
	for _, rec := range batch {
		if id := rec.Stream.Object(); !seen[id] {
			seen[id] = true
			orgs, ids = append(orgs, "org_"+rec.Stream.Org), append(ids, id)
		}
	}
	var docs []Document
	b := &pgx.Batch{}
	b.Queue(`SELECT set_config('role', 'prelude_proj', true)`)
	b.Queue(byKeys("state, pos", views+".presets"), orgs, ids).Query(func(rows pgx.Rows) error {
		var state []byte
		var pos int64
		_, err := pgx.ForEachRow(rows, []any{&state, &pos}, func() error {
			d, err := documentOf(state, pos)
			docs = append(docs, d)
			return err
		})
		return err
	})
	if err := pool.SendBatch(ctx, b).Close(); err != nil {
		return nil, fmt.Errorf("load the presets of the index: %w", err)
	}
	return docs, nil
}

// Documents are what the index should hold, by the views that are looked at, in the order of their ids' bytes.
func (s *Served) Documents(ctx context.Context) iter.Seq2[Document, error] {
	return func(yield func(Document, error) bool) {
		rows, err := s.tx.Query(ctx, `SELECT state, pos FROM `+s.schema+`.presets ORDER BY id COLLATE "C"`)
		if err != nil {
			yield(Document{}, fmt.Errorf("read the presets of the index: %w", err))
			return
		}
		defer rows.Close()
		for rows.Next() {
			var state []byte
			var pos int64
			err := rows.Scan(&state, &pos)
			d := Document{}
			if err == nil {
				d, err = documentOf(state, pos)
			}
			if !yield(d, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(Document{}, fmt.Errorf("read the presets of the index: %w", err))
		}
	}
}

func documentOf(state []byte, pos int64) (Document, error) {
	var p preset.Preset
	if err := json.Unmarshal(state, &p); err != nil {
		return Document{}, fmt.Errorf("read a preset: %w", err)
	}
	return document(p, eventlog.Position(pos)), nil
}

func document(p preset.Preset, pos eventlog.Position) Document {
	return Document{
		ID: string(p.ID), Org: string(p.Org), Scope: string(p.Scope), Owner: string(p.Owner), Slug: p.Slug,
		Name: p.Draft.Name, Description: p.Draft.Description, Instructions: p.Draft.Instructions,
		Tags: p.Draft.Tags, Language: p.Draft.Language, Model: p.Draft.Model, Status: p.Status(),
		Version: p.Version(), Deleted: p.DeletedAt != nil, CreatedAt: p.CreatedAt, UpdatedAt: p.UpdatedAt,
		Position: pos,
	}
}
