package search

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/opensearch-project/opensearch-go/v4"
	"github.com/opensearch-project/opensearch-go/v4/opensearchapi"

	"prelude/projections"
)

// Look is the index as it is at one moment, which stays while it changes. Close ends it.
type Look struct {
	c      *Client
	scroll string
	page   []hit
}

const (
	lookPage = 200
	lookFor  = 10 * time.Minute // from one page to the next
)

// hit is a document with what the index says of it. The client's own type leaves the version out.
type hit struct {
	ID      string          `json:"_id"`
	Version uint64          `json:"_version"`
	Sort    []*string       `json:"sort"`
	Source  json.RawMessage `json:"_source"`
}

// key is the id by which the documents are in order; "" where a document has none.
func (h hit) key() string {
	if len(h.Sort) == 0 || h.Sort[0] == nil {
		return ""
	}
	return *h.Sort[0]
}

// Look takes the moment: all that was put before is in it. Error: [ErrLost] where there is no index.
func (c *Client) Look(ctx context.Context) (*Look, error) {
	_, err := c.api.Indices.Refresh(ctx, &opensearchapi.IndicesRefreshReq{Index: []string{c.alias}})
	l := &Look{c: c}
	var resp *opensearchapi.SearchResp
	if err == nil {
		req := &opensearchapi.SearchReq{Indices: []string{c.alias}, Body: strings.NewReader(fmt.Sprintf(
			`{"size":%d,"version":true,"sort":[{"id":{"order":"asc","missing":"_last"}}]}`, lookPage))}
		req.Params.Scroll = lookFor
		if resp, err = c.api.Search(ctx, req); err == nil {
			err = l.turn(resp.Inspect().Response, resp.ScrollID)
		}
	}
	if err != nil {
		f := diagnose(nil, err)
		if f.kind == "index_not_found_exception" {
			return nil, ErrLost
		}
		return nil, fmt.Errorf("look at the search index: %w", f)
	}
	return l, nil
}

// turn takes the page that was answered.
func (l *Look) turn(resp *opensearch.Response, scroll *string) error {
	var body struct {
		Hits struct {
			Hits []hit `json:"hits"`
		} `json:"hits"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		return &fault{status: 502, kind: "unreadable"}
	}
	if scroll != nil {
		l.scroll = *scroll
	}
	l.page = body.Hits.Hits
	return nil
}

// Close ends the look.
func (l *Look) Close(ctx context.Context) error {
	_, err := l.c.api.Scroll.Delete(ctx, opensearchapi.ScrollDeleteReq{ScrollIDs: []string{l.scroll}})
	if err != nil {
		return fmt.Errorf("end the look at the search index: %w", diagnose(nil, err))
	}
	return nil
}

// all are the documents of the look, in the order of their ids.
func (l *Look) all(ctx context.Context) iter.Seq2[hit, error] {
	return func(yield func(hit, error) bool) {
		for len(l.page) > 0 {
			for _, h := range l.page {
				if !yield(h, nil) {
					return
				}
			}
			req := opensearchapi.ScrollGetReq{ScrollID: l.scroll}
			req.Params.Scroll = lookFor
			resp, err := l.c.api.Scroll.Get(ctx, req)
			if err == nil {
				err = l.turn(resp.Inspect().Response, resp.ScrollID)
			}
			if err != nil {
				yield(hit{}, fmt.Errorf("look at the search index: %w", diagnose(nil, err)))
				return
			}
		}
	}
}

// Compared is how much of an index was held against the log.
type Compared struct {
	Documents int
	Open      int // presets that are not compared: they changed after the look, or the index has not come so far
}

// Served is what stands for the index in a [projections.Difference].
const Served = "index"

// Compare holds the look against the presets as the log says they are, in the order of their ids, and tells each
// difference. The presets are to be as of after the look; to is how far the index had applied the log
// before it.
func (l *Look) Compare(ctx context.Context, presets iter.Seq2[projections.Document, error], to uint64,
	tell func(projections.Difference)) (n Compared, err error) {
	want, stopWant := iter.Pull2(presets)
	defer stopWant()
	have, stopHave := iter.Pull2(l.all(ctx))
	defer stopHave()
	p, err, morePresets := want()
	h, failed, moreHits := have()
	for err = errors.Join(err, failed); err == nil && (morePresets || moreHits); {
		only := projections.Difference{Table: Served, Key: p.ID, Only: "log"}
		nextPreset, nextHit := morePresets, moreHits
		switch {
		case moreHits && (h.key() == "" || !morePresets || h.key() < p.ID):
			only.Key, only.Only, nextPreset = h.ID, Served, false
			tell(only)
		case !moreHits || p.ID < h.key():
			if nextHit = false; uint64(p.Position) > to {
				n.Open++
			} else {
				tell(only)
			}
		default:
			fields, err := differing(p, h)
			switch {
			case err != nil:
				return n, err
			case len(fields) > 0 && uint64(p.Position) > to && h.Version < uint64(p.Position):
				n.Open++ // it shows an earlier state
			case len(fields) > 0:
				tell(projections.Difference{Table: Served, Key: h.ID, Columns: fields})
			}
		}
		if nextPreset {
			p, err, morePresets = want()
		}
		if nextHit {
			n.Documents++
			h, failed, moreHits = have()
		}
		err = errors.Join(err, failed)
	}
	return n, err
}

// differing names the fields in which a document is not what its preset makes, and the version that the index keeps
// of it if that is another: a higher one would keep later changes out.
func differing(p projections.Document, h hit) ([]string, error) {
	text, err := json.Marshal(toDocument(p))
	if err != nil {
		return nil, fmt.Errorf("encode preset %s: %w", p.ID, err)
	}
	want, err := fieldsOf(text)
	if err != nil {
		return nil, err
	}
	have, err := fieldsOf(h.Source)
	if err != nil {
		return nil, fmt.Errorf("read document %s: %w", h.ID, err)
	}
	var names []string
	if h.ID != p.ID {
		names = append(names, "_id")
	}
	if h.Version != uint64(p.Position) {
		names = append(names, "_version")
	}
	all := maps.Clone(have)
	maps.Copy(all, want)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !reflect.DeepEqual(want[name], have[name]) {
			names = append(names, name)
		}
	}
	return names, nil
}

func fieldsOf(text []byte) (fields map[string]any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // a position may be beyond 2^53
	err = d.Decode(&fields)
	return fields, err
}
