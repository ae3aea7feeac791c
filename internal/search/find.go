package search

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opensearch-project/opensearch-go/v4/opensearchapi"

	"prelude/domain"
	"prelude/readmodels"
)

var errOpen = errors.New("it has failed several times just now")

// Search implements readmodels.SearchEngine. It takes at most half a second.
func (c *Client) Search(
	ctx context.Context, who domain.Principal, q readmodels.SearchQuery,
) (readmodels.SearchHits, error) {
	if who.Org == "" {
		return readmodels.SearchHits{}, errors.New("search without an org")
	}
	if q.Offset < 0 || q.Limit < 1 || q.Offset >= window {
		return readmodels.SearchHits{}, nil
	}
	if !c.breaker.allow() {
		return readmodels.SearchHits{}, fmt.Errorf("%w: %w", readmodels.ErrSearchDown, errOpen)
	}
	within, cancel := context.WithTimeout(ctx, c.budget)
	defer cancel()
	hits, err := c.ask(within, who, q)
	var f *fault
	switch {
	case err == nil:
		c.breaker.success()
		return hits, nil
	case ctx.Err() != nil:
		// The caller went away: that says nothing of the engine.
		return readmodels.SearchHits{}, ctx.Err()
	case errors.As(err, &f) && f.ours():
		c.breaker.success()
		return readmodels.SearchHits{}, fmt.Errorf("search: %w", err)
	}
	c.breaker.failure()
	return readmodels.SearchHits{}, fmt.Errorf("%w: %w", readmodels.ErrSearchDown, err)
}

// ask asks strictly and, if nothing at all matches, once more for what comes near. What a page
// shows does not decide that, so all pages of a question are of one kind.
func (c *Client) ask(
	ctx context.Context, who domain.Principal, q readmodels.SearchQuery,
) (readmodels.SearchHits, error) {
	hits, all, err := c.once(ctx, who, q, strict)
	if err != nil || all > 0 || words(q.Text) == "" {
		return hits, err
	}
	hits, _, err = c.once(ctx, who, q, relaxed)
	return hits, err
}

// once asks once, and also counts what matched regardless of tags.
func (c *Client) once(
	ctx context.Context, who domain.Principal, q readmodels.SearchQuery, how strictness,
) (readmodels.SearchHits, int, error) {
	body, err := json.Marshal(request(who, q, how))
	if err != nil {
		return readmodels.SearchHits{}, 0, err
	}
	req := &opensearchapi.SearchReq{Indices: []string{c.alias}, Body: bytes.NewReader(body)}
	req.Params.Routing = []string{string(who.Org)}
	req.Params.Preference = string(who.User) // copies of a shard score differently: stay with one
	resp, err := c.api.Search(ctx, req)
	if err != nil {
		return readmodels.SearchHits{}, 0, diagnose(resp.Inspect().Response, err)
	}
	if resp.Timeout || resp.Shards.Failed > 0 {
		return readmodels.SearchHits{}, 0, &fault{status: 504, kind: "incomplete"}
	}
	var aggs struct {
		All struct {
			Count int `json:"doc_count"`
			Tags  struct {
				Buckets []struct {
					Key   string `json:"key"`
					Count int    `json:"doc_count"`
				} `json:"buckets"`
			} `json:"tags"`
		} `json:"all"`
	}
	if err := json.Unmarshal(resp.Aggregations, &aggs); err != nil {
		return readmodels.SearchHits{}, 0, &fault{status: 502, kind: "unreadable"}
	}
	found := page(resp.Hits.Hits, q.Limit)
	for _, b := range aggs.All.Tags.Buckets {
		found.Tags = append(found.Tags, readmodels.Facet{Value: b.Key, Count: b.Count})
	}
	return found, aggs.All.Count, nil
}

func page(hits []opensearchapi.SearchHit, limit int) readmodels.SearchHits {
	found := readmodels.SearchHits{HasMore: len(hits) > limit}
	for _, h := range hits[:min(len(hits), limit)] {
		found.Hits = append(found.Hits, readmodels.SearchHit{
			ID: domain.PresetID(h.ID), Score: float64(h.Score), Highlights: highlights(h),
		})
	}
	return found
}

// highlights takes the spelling of each field in which most was hit.
func highlights(h opensearchapi.SearchHit) map[string]string {
	marks := map[string]string{}
	set := func(name string, fields ...string) {
		best := ""
		for _, field := range fields {
			text := strings.Join(h.Highlight[field], " … ")
			if strings.Count(text, markBegin) > strings.Count(best, markBegin) {
				best = text
			}
		}
		if best != "" {
			marks[name] = marked(best)
		}
	}
	set("name", "name.en", "name", "name.pre")
	set("description", "description.en", "description")
	if slices.Contains(h.MatchedQueries, mayRead) {
		set("instructions", "content")
	}
	return marks
}

// marked makes HTML of the marks; the text around them is escaped already.
func marked(text string) string {
	return strings.NewReplacer(markBegin, "<mark>", markEnd, "</mark>").Replace(text)
}
