package readmodels

import (
	"context"
	"errors"

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

// Indexed says whether the search engine is asked: there is one, and its index is whole.
func (r *Reader) Indexed() bool { return r.Search != nil && (r.Whole == nil || r.Whole()) }

// SearchPresets searches with the engine there is, and in Postgres where that does not answer, or its index is still
// being built. What was found is held against the database: an index may be behind by what happened just now.
func (r *Reader) SearchPresets(ctx context.Context, who domain.Principal, q SearchQuery) (Found, error) {
	if r.Search == nil {
		return r.searchPostgres(ctx, who, q, "opensearch_not_configured")
	}
	if !r.Indexed() {
		return r.searchPostgres(ctx, who, q, "opensearch_catching_up")
	}
	hits, err := r.Search.Search(ctx, who, q)
	if errors.Is(err, ErrSearchDown) {
		return r.searchPostgres(ctx, who, q, "opensearch_unavailable")
	}
	if err != nil {
		return Found{}, err
	}
	found := Found{Engine: "opensearch", Tags: hits.Tags, HasMore: hits.HasMore}
	found.next(q)
	return found, r.confirm(ctx, who, hits.Hits, &found)
}

// maxOffset is how deep a search goes: the engines take no more than the first 10,000.
const maxOffset = 9900

// next says how the search goes on, if it can be asked to.
func (f *Found) next(q SearchQuery) {
	if f.HasMore = f.HasMore && q.Offset+q.Limit <= maxOffset; f.HasMore {
		f.Next = cursor{N: int64(q.Offset + q.Limit)}.encode()
	}
}

// SearchOffset is where a search goes on after a page.
func SearchOffset(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	c, err := Page{Cursor: text}.cursor()
	if err != nil || c.N < 0 || c.N > maxOffset {
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
	err := r.ask(ctx, who.Org, func(b *batch) {
		b.Queue(`SELECT state, pos FROM views.presets WHERE org = $1 AND id = ANY($2)
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
	State                []byte
}

type facetRow struct {
	Tag  string
	Hits int64
}

// searchPostgres asks the functions that look over the wall by themselves, with one row more than wanted.
func (r *Reader) searchPostgres(ctx context.Context, who domain.Principal, q SearchQuery, reason string,
) (Found, error) {
	var rows []hitRow
	var facets []facetRow
	err := r.ask(ctx, who.Org, func(b *batch) {
		b.Queue(`SELECT f.id, f.score, f.name_highlight, f.description_highlight, p.state
			FROM views.preset_search_find($1, $2, $3, $4, $5, $6, $7, $8) WITH ORDINALITY
				AS f (id, score, name_highlight, description_highlight, n)
			JOIN views.presets p ON p.org = $9 AND p.id = f.id
				AND (p.scope = 'org' OR p.owner = $2) AND p.status <> 'deleted'
			ORDER BY f.n`, q.Text, who.User, q.Tags, q.Scope, q.Language, q.Status, q.Limit+1, q.Offset,
			who.Org).Query(scan(&rows))
		b.Queue(`SELECT tag, hits FROM views.preset_search_facets($1, $2, $3, $4, $5, $6)`,
			q.Text, who.User, q.Scope, q.Language, q.Status, maxFacets).Query(scan(&facets))
	})
	if err != nil {
		return Found{}, wrap("search", err)
	}
	found := Found{Engine: "postgres", Degraded: true, Reason: reason, HasMore: len(rows) > q.Limit}
	found.next(q)
	for _, f := range facets {
		found.Tags = append(found.Tags, Facet{Value: f.Tag, Count: int(f.Hits)})
	}
	return found, found.take(rows[:min(len(rows), q.Limit)])
}

func (f *Found) take(rows []hitRow) error {
	for _, row := range rows {
		var p preset.Preset
		if err := stored(row.State, &p); err != nil {
			return wrap("read a preset", err)
		}
		h := SearchHit{ID: p.ID, Score: row.Score, Highlights: map[string]string{}}
		if row.NameHighlight != nil {
			h.Highlights["name"] = *row.NameHighlight
		}
		if row.DescriptionHighlight != nil {
			h.Highlights["description"] = *row.DescriptionHighlight
		}
		f.Presets, f.Hits = append(f.Presets, p), append(f.Hits, h)
	}
	return nil
}

const maxFacets = 30
