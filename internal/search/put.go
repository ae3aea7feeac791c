package search

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/opensearch-project/opensearch-go/v4/opensearchapi"

	"prelude/projections"
)

const (
	batchDocs  = 500
	batchBytes = 5 << 20
	// smallBatch is one that somebody may be waiting for: it is to be found when Put returns.
	smallBatch = 20
	tries      = 6
)

// ErrFull: OpenSearch takes no documents, mostly for want of disk space. Searches go on. It mends
// by itself when there is space.
var ErrFull = errors.New("the search index takes no documents: its disk may be full")

// Put implements projections.Index.
func (c *Client) Put(ctx context.Context, docs []projections.Document) error {
	batch, size := []item{}, 0
	flush := func() error {
		err := c.putBatch(ctx, batch, 1)
		batch, size = nil, 0
		return err
	}
	for _, d := range docs {
		text, err := line(d)
		if err != nil {
			return err
		}
		if len(batch) == batchDocs || len(batch) > 0 && size+len(text) > batchBytes {
			if err := flush(); err != nil {
				return err
			}
		}
		batch, size = append(batch, item{d.ID, text}), size+len(text)
	}
	return flush()
}

type item struct {
	id   string
	line []byte
}

// putBatch sends a batch and, of what the server had no room for just then, that alone once more.
func (c *Client) putBatch(ctx context.Context, batch []item, try int) error {
	for ; len(batch) > 0; try++ {
		again, err := c.bulk(ctx, batch)
		var f *fault
		switch {
		case errors.As(err, &f) && f.status == http.StatusTooManyRequests && try < tries:
			// A request over the server's limit would never pass: each half may.
			if err := c.backoff(ctx, try); err != nil {
				return err
			}
			half := (len(batch) + 1) / 2
			if err := c.putBatch(ctx, batch[:half], try+1); err != nil {
				return err
			}
			batch = batch[half:]
			continue
		case err != nil:
			return err
		case len(again) > 0 && try >= tries:
			return fmt.Errorf("the search index is too busy for %d documents", len(again))
		case len(again) > 0:
			if err := c.backoff(ctx, try); err != nil {
				return err
			}
		}
		batch = again
	}
	return nil
}

// ErrLost: there is no index behind the alias. Bootstrap makes one, which is empty.
var ErrLost = errors.New("the search index is missing")

// bulk sends the batch once and returns the items that are to be sent again.
func (c *Client) bulk(ctx context.Context, batch []item) (again []item, err error) {
	var body bytes.Buffer
	for _, it := range batch {
		body.Write(it.line)
	}
	req := opensearchapi.BulkReq{Index: c.alias, Body: &body}
	req.Params.RequireAlias = new(true)
	if len(batch) <= smallBatch {
		// 9 ms instead of 4. With wait_for it would be a second.
		req.Params.Refresh = "true"
	}
	resp, err := c.api.Bulk(ctx, req)
	answer := resp.Inspect().Response
	if answer == nil || answer.IsError() || len(resp.Items) == 0 {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		f := diagnose(answer, err)
		if f.kind == "index_not_found_exception" {
			return nil, ErrLost
		}
		return nil, fmt.Errorf("put %d documents: %w", len(batch), f)
	}
	if len(resp.Items) != len(batch) {
		return nil, fmt.Errorf("put %d documents: there are %d answers", len(batch), len(resp.Items))
	}
	for i, answers := range resp.Items {
		settled, err := c.settle(batch[i], answers["index"])
		if err != nil {
			return nil, err
		}
		if !settled {
			again = append(again, batch[i])
		}
	}
	return again, nil
}

// settle examines the answer to one item: whether it is done with. A request of which some items
// failed is a success as a whole.
func (c *Client) settle(it item, answer opensearchapi.BulkRespItem) (bool, error) {
	kind := ""
	if answer.Error != nil {
		kind = answer.Error.Type
	}
	switch {
	case answer.Status >= 200 && answer.Status < 300:
		return true, nil
	case answer.Status == http.StatusConflict: // a younger one is there
		return true, nil
	case kind == "cluster_block_exception":
		return false, ErrFull
	case kind == "index_not_found_exception":
		return false, ErrLost
	case answer.Status == http.StatusTooManyRequests, answer.Status == http.StatusServiceUnavailable:
		return false, nil
	case answer.Status == http.StatusBadRequest:
		// It would be refused for ever, and all after it would wait.
		c.log.Error("the search index refuses a preset; it is left out", "preset", it.id, "kind", kind)
		return true, nil
	}
	return false, fmt.Errorf("put preset %s: %w", it.id, &fault{status: answer.Status, kind: kind})
}

// jittered waits before the next try, twice as long as before the last, give or take a half.
func jittered(ctx context.Context, try int) error {
	const first, longest = 100 * time.Millisecond, 5 * time.Second
	d := min(first<<(try-1), longest)
	timer := time.NewTimer(d/2 + rand.N(d)) //nolint:gosec // a pause, not a secret
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
