package search

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"prelude/projections"
	"prelude/readmodels"
)

// script answers one request after the other; the last of them for ever.
type script struct {
	mu    sync.Mutex
	calls [][]string // the ids of each bulk request
	steps []http.HandlerFunc
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet { // the client looks after its connection
		return
	}
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	s.mu.Lock()
	s.calls = append(s.calls, idsOf(body))
	step := s.steps[min(len(s.calls), len(s.steps))-1]
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	step(w, r)
}

func (s *script) seen() [][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

func idsOf(body []byte) []string {
	var found []string
	for text := range bytes.Lines(body) {
		var action struct {
			Index struct {
				ID string `json:"_id"`
			} `json:"index"`
		}
		if !bytes.HasPrefix(text, []byte(`{"index":`)) {
			continue
		}
		if json.Unmarshal(text, &action) == nil && action.Index.ID != "" {
			found = append(found, action.Index.ID)
		}
	}
	return found
}

// against makes a client of a server that follows the script, and waits for nothing.
func against(t *testing.T, steps ...http.HandlerFunc) (*Client, *script) {
	t.Helper()
	s := &script{steps: steps}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	c := client(t, Config{URL: server.URL})
	c.backoff = func(ctx context.Context, _ int) error { return ctx.Err() }
	c.budget = time.Minute // the machine may be busy
	return c, s
}

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

func refusal(code int, kind string) http.HandlerFunc {
	const body = `{"error":{"type":%q,"reason":"r","root_cause":[]},"status":%d}`
	return status(code, fmt.Sprintf(body, kind, code))
}

// items answers a bulk request, each item with the status that the map has for its id, else 201.
func items(odd map[string]int, kind string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		answers := []any{}
		for _, id := range idsOf(body) {
			answer := m{"_id": id, "status": 201}
			if code, ok := odd[id]; ok {
				answer = m{"_id": id, "status": code, "error": m{"type": kind, "reason": "r"}}
			}
			answers = append(answers, m{"index": answer})
		}
		_ = json.NewEncoder(w).Encode(m{"took": 1, "errors": len(odd) > 0, "items": answers})
	}
}

func some(n int) (docs []projections.Document, ids []string) {
	for i := range n {
		docs = append(docs, preset(i+1, "name", "", ""))
		ids = append(ids, docs[i].ID)
	}
	return docs, ids
}

func TestPut(t *testing.T) {
	t.Parallel()
	docs, ids := some(4)
	for _, tc := range []struct {
		name  string
		steps []http.HandlerFunc
		calls [][]string
		err   string
	}{
		{"all at once", []http.HandlerFunc{items(nil, "")}, [][]string{ids}, ""},
		{
			"a younger one is there",
			[]http.HandlerFunc{items(map[string]int{ids[1]: 409}, "version_conflict_engine_exception")},
			[][]string{ids}, "",
		},
		{
			"what there was no room for goes again, alone",
			[]http.HandlerFunc{
				items(map[string]int{ids[1]: 429, ids[3]: 503}, "rejected_execution_exception"), items(nil, ""),
			},
			[][]string{ids, {ids[1], ids[3]}}, "",
		},
		{
			"never room",
			[]http.HandlerFunc{items(map[string]int{ids[0]: 429}, "rejected_execution_exception")},
			append([][]string{ids}, slices.Repeat([][]string{{ids[0]}}, tries-1)...), "too busy for 1",
		},
		{
			"a full disk is no want of room",
			[]http.HandlerFunc{items(map[string]int{ids[0]: 429}, "cluster_block_exception")},
			[][]string{ids}, ErrFull.Error(),
		},
		{
			"a read-only index",
			[]http.HandlerFunc{items(map[string]int{ids[0]: 403}, "cluster_block_exception")},
			[][]string{ids}, ErrFull.Error(),
		},
		{
			"one that is refused for ever is left out",
			[]http.HandlerFunc{items(map[string]int{ids[0]: 400}, "mapper_parsing_exception")},
			[][]string{ids}, "",
		},
		{
			"an item with a fault",
			[]http.HandlerFunc{items(map[string]int{ids[0]: 500}, "some_exception")},
			[][]string{ids}, "500 some_exception",
		},
		{
			"too large a request is halved",
			[]http.HandlerFunc{refusal(429, "rejected_execution_exception"), items(nil, "")},
			[][]string{ids, ids[:2], ids[2:]}, "",
		},
		{
			"an index that is missing",
			[]http.HandlerFunc{items(map[string]int{ids[0]: 404}, "index_not_found_exception")},
			[][]string{ids}, "missing",
		},
		{"a server that goes", []http.HandlerFunc{refusal(503, "x")}, [][]string{ids}, "answers 503 x"},
		{"garbage", []http.HandlerFunc{status(200, "<html>")}, [][]string{ids}, "unreadable"},
		{"a garbled refusal", []http.HandlerFunc{status(502, "<html>")}, [][]string{ids}, "answers 502"},
		{"fewer answers than items", []http.HandlerFunc{
			status(200, `{"items":[{"index":{"status":201}}]}`)}, [][]string{ids}, "1 answers"},
		{"no answers", []http.HandlerFunc{status(200, `{"items":[]}`)}, [][]string{ids}, "incomplete"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c, s := against(t, tc.steps...)
			err := c.Put(t.Context(), docs)
			if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Errorf("got %v, want %q", err, tc.err)
			}
			if calls := s.seen(); !slices.EqualFunc(calls, tc.calls, slices.Equal) {
				t.Errorf("got %v, want %v", calls, tc.calls)
			}
		})
	}
	t.Run("nothing", func(t *testing.T) {
		t.Parallel()
		c, s := against(t, items(nil, ""))
		if err := c.Put(t.Context(), nil); err != nil || len(s.seen()) > 0 {
			t.Errorf("got %v, %d requests", err, len(s.seen()))
		}
	})
	t.Run("many go in batches", func(t *testing.T) {
		t.Parallel()
		many, _ := some(batchDocs + 1)
		many[7].Instructions = strings.Repeat("x", batchBytes)
		c, s := against(t, items(nil, ""))
		if err := c.Put(t.Context(), many); err != nil {
			t.Fatal(err)
		}
		var sizes []int
		for _, call := range s.seen() {
			sizes = append(sizes, len(call))
		}
		if want := []int{7, 1, batchDocs + 1 - 8}; !slices.Equal(sizes, want) {
			t.Errorf("got %v, want %v", sizes, want)
		}
	})
}

