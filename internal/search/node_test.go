package search

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"prelude/domain"
	"prelude/internal/search/searchtest"
	"prelude/projections"
	"prelude/readmodels"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var asAnn = domain.Principal{Org: ours, User: ann, Role: domain.Member}

var indexes atomic.Int64

// open makes a client with an index of its own on the real node, with docs in it.
func open(t *testing.T, docs ...projections.Document) *Client {
	t.Helper()
	prefix := fmt.Sprintf("test-%d-%d", os.Getpid(), indexes.Add(1))
	c := client(t, Config{URL: searchtest.Node(t), Prefix: prefix})
	// A shared node may be busy: the tests are about answers, not about time.
	c.budget = 20 * time.Second
	if err := errors.Join(c.Drop(t.Context()), bootstrap(t, c)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Drop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	store(t, c, docs...)
	return c
}

func client(t *testing.T, cfg Config) *Client {
	t.Helper()
	c, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// store puts docs and makes them be found.
func store(t *testing.T, c *Client, docs ...projections.Document) {
	t.Helper()
	for len(docs) > 0 {
		n := min(len(docs), batchDocs)
		if n == len(docs) {
			n = max(1, n-1) // the last is a small batch, which is refreshed
		}
		if err := c.Put(t.Context(), docs[:n]); err != nil {
			t.Fatal(err)
		}
		docs = docs[n:]
	}
}

func find(
	t *testing.T, c *Client, who domain.Principal, q readmodels.SearchQuery,
) readmodels.SearchHits {
	t.Helper()
	if q.Limit == 0 {
		q.Limit = 10
	}
	hits, err := c.Search(t.Context(), who, q)
	if err != nil {
		t.Fatalf("search %+v: %v", q, err)
	}
	return hits
}

func ids(hits readmodels.SearchHits) []string {
	out := []string{}
	for _, h := range hits.Hits {
		out = append(out, string(h.ID))
	}
	return out
}

func TestRelevance(t *testing.T) {
	t.Parallel()
	c := open(t, append(distractors(1500), judged()...)...)
	got := reciprocal(t, func(text string) []string {
		return ids(find(t, c, asAnn, readmodels.SearchQuery{Text: text}))
	})
	t.Logf("mean reciprocal rank %.3f", got)
	if got < 0.95 {
		t.Errorf("mean reciprocal rank %.3f, want 0.95", got)
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	old := preset(1, "old title", "", "")
	young := preset(1, "young title", "", "")
	young.Position = old.Position + 10
	deleted := young
	deleted.Deleted, deleted.Position = true, young.Position+1

	t.Run("what is older loses, in whichever order it comes", func(t *testing.T) {
		t.Parallel()
		c := open(t, young)
		store(t, c, old)
		if got := ids(find(t, c, asAnn, readmodels.SearchQuery{Text: "old"})); len(got) > 0 {
			t.Errorf("got %v", got)
		}
	})
	t.Run("a repeat changes nothing", func(t *testing.T) {
		t.Parallel()
		c := open(t, young)
		store(t, c, young)
		if got := ids(find(t, c, asAnn, readmodels.SearchQuery{Text: "young"})); len(got) != 1 {
			t.Errorf("got %v", got)
		}
	})
	t.Run("what was deleted is not revived by an older one", func(t *testing.T) {
		t.Parallel()
		c := open(t, young, deleted)
		store(t, c, young)
		if got := ids(find(t, c, asAnn, readmodels.SearchQuery{})); len(got) > 0 {
			t.Errorf("got %v", got)
		}
	})
	t.Run("positions beyond 2^53 are kept apart", func(t *testing.T) {
		t.Parallel()
		one, two := old, young
		one.Position, two.Position = 1<<53+1, 1<<53+2
		c := open(t, two)
		store(t, c, one)
		if got := ids(find(t, c, asAnn, readmodels.SearchQuery{Text: "young"})); len(got) != 1 {
			t.Errorf("got %v", got)
		}
	})
}

func TestRights(t *testing.T) {
	t.Parallel()
	c := open(t, rightsCorpus()...)
	for _, text := range []string{
		"", "secret", "secr", "sekret", "plan here", "*", `"`, "secret OR _exists_:id",
	} {
		for _, id := range ids(find(t, c, asAnn, readmodels.SearchQuery{Text: text})) {
			if !visibleToAnn[id] {
				t.Errorf("%q finds %s", text, id)
			}
		}
	}
	t.Run("all that is hers is found, and only that is counted", func(t *testing.T) {
		hits := find(t, c, asAnn, readmodels.SearchQuery{Text: "secret"})
		if len(hits.Hits) != len(visibleToAnn) {
			t.Errorf("got %v", ids(hits))
		}
		if want := []readmodels.Facet{{Value: "seen", Count: 2}}; !slices.Equal(hits.Tags, want) {
			t.Errorf("got %v", hits.Tags)
		}
	})
	t.Run("a job without a user sees the org's", func(t *testing.T) {
		job := domain.Principal{Org: ours, Job: "setup"}
		hits := find(t, c, job, readmodels.SearchQuery{Text: "secret"})
		if len(hits.Hits) != 1 {
			t.Errorf("got %v", ids(hits))
		}
	})
	t.Run("without an org there is no search", func(t *testing.T) {
		q := readmodels.SearchQuery{Text: "secret", Limit: 10}
		if hits, err := c.Search(t.Context(), domain.Principal{User: ann}, q); err == nil {
			t.Errorf("got %v", hits)
		}
	})
}

func TestFilters(t *testing.T) {
	t.Parallel()
	c := open(t, judged()...)
	for _, tc := range []struct {
		name string
		q    readmodels.SearchQuery
		want int
	}{
		{"one tag", readmodels.SearchQuery{Tags: []string{"code"}}, 4},
		{"both tags", readmodels.SearchQuery{Tags: []string{"code", "testing"}}, 1},
		{"a tag and words", readmodels.SearchQuery{Text: "author", Tags: []string{"testing"}}, 1},
		{"a language", readmodels.SearchQuery{Language: "de"}, 2},
		{"a status that none has", readmodels.SearchQuery{Status: "draft"}, 0},
		{"a scope that none has", readmodels.SearchQuery{Text: "code", Scope: "user"}, 0},
		{"no end of words", readmodels.SearchQuery{Text: strings.Repeat("zzyzx quux ", 5000)}, 0},
		{"beyond the last page", readmodels.SearchQuery{Offset: 9_999, Limit: 100}, 0},
		{"beyond the window", readmodels.SearchQuery{Offset: 10_000, Limit: 100}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := ids(find(t, c, asAnn, tc.q)); len(got) != tc.want {
				t.Errorf("got %v, want %d", got, tc.want)
			}
		})
	}
	t.Run("tags are counted regardless of those chosen", func(t *testing.T) {
		free := find(t, c, asAnn, readmodels.SearchQuery{Text: "code"})
		chosen := find(t, c, asAnn, readmodels.SearchQuery{Text: "code", Tags: []string{"testing"}})
		if len(free.Tags) < 2 || !slices.Equal(free.Tags, chosen.Tags) {
			t.Errorf("got %v and %v", free.Tags, chosen.Tags)
		}
	})
}

func TestPages(t *testing.T) {
	t.Parallel()
	docs := distractors(45)
	c := open(t, docs...)
	for _, text := range []string{"", "a"} {
		t.Run(fmt.Sprintf("%q", text), func(t *testing.T) {
			var all []string
			for offset := 0; ; offset += 20 {
				hits := find(t, c, asAnn, readmodels.SearchQuery{Text: text, Offset: offset, Limit: 20})
				all = append(all, ids(hits)...)
				if !hits.HasMore {
					break
				}
			}
			unique := slices.Compact(slices.Sorted(slices.Values(all)))
			if len(unique) != len(all) || text == "" && len(all) != len(docs) {
				t.Errorf("got %d, of which %d are different", len(all), len(unique))
			}
		})
	}
	t.Run("without words the newest come first", func(t *testing.T) {
		slices.SortStableFunc(docs, func(a, b projections.Document) int {
			return b.UpdatedAt.Compare(a.UpdatedAt)
		})
		got := ids(find(t, c, asAnn, readmodels.SearchQuery{Limit: 1}))
		if got[0] != docs[0].ID {
			t.Errorf("got %v, want %s", got, docs[0].ID)
		}
	})
}

func TestHighlights(t *testing.T) {
	t.Parallel()
	c := open(t, preset(1, "Résumé & \"CV\" <b>polisher\ue000</b>",
		"Polishing 'it' <script>alert(1)</script>", "Think of <i>verbs</i> & polish them."))
	hits := find(t, c, asAnn, readmodels.SearchQuery{Text: "resume \ue001polish"})
	if len(hits.Hits) != 1 {
		t.Fatalf("got %v", hits)
	}
	marks := hits.Hits[0].Highlights
	if len(marks) != 3 {
		t.Errorf("got %v", marks)
	}
	for field, text := range marks {
		bare := strings.NewReplacer("<mark>", "", "</mark>", "").Replace(text)
		if strings.ContainsAny(bare, "<>\"'\ue000\ue001") || !strings.Contains(text, "<mark>") {
			t.Errorf("%s: %s", field, text)
		}
	}
	if want := "<mark>Résumé</mark> &amp; "; !strings.HasPrefix(marks["name"], want) {
		t.Errorf("got %s", marks["name"])
	}
}

func TestMissingIndex(t *testing.T) {
	t.Parallel()
	t.Run("is down for searches", func(t *testing.T) {
		t.Parallel()
		c := open(t)
		if err := errors.Join(c.Drop(t.Context()), c.Drop(t.Context())); err != nil {
			t.Fatal(err)
		}
		q := readmodels.SearchQuery{Text: "a", Limit: 10}
		if _, err := c.Search(t.Context(), asAnn, q); !errors.Is(err, readmodels.ErrSearchDown) {
			t.Errorf("got %v", err)
		}
		if err := c.Ready(t.Context()); err == nil {
			t.Error("it says that it is ready")
		}
	})
	t.Run("takes no documents until it is made anew", func(t *testing.T) {
		t.Parallel()
		c := open(t)
		if err := c.Drop(t.Context()); err != nil {
			t.Fatal(err)
		}
		one := []projections.Document{preset(1, "first", "", "")}
		if err := c.Put(t.Context(), one); !errors.Is(err, ErrLost) {
			t.Fatalf("got %v", err)
		}
		if missing, err := c.Missing(t.Context()); err != nil || !missing {
			t.Fatalf("missing %v: %v", missing, err)
		}
		if made, err := c.Bootstrap(t.Context()); err != nil || !made {
			t.Fatalf("made %v: %v", made, err)
		}
		if missing, err := c.Missing(t.Context()); err != nil || missing {
			t.Fatalf("made, it is missing %v: %v", missing, err)
		}
		store(t, c, one[0])
		if got := ids(find(t, c, asAnn, readmodels.SearchQuery{Text: "first"})); len(got) != 1 {
			t.Errorf("got %v", got)
		}
	})
	t.Run("is made once by several at a time", func(t *testing.T) {
		t.Parallel()
		c := open(t)
		if err := c.Drop(t.Context()); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if _, err := c.Bootstrap(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		store(t, c, preset(1, "first", "", ""))
	})
}

func TestLanguages(t *testing.T) {
	t.Parallel()
	docs := judged()[:3]
	docs[0].Language, docs[1].Language, docs[2].Language = "it", "", "zh-Hant-TW"
	c := open(t, docs...)
	if got := ids(find(t, c, asAnn, readmodels.SearchQuery{})); len(got) != len(docs) {
		t.Errorf("got %v: a language that the index does not know was refused", got)
	}
}

func bootstrap(t *testing.T, c *Client) error {
	_, err := c.Bootstrap(t.Context())
	return err
}
