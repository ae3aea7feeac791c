package search

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"github.com/opensearch-project/opensearch-go/v4/opensearchapi"
)

// Older gives the versions before this client's of which there are indexes, with the indexes' names.
func (c *Client) Older(ctx context.Context) (map[int][]string, error) {
	resp, err := c.api.Indices.Get(ctx, opensearchapi.IndicesGetReq{
		Indices: []string{c.prefix + "-*"},
		Params:  opensearchapi.IndicesGetParams{AllowNoIndices: new(true), IgnoreUnavailable: new(true)},
	})
	if err != nil {
		return nil, fmt.Errorf("list the search indexes: %w", diagnose(resp.Inspect().Response, err))
	}
	// Other prefixes may begin with ours.
	ofVersion := regexp.MustCompile("^" + regexp.QuoteMeta(c.prefix) + "-([0-9]+)-[0-9a-f]{8}$")
	older := map[int][]string{}
	for _, name := range slices.Sorted(maps.Keys(*resp.IndicesGetRespData)) {
		m := ofVersion.FindStringSubmatch(name)
		if m == nil {
			continue
		}
		if version, err := strconv.Atoi(m[1]); err == nil && version < c.version {
			older[version] = append(older[version], name)
		}
	}
	return older, nil
}

// DropIndexes removes indexes by their names. It is no error if one is gone.
func (c *Client) DropIndexes(ctx context.Context, names ...string) error {
	if len(names) == 0 {
		return nil // without names it would be all
	}
	_, err := c.api.Indices.Delete(ctx, opensearchapi.IndicesDeleteReq{
		Indices: names, Params: opensearchapi.IndicesDeleteParams{IgnoreUnavailable: new(true)},
	})
	if err != nil {
		return fmt.Errorf("drop the search index: %w", diagnose(nil, err))
	}
	return nil
}