const empty = `{"timed_out":false,"_shards":{"total":1,"successful":1,"failed":0},
	"hits":{"hits":[]},
	"aggregations":{"all":{"doc_count":0,"tags":{"buckets":[]}}}}`

func TestSearchFaults(t *testing.T) {
	t.Parallel()
	q := readmodels.SearchQuery{Text: "a word", Limit: 10}
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	partial := strings.NewReplacer(`"total":1`, `"total":2`,
		`"failed":0`, `"failed":1,"failures":[{"shard":0,"reason":{"type":"x"}}]`).Replace(empty)
	for name, step := range map[string]http.HandlerFunc{
		"busy":                   refusal(429, "search_phase_execution_exception"),
		"unavailable":            refusal(503, "x"),
		"an error of the server": refusal(500, "x"),
		"a missing index":        refusal(404, "index_not_found_exception"),
		"a part of the shards":   status(200, partial),
		"a part in time":         status(200, strings.Replace(empty, "false", "true", 1)),
		"garbage":                status(200, "<html>"),
		"nothing":                status(200, "{}"),
		"a garbled refusal":      status(502, "<html>"),
	} {
		t.Run(name+" means down", func(t *testing.T) {
			t.Parallel()
			c, s := against(t, step)
			_, err := c.Search(t.Context(), asAnn, q)
			if !errors.Is(err, readmodels.ErrSearchDown) || len(s.seen()) != 1 {
				t.Errorf("got %v after %d requests", err, len(s.seen()))
			}
		})
	}
	t.Run("a hang means down when the time is up", func(t *testing.T) {
		t.Parallel()
		c, _ := against(t, hang)
		c.budget = 100 * time.Millisecond
		if _, err := c.Search(t.Context(), asAnn, q); !errors.Is(err, readmodels.ErrSearchDown) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no server means down", func(t *testing.T) {
		t.Parallel()
		c := client(t, Config{URL: "http://127.0.0.1:1"})
		if _, err := c.Search(t.Context(), asAnn, q); !errors.Is(err, readmodels.ErrSearchDown) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a question that is refused is our fault, and no text of it is told", func(t *testing.T) {
		t.Parallel()
		const body = `{"error":{"type":"parsing_exception","reason":"a word"},"status":400}`
		c, _ := against(t, status(400, body))
		_, err := c.Search(t.Context(), asAnn, q)
		if err == nil || errors.Is(err, readmodels.ErrSearchDown) {
			t.Fatalf("got %v", err)
		}
		if strings.Contains(err.Error(), "a word") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a caller who goes away breaks nothing", func(t *testing.T) {
		t.Parallel()
		c, _ := against(t, hang)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 2 * breakAfter {
			if _, err := c.Search(ctx, asAnn, q); !errors.Is(err, context.Canceled) {
				t.Fatalf("got %v", err)
			}
		}
		if !c.breaker.allow() {
			t.Error("the breaker is open")
		}
	})
	t.Run("after five faults it is not asked any more, later it is again", func(t *testing.T) {
		t.Parallel()
		c, s := against(t, refusal(503, "x"), refusal(503, "x"), refusal(503, "x"), refusal(503, "x"),
			refusal(503, "x"), status(200, empty))
		now := noon
		c.breaker.now = func() time.Time { return now }
		for range 2 * breakAfter {
			if _, err := c.Search(t.Context(), asAnn, q); !errors.Is(err, readmodels.ErrSearchDown) {
				t.Fatalf("got %v", err)
			}
		}
		if n := len(s.seen()); n != breakAfter {
			t.Errorf("asked %d times", n)
		}
		now = now.Add(breakFor)
		for range 3 {
			if _, err := c.Search(t.Context(), asAnn, q); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("what is not found is looked for once more, with less", func(t *testing.T) {
		t.Parallel()
		c, s := against(t, status(200, empty))
		if _, err := c.Search(t.Context(), asAnn, q); err != nil || len(s.seen()) != 2 {
			t.Errorf("got %v, asked %d times", err, len(s.seen()))
		}
	})
	t.Run("a server that comes back is asked again at once", func(t *testing.T) {
		t.Parallel()
		server := httptest.NewServer(status(200, empty))
		address := server.Listener.Addr().String()
		c := client(t, Config{URL: server.URL})
		c.budget = time.Minute
		server.Close()
		if _, err := c.Search(t.Context(), asAnn, q); !errors.Is(err, readmodels.ErrSearchDown) {
			t.Fatalf("got %v", err)
		}
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		back := httptest.NewUnstartedServer(status(200, empty))
		back.Listener = listener
		back.Start()
		t.Cleanup(back.Close)
		if _, err := c.Search(t.Context(), asAnn, q); err != nil {
			t.Errorf("got %v", err)
		}
	})
}
