package readmodels

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"prelude/domain"
	"prelude/domain/preset"
)

// SearchQuery is a question to the preset search.
type SearchQuery struct {
	Text     string   // what to look for; empty: the newest first
	Tags     []string // all of them
	Scope    string   // user or org; empty: both
	Language string
	Status   string
	Limit    int // 1–100
	Offset   int // from the cursor
}

// SearchHit is one preset that was found. Highlights are HTML-escaped but for <mark>.
type SearchHit struct {
	ID         domain.PresetID
	Score      float64
	Highlights map[string]string // by field: name, description, instructions
}

// Facet counts the hits that have a value.
type Facet struct {
	Value string
	Count int
}

// SearchHits are one page of hits, best first.
type SearchHits struct {
	Hits    []SearchHit
	Tags    []Facet
	HasMore bool
}

// ErrSearchDown: the engine does not answer, or is not ready; another may.
var ErrSearchDown = errors.New("the search engine does not answer")

// SearchEngine is the port to a search engine outside Postgres. internal/search implements it.
type SearchEngine interface {
	// Search asks with the caller's rights: org presets of the caller's org, and the caller's own.
	// Errors: ErrSearchDown.
	Search(ctx context.Context, who domain.Principal, q SearchQuery) (SearchHits, error)
}

// Found is a page of presets that a search found.
type Found struct {
	Presets  []preset.Preset
	Hits     []SearchHit // one for each preset
	Tags     []Facet
	HasMore  bool
	Next     string
	Engine   string // opensearch or postgres
	Degraded bool   // it is not the engine that is configured, or there is none but Postgres
	Reason   string
}

// SearchPresets searches with the engine there is, and in Postgres where that does not answer. What was found
// is held against the database: an index may be behind.
func (r *Reader) SearchPresets(ctx context.Context, who domain.Principal, q SearchQuery) (Found, error) {
	found := Found{Engine: "opensearch"}
	var hits SearchHits
	err := ErrSearchDown
	if r.Search != nil {
		hits, err = r.Search.Search(ctx, who, q)
	}
	if errors.Is(err, ErrSearchDown) {
		found.Engine, found.Degraded, found.Reason = "postgres", true, "opensearch_unavailable"
		if r.Search == nil {
			found.Reason = "opensearch_not_configured"
		}
		hits, err = r.searchPostgres(ctx, who, q)
	}
	if err != nil {
		return found, err
	}
	found.Tags, found.HasMore = hits.Tags, hits.HasMore
	if hits.HasMore {
		found.Next = cursor{N: int64(q.Offset + q.Limit)}.encode()
	}
	return found, r.confirm(ctx, who, hits.Hits, &found)
}

// SearchOffset is where a search goes on after a page.
func SearchOffset(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	c, err := Page{Cursor: text}.cursor()
	if err != nil || c.N < 0 || c.N > 9900 {
		return 0, ErrCursor
	}
	return int(c.N), nil
}

// confirm loads the presets that were found and drops what the caller may not see, or what is deleted.
func (r *Reader) confirm(ctx context.Context, who domain.Principal, hits []SearchHit, f *Found) error {
	ids := make([]string, len(hits))
	for i, h := range hits {
		ids[i] = string(h.ID)
	}
	var rows []stateRow
	err := r.ask(ctx, who.Org, func(b *pgx.Batch) {
		b.Queue(`SELECT state, pos FROM views_1.presets WHERE org = $1 AND id = ANY($2)
			AND (scope = 'org' OR owner = $3) AND status <> 'deleted'`, who.Org, ids, who.User).
			Query(scan(&rows))
	})
	if err != nil {
		return wrap("confirm what was found", err)
	}
	presets, err := decode[preset.Preset](rows)
	at := map[domain.PresetID]preset.Preset{}
	for _, p := range presets {
		at[p.ID] = p
	}
	for _, h := range hits {
		if p, ok := at[h.ID]; ok {
			f.Presets, f.Hits = append(f.Presets, p), append(f.Hits, h)
		}
	}
	return err
}

type hitRow struct {
	ID                   string
	Score                float64
	NameHighlight        *string
	DescriptionHighlight *string
}

type facetRow struct {
	Tag  string
	Hits int64
}

// searchPostgres asks the functions that look over the wall by themselves, with one row more than wanted.
func (r *Reader) searchPostgres(ctx context.Context, who domain.Principal, q SearchQuery) (SearchHits, error) {
	var rows []hitRow
	var facets []facetRow
	tags := q.Tags
	if tags == nil {
		tags = []string{}
	}
	err := r.ask(ctx, who.Org, func(b *pgx.Batch) {
		b.Queue(`SELECT id, score, name_highlight, description_highlight
			FROM views_1.preset_search_find($1, $2, $3, $4, $5, $6, $7, $8)`,
			q.Text, who.User, tags, q.Scope, q.Language, q.Status, q.Limit+1, q.Offset).Query(scan(&rows))
		b.Queue(`SELECT tag, hits FROM views_1.preset_search_facets($1, $2, $3, $4, $5, $6)`,
			q.Text, who.User, q.Scope, q.Language, q.Status, maxFacets).Query(scan(&facets))
	})
	if err != nil {
		return SearchHits{}, wrap("search", err)
	}
	found := SearchHits{HasMore: len(rows) > q.Limit}
	if found.HasMore {
		rows = rows[:q.Limit]
	}
	for _, row := range rows {
		h := SearchHit{ID: domain.PresetID(row.ID), Score: row.Score, Highlights: map[string]string{}}
		if row.NameHighlight != nil {
			h.Highlights["name"] = *row.NameHighlight
		}
		if row.DescriptionHighlight != nil {
			h.Highlights["description"] = *row.DescriptionHighlight
		}
		found.Hits = append(found.Hits, h)
	}
	for _, f := range facets {
		found.Tags = append(found.Tags, Facet{Value: f.Tag, Count: int(f.Hits)})
	}
	return found, nil
}

const maxFacets = 30
