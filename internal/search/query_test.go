package search

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"prelude/domain"
	"prelude/readmodels"
)

// plain is v as it goes over the wire and comes back.
func plain(t *rapid.T, v any) map[string]any {
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRequest(t *testing.T) {
	t.Parallel()
	t.Run("any request is bound to the caller's rights, whatever is asked", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) {
			who := domain.Principal{
				Org:  domain.OrgID(rapid.StringN(1, 30, -1).Draw(t, "org")),
				User: domain.UserID(rapid.String().Draw(t, "user")),
			}
			q := readmodels.SearchQuery{
				Text: rapid.String().Draw(t, "text"), Tags: rapid.SliceOf(rapid.String()).Draw(t, "tags"),
				Scope: rapid.String().Draw(t, "scope"), Language: rapid.String().Draw(t, "language"),
				Status: rapid.String().Draw(t, "status"),
				Limit:  rapid.IntRange(1, 100).Draw(t, "limit"),
				Offset: rapid.IntRange(0, 9999).Draw(t, "offset"),
			}
			how := rapid.SampledFrom([]strictness{strict, relaxed}).Draw(t, "how")
			req := plain(t, request(who, q, how))
			rights := []string{"o:" + string(who.Org)}
			if who.User != "" {
				rights = append(rights, "u:"+string(who.User))
			}
			filter := req["query"].(map[string]any)["bool"].(map[string]any)["filter"].([]any)
			for _, must := range []m{
				{"term": m{"org": string(who.Org)}}, {"terms": m{"acl": rights}}, {"term": m{"deleted": false}},
			} {
				want := plain(t, must)
				if !slices.ContainsFunc(filter, func(f any) bool { return reflect.DeepEqual(f, any(want)) }) {
					t.Fatalf("%v is not in %v", want, filter)
				}
			}
			if from, size := req["from"].(float64), req["size"].(float64); from+size > window {
				t.Fatalf("from %v, size %v", from, size)
			}
			unguarded(t, req["query"], plain(t, m{"terms": m{"acl_body": rights}}))
		})
	})
}

// unguarded fails if instructions are asked outside a clause that asks for the right to read them.
func unguarded(t *rapid.T, node any, guard map[string]any) {
	switch node := node.(type) {
	case map[string]any:
		if b, ok := node["bool"].(map[string]any); ok && reflect.DeepEqual(b["filter"], any(guard)) {
			return
		}
		for key, value := range node {
			if key == "query" && len(node) > 1 { // the question's own text
				continue
			}
			unguarded(t, value, guard)
			if isBody(key) {
				t.Fatalf("%s is asked without the right", key)
			}
		}
	case []any:
		for _, value := range node {
			unguarded(t, value, guard)
			if s, ok := value.(string); ok && isBody(s) {
				t.Fatalf("%s is asked without the right", s)
			}
		}
	}
}

func isBody(field string) bool {
	return strings.HasPrefix(field, "content") || strings.HasPrefix(field, "loc_body")
}

func TestDefinition(t *testing.T) {
	t.Parallel()
	const want = "1-c09076f8"
	if got := "1-" + build(); got != want {
		t.Errorf("the definition is another (%s, not %s): raise Version, and put it here", got, want)
	}
}

func TestLocalized(t *testing.T) {
	t.Parallel()
	for language, want := range map[string]string{
		"de": "de", "DE-at": "de", "zh-Hant": "cjk", "ja": "cjk",
		"en": "", "it": "", "": "", "german": "",
	} {
		if got := localized(language); got != want {
			t.Errorf("%q: got %q, want %q", language, got, want)
		}
	}
}
