package api

import (
	"context"

	"prelude/readmodels"
)

type searchIn struct {
	Query
	Q        string   `query:"q" doc:"what to look for; empty: the newest"`
	Tags     []string `query:"tag,explode" doc:"all of them; one parameter each"`
	Scope    string   `query:"scope" enum:"user,org"`
	Language string   `query:"language"`
	Status   string   `query:"status" enum:"draft,published"`
	Limit    int      `query:"limit" minimum:"1" maximum:"100" default:"20"`
	Cursor   string   `query:"cursor"`
}

type searchBody struct {
	Data       []foundBody  `json:"data"`
	Facets     searchFacets `json:"facets"`
	HasMore    bool         `json:"has_more"`
	NextCursor *string      `json:"next_cursor"`
	Engine     string       `json:"engine" enum:"opensearch,postgres"`
	Degraded   bool         `json:"degraded"`
	Reason     *string      `json:"reason"`
	Stale      bool         `json:"stale"`
}

type foundBody struct {
	Preset     foundPreset       `json:"preset"`
	Score      float64           `json:"score"`
	Highlights map[string]string `json:"highlights" doc:"HTML-escaped but for <mark>"`
}

type foundPreset struct {
	ID          string   `json:"id"`
	Slug        string   `json:"slug"`
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Scope       string   `json:"scope"`
	Tags        []string `json:"tags"`
	Language    *string  `json:"language"`
	Status      string   `json:"status"`
	Version     *int     `json:"version"`
}

type searchFacets struct {
	Tags []facetBody `json:"tags"`
}

type facetBody struct {
	Value string `json:"value"`
	Count int    `json:"count"`
}

const maxQuery = 1000

func (s *Server) searchPresets(ctx context.Context, in *searchIn) (*bodyOnly[searchBody], error) {
	if len(in.Q) > maxQuery {
		return nil, bad("query.q", "too_long", "must be at most 1,000 bytes")
	}
	offset, err := readmodels.SearchOffset(in.Cursor)
	if err != nil {
		return nil, err
	}
	reader := viewsReader
	if s.Read.Indexed() {
		reader = indexReader
	}
	stale, err := s.wait(ctx, in.Query, reader)
	if err != nil {
		return nil, err
	}
	found, err := s.Read.SearchPresets(ctx, in.Who, readmodels.SearchQuery{Text: in.Q, Tags: in.Tags,
		Scope: in.Scope, Language: in.Language, Status: in.Status, Limit: in.Limit, Offset: offset})
	if err != nil {
		return nil, err
	}
	return &bodyOnly[searchBody]{foundOf(found, stale)}, nil
}

func foundOf(f readmodels.Found, stale bool) searchBody {
	b := searchBody{Data: []foundBody{}, Facets: searchFacets{[]facetBody{}}, HasMore: f.HasMore,
		NextCursor: text(f.Next), Engine: f.Engine, Degraded: f.Degraded, Reason: text(f.Reason), Stale: stale}
	for i, p := range f.Presets {
		b.Data = append(b.Data, foundBody{Score: f.Hits[i].Score, Highlights: f.Hits[i].Highlights,
			Preset: foundPreset{ID: string(p.ID), Slug: p.Slug, Name: p.Draft.Name,
				Description: p.Draft.Description, Scope: string(p.Scope), Tags: some(p.Draft.Tags),
				Language: text(p.Draft.Language), Status: p.Status(), Version: number(p.Version())}})
	}
	for _, t := range f.Tags {
		b.Facets.Tags = append(b.Facets.Tags, facetBody{t.Value, t.Count})
	}
	return b
}
