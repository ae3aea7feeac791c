package llm

import (
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"prelude/domain/answer"
)

// calls are a reply's tool calls, put together from the pieces in which servers send them.
type calls struct {
	all  []*call
	at   map[int]*call // by the index that the server gave last
	last *call
}

// call is a tool call that more may come of.
type call struct {
	*open
	number    int // among the calls
	id, named string
	arguments []byte
	said      map[string]string // its members, as they were passed on last
}

// toolCalls reads a list of tool calls, or of pieces of them.
func (s *says) toolCalls(v jsontext.Value, whole bool) {
	for _, element := range elements(v) {
		m := fields(element)
		if m == nil {
			s.odd = true
			continue
		}
		s.toolCall(m, whole)
	}
}

// call reads the one call of servers that know no more than one.
func (s *says) call(v jsontext.Value, whole bool) {
	if fields(v) == nil {
		s.odd = true
		return
	}
	s.toolCall(members{"function": v, "index": jsontext.Value("0")}, whole)
}

// toolCall reads a call, or a piece of one.
func (s *says) toolCall(m members, whole bool) {
	index, id := count(m["index"]), plain(m["id"])
	delete(m, "index")
	kind := "function"
	if plain(m["type"]) == "custom" || m["type"] == nil && m["custom"] != nil {
		kind = "custom"
	}
	inner := fields(m[kind])
	field := "arguments"
	if kind == "custom" {
		field = "input"
	}
	named, more := plain(inner["name"]), argument(inner[field])
	delete(inner, field)
	c := s.calls.find(index, id, named, whole)
	if c == nil {
		c = &call{open: s.begin(answer.ToolCall, kind, answer.InMessage), number: len(s.calls.all), said: map[string]string{}}
		s.calls.all = append(s.calls.all, c)
		s.turn = nil // what the model says after a call is another part
	}
	s.calls.keep(c, index)
	if id != "" {
		c.id = id
		m["id"] = quoted(id)
	}
	if named != "" {
		c.named = named
	}
	c.arguments = append(c.arguments, more...)
	text := c.runes.join(more)
	if value := c.news(m, inner, kind); value != nil || text != "" {
		s.piece(c.open, c.number, text, value)
	}
}

// find is the call that a piece goes on with; nil: it begins one. That an index is in use does not say that the piece
// is of the same call: some servers number all calls alike, and some none.
func (c *calls) find(index int, id, named string, whole bool) *call {
	if whole || c.last == nil {
		return nil
	}
	before := c.last
	if index >= 0 {
		if before = c.at[index]; before == nil {
			return nil
		}
	}
	switch {
	case id != "" && before.id != "" && id != before.id:
		return nil
	case id == "" && named != "" && before.named != "" && jsontext.Value(before.arguments).IsValid() &&
		(index < 0 || named != before.named):
		return nil // it is named anew when the one before was whole
	}
	return before
}

func (c *calls) keep(one *call, index int) {
	if c.last = one; index < 0 {
		return
	}
	if c.at == nil {
		c.at = map[int]*call{}
	}
	c.at[index] = one
}

// news are the members of a piece that were not passed on yet; nil: there are none. Names and ids are set by the last
// piece that has them, never put together.
func (c *call) news(m, inner members, kind string) []byte {
	fresh := func(all members, prefix string) map[string]jsontext.Value {
		kept := map[string]jsontext.Value{}
		for name, v := range all {
			if name == kind && prefix == "" || empty(v) {
				continue
			}
			if value := clean(v); value != nil && c.said[prefix+name] != string(value) {
				c.said[prefix+name], kept[name] = string(value), value
			}
		}
		return kept
	}
	all := fresh(m, "")
	if len(c.said) == 0 || c.said["type"] == "" {
		c.said["type"] = strconv.Quote(kind)
		all["type"] = quoted(kind)
	}
	if called := fresh(inner, kind+"."); len(called) > 0 {
		b, err := json.Marshal(called, json.Deterministic(true))
		if err == nil {
			all[kind] = b
		}
	}
	if len(all) == 0 {
		return nil
	}
	b, err := json.Marshal(all, json.Deterministic(true))
	if err != nil {
		return nil
	}
	return b
}

// argument is a call's arguments, or a piece of them: a text, or of servers that write an object, its text.
func argument(v jsontext.Value) []byte {
	switch v.Kind() {
	case jsontext.KindString:
		raw, _, _ := unquote(nil, v)
		return raw
	case jsontext.KindBeginObject, jsontext.KindBeginArray, jsontext.KindNumber:
		return clean(v)
	}
	return nil
}

func quoted(text string) jsontext.Value {
	b, _ := jsontext.AppendQuote(nil, text) // what is not UTF-8 was replaced
	return b
}
