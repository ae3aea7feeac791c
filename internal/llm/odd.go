package llm

import (
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"prelude/domain/receipt"
)

// plain is a string's text, or a number as it is written; of anything else, nothing.
func plain(v jsontext.Value) string {
	switch v.Kind() {
	case jsontext.KindString:
		text, _, _ := unquote(nil, v)
		return strings.ToValidUTF8(string(text), "\uFFFD")
	case jsontext.KindNumber:
		return string(v)
	}
	return ""
}

// count is a whole number, also one that is written as a text or with a point; -1: it is none.
func count(v jsontext.Value) int {
	f, err := strconv.ParseFloat(strings.TrimSpace(plain(v)), 64)
	if err != nil || math.IsNaN(f) || f < 0 || f > 1<<53 {
		return -1
	}
	return int(f)
}

// clean is a value that can be kept and sent: valid UTF-8 on one line. Nil: nothing is left of it.
func clean(v jsontext.Value) []byte {
	b, err := jsontext.AppendFormat(nil, v, lenient, jsontext.PreserveRawStrings(false))
	if err != nil {
		return nil
	}
	return b
}

// elements are a list's; what is no list is one of one.
func elements(v jsontext.Value) []jsontext.Value {
	if v.Kind() != jsontext.KindBeginArray {
		return []jsontext.Value{v}
	}
	var all []jsontext.Value
	if json.Unmarshal(v, &all, lenient) != nil {
		return nil
	}
	return all
}

// fields are an object's members; nil: it is none.
func fields(v jsontext.Value) members {
	var m members
	if v.Kind() != jsontext.KindBeginObject || json.Unmarshal(v, &m, lenient) != nil {
		return nil
	}
	return m
}

// counted is what a provider says of a reply's tokens; nil: nothing that can be read. Both counts may be written in
// other ways, and what it says besides is kept as far as it is numbers.
func counted(v jsontext.Value) *receipt.Usage {
	if v.Kind() != jsontext.KindBeginObject {
		return nil
	}
	all := fields(v)
	in, out := count(all["prompt_tokens"]), count(all["completion_tokens"])
	if in < 0 || out < 0 {
		return nil
	}
	for _, name := range []string{"prompt_tokens", "completion_tokens", "total_tokens"} {
		delete(all, name)
	}
	used := &receipt.Usage{InputTokens: in, OutputTokens: out}
	if kept := numbers(all, 0); len(kept) > 0 {
		if b, err := json.Marshal(kept, json.Deterministic(true)); err == nil && len(b) <= maxDetails {
			used.Details = b
		}
	}
	return used
}

// What is kept of a usage's details.
const (
	maxDetails = 4 << 10 // bytes
	maxDepth   = 3
)

// numbers leaves of members what is a number, true, false or null, within objects too.
func numbers(all members, depth int) map[string]any {
	kept := map[string]any{}
	for name, v := range all {
		switch v.Kind() {
		case jsontext.KindNumber:
			if f, err := strconv.ParseFloat(string(v), 64); err == nil && math.Abs(f) < 1<<53 {
				kept[name] = v
			}
		case jsontext.KindTrue, jsontext.KindFalse, jsontext.KindNull:
			kept[name] = v
		case jsontext.KindBeginObject:
			if inner := numbers(fields(v), depth+1); depth < maxDepth && len(inner) > 0 {
				kept[name] = inner
			}
		}
	}
	return kept
}
