package search

import (
	"maps"
	"slices"
	"strings"

	"prelude/domain"
	"prelude/readmodels"
)

// m and l are JSON.
type (
	m map[string]any
	l []any
)

const (
	// window is how deep a page may lie.
	window = 10_000
	// longest bounds the words of a question: each is a clause in a dozen fields, and typing errors of
	// it are many more.
	longest = 24
)

// strictness is how much of the question a preset has to match.
type strictness struct {
	most, some string // of the words: in the good clauses, in the weak ones
	operator   string
	fuzziness  string
}

var (
	strict  = strictness{"2<75%", "2<34%", "and", "AUTO:4,7"}
	relaxed = strictness{"1", "1", "or", "AUTO:3,6"}
)

// request is the only builder of a search: there is none without a principal, whose rights are in
// its filter whatever the question is.
func request(who domain.Principal, q readmodels.SearchQuery, how strictness) m {
	text := words(q.Text)
	rights := rightsOf(who)
	filter := l{
		m{"term": m{"org": string(who.Org)}},
		m{"terms": m{"acl": rights}},
		m{"term": m{"deleted": false}},
	}
	for _, chosen := range []struct{ field, value string }{
		{"scope", q.Scope}, {"language", q.Language}, {"status", q.Status},
	} {
		if chosen.value != "" {
			filter = append(filter, m{"term": m{chosen.field: chosen.value}})
		}
	}
	newest := l{m{"updated_at": "desc"}, m{"id": "asc"}}
	req := m{
		// One more tells whether there are more.
		"from": q.Offset, "size": min(q.Limit+1, window-q.Offset),
		"timeout": "450ms", "track_total_hits": false, "_source": false,
		"query": m{"bool": m{"filter": filter}}, "sort": newest, "aggs": facets(),
	}
	if len(q.Tags) > 0 {
		// After the facets, so that these show what else could be chosen.
		var tags l
		for _, tag := range q.Tags {
			tags = append(tags, m{"term": m{"tags": tag}})
		}
		req["post_filter"] = m{"bool": m{"filter": tags}}
	}
	if text != "" {
		req["query"] = m{"bool": m{
			"filter": filter, "must": l{matches(text, rights, how)}, "should": favour(who, rights)}}
		req["sort"] = slices.Concat(l{m{"_score": "desc"}}, newest)
		req["highlight"] = highlight(text)
	}
	return req
}

// words cleans a question and cuts it to its first words.
func words(text string) string {
	all := strings.Fields(unmarked.Replace(text))
	for i, w := range all {
		if r := []rune(w); len(r) > 100 {
			all[i] = string(r[:100])
		}
	}
	return strings.Join(all[:min(len(all), longest)], " ")
}

// matches is the question itself. The instructions are asked only for those who may read them: or
// else one could probe a hidden text word by word.
func matches(text string, rights []string, how strictness) m {
	heads := []string{"name.en^3", "tags.en^2", "description.en^1.5"}
	whole := append(slices.Clone(heads), "content")
	body := bestOf(0.8,
		multi(text, "cross_fields", how.most, 1, whole...),
		multi(text, "cross_fields", how.some, 0.3, whole...),
		multi(text, "most_fields", how.most, 1, "content.cjk", "loc_body.*"))
	return bestOf(1,
		m{"multi_match": m{"query": text, "type": "cross_fields", "operator": how.operator,
			"analyzer": "std", "fields": l{"name^4", "tags.t^2", "description^2"}}},
		multi(text, "cross_fields", how.most, 1, heads...),
		m{"match": m{"name.pre": m{"query": text, "operator": how.operator, "boost": 2}}},
		m{"match": m{"head": m{"query": text, "fuzziness": how.fuzziness, "prefix_length": 1,
			"max_expansions": 50, "minimum_should_match": how.most, "boost": 0.6}}},
		multi(text, "cross_fields", how.some, 0.3, heads...),
		multi(text, "most_fields", how.most, 1, "head.cjk", "loc.*"),
		m{"bool": m{"filter": m{"terms": m{"acl_body": rights}}, "must": body}})
}

func multi(text, kind, least string, boost float64, fields ...string) m {
	return m{"multi_match": m{"query": text, "type": kind, "fields": fields, "boost": boost,
		"minimum_should_match": least}}
}

// bestOf scores by the best of queries, and a little by the others.
func bestOf(boost float64, queries ...m) m {
	return m{"dis_max": m{"tie_breaker": 0.3, "boost": boost, "queries": queries}}
}

// mayRead is the name of the clause that says of a hit whether its instructions may be shown.
const mayRead = "may_read_body"

// favour raises what is new or one's own a little, and tells whose instructions may be read.
func favour(who domain.Principal, rights []string) l {
	return l{
		m{"distance_feature": m{"field": "updated_at", "origin": "now", "pivot": "60d", "boost": 0.3}},
		m{"term": m{"owner": m{"value": string(who.User), "boost": 0.3}}},
		m{"constant_score": m{"boost": 0, "filter": m{"terms": m{"acl_body": rights, "_name": mayRead}}}},
	}
}

func facets() m {
	return m{"all": m{"filter": m{"match_all": m{}}, "aggs": m{
		"tags": m{"terms": m{"field": "tags", "size": 30}}}}}
}

// highlight asks for the marks in all spellings of a field; highlights chooses. It has a query of
// its own since one with the synonyms of several words, which are phrases, makes the highlighter
// mark nothing.
func highlight(text string) m {
	whole := m{"number_of_fragments": 0}
	fields := m{
		"name": whole, "name.en": whole, "name.pre": whole, "description": m{}, "description.en": m{},
		"content": m{"fragment_size": 140, "number_of_fragments": 2},
	}
	var spellings l
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		ask := m{"query": text, "auto_generate_synonyms_phrase_query": false}
		spellings = append(spellings, m{"match": m{field: ask}})
	}
	return m{
		"encoder": "html", "pre_tags": l{markBegin}, "post_tags": l{markEnd}, "require_field_match": true,
		"highlight_query": m{"bool": m{"should": spellings}}, "fields": fields,
	}
}
