// Package search keeps the presets in an OpenSearch index and answers questions to it: it
// implements the ports projections.Index and readmodels.SearchEngine. It decides no rights; it
// knows what a principal's rights are called in the index, and no query leaves it without them.
package search

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/opensearch-project/opensearch-go/v4"
	"github.com/opensearch-project/opensearch-go/v4/errmask"
	"github.com/opensearch-project/opensearch-go/v4/opensearchapi"

	"prelude/projections"
	"prelude/readmodels"
)

// Version is that of the index's definition and of how documents are written: the version of the reader that fills
// it. Who changes either raises that: the index of the new version is then filled from the first event.
const Version = projections.IndexVersion

// definition holds the settings and the mapping.
//
//go:embed index.json
var definition []byte

var (
	_ projections.Index       = (*Client)(nil)
	_ readmodels.SearchEngine = (*Client)(nil)
)

// Config says where OpenSearch is.
type Config struct {
	URL    string // with user and password where it asks for them
	Prefix string // of the index's name; empty: presets
	Logger *slog.Logger
	// Version of the index; 0: this program's. Another program's can be asked and filled too.
	Version int
}

// Client writes to the index and asks it. It is safe for use by several goroutines.
type Client struct {
	api     *opensearchapi.Client
	prefix  string
	version int
	alias   string
	index   string
	log     *slog.Logger
	breaker breaker
	backoff func(ctx context.Context, try int) error
	budget  time.Duration // of one search
}

// Open prepares a client. It does not connect yet.
func Open(cfg Config) (*Client, error) {
	if cfg.Prefix == "" {
		cfg.Prefix = "presets"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	warn(cfg.Logger)
	dialer := &net.Dialer{Timeout: time.Second, KeepAlive: 30 * time.Second}
	api, err := opensearchapi.NewClient(opensearchapi.Config{
		// Report every partial failure: the default hides them.
		Errors: errmask.New(),
		Client: opensearch.Config{
			Addresses: []string{cfg.URL},
			// Its own retries come all at once; Put has better ones, and a search has no time for any.
			DisableRetry:   true,
			RequestTimeout: 30 * time.Second,
			Transport: &http.Transport{
				DialContext: dialer.DialContext, MaxIdleConnsPerHost: 32, IdleConnTimeout: 90 * time.Second,
				TLSHandshakeTimeout: 3 * time.Second,
			},
		},
	})
	if err != nil {
		// The error may quote the address, and that a password.
		return nil, errors.New("the address of OpenSearch is not a URL")
	}
	if cfg.Version == 0 {
		cfg.Version = Version
	}
	alias := fmt.Sprintf("%s-%d", cfg.Prefix, cfg.Version)
	return &Client{
		api: api, prefix: cfg.Prefix, version: cfg.Version, alias: alias, index: alias + "-" + build(), log: cfg.Logger,
		breaker: breaker{now: time.Now}, backoff: jittered, budget: 500 * time.Millisecond,
	}, nil
}

// warn tells of variables that change the client's behaviour behind our back.
func warn(log *slog.Logger) {
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "OPENSEARCH_GO_") {
			log.Warn("the environment changes the OpenSearch client", "variable", name)
		}
	}
}

// build names the definition, so that two of one version cannot share an index by mistake.
func build() string { return fmt.Sprintf("%x", sha256.Sum256(definition))[:8] }

// Close ends the client's background work.
func (c *Client) Close() error { return c.api.Close() }

// Missing says that there is no index.
func (c *Client) Missing(ctx context.Context) (bool, error) {
	resp, err := c.api.Indices.Exists(ctx, opensearchapi.IndicesExistsReq{Indices: []string{c.index}})
	if resp != nil && resp.StatusCode == http.StatusNotFound {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for the search index: %w", diagnose(resp, err))
	}
	return false, nil
}

// Bootstrap makes the index if it is missing and points the alias at it; made says that it was, and is empty.
// Several may do so at once.
func (c *Client) Bootstrap(ctx context.Context) (made bool, err error) {
	_, err = c.api.Indices.Create(ctx, opensearchapi.IndicesCreateReq{
		Index: c.index, Body: bytes.NewReader(definition),
	})
	var refused *opensearch.StructError
	exists := errors.As(err, &refused) && refused.Err.Type == "resource_already_exists_exception"
	if err != nil && !exists {
		return false, fmt.Errorf("create the search index: %w", diagnose(nil, err))
	}
	type action map[string]map[string]any
	body, err := json.Marshal(map[string]any{"actions": []action{
		{"remove": {"index": c.alias + "-*", "alias": c.alias, "must_exist": false}},
		{"add": {"index": c.index, "alias": c.alias, "is_write_index": true}},
	}})
	if err != nil {
		return false, err
	}
	_, err = c.api.Aliases(ctx, opensearchapi.AliasesReq{Body: bytes.NewReader(body)})
	if err != nil {
		return false, fmt.Errorf("point the alias at the search index: %w", diagnose(nil, err))
	}
	return !exists, nil
}

// Drop removes the index and with it the alias. It is no error if there is none.
func (c *Client) Drop(ctx context.Context) error { return c.DropIndexes(ctx, c.index) }

// Ready says whether the index is there and answers.
func (c *Client) Ready(ctx context.Context) error {
	resp, err := c.api.Search(ctx, &opensearchapi.SearchReq{
		Indices: []string{c.alias}, Body: strings.NewReader(`{"size":0,"query":{"match_none":{}}}`),
	})
	if err != nil {
		return fmt.Errorf("ask the search index: %w", diagnose(resp.Inspect().Response, err))
	}
	return nil
}
