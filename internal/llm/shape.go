package llm

import (
	"bytes"
	"slices"
)

// shape is a piece without its text. A piece that has the same bytes around a JSON string is the
// same JSON value but for that string, so it need not be read again to know what it says.
type shape struct {
	line  []byte
	holes []span // in order; the text, and the padding if there is one
	text  int    // which of the holes is the text
	raw   []byte
}

// learn takes the shape of a piece that is a text and nothing else.
func (s *shape) learn(data []byte, p piece) {
	s.line, s.holes = s.line[:0], s.holes[:0]
	if len(p.Choices) != 1 || p.Usage != nil {
		return
	}
	c := p.Choices[0]
	d := c.Delta
	if c.Index != 0 || c.Finish != "" || d.Content.end == 0 || !empty(d.ToolCalls) ||
		d.Refusal.filled() || !empty(d.Reasoning) || !empty(d.Thoughts) {
		return
	}
	s.line = append(s.line, data...)
	s.holes = append(s.holes, d.Content)
	if p.Padding.end > 0 {
		s.holes = append(s.holes, p.Padding)
		slices.SortFunc(s.holes, func(a, b span) int { return a.start - b.start })
	}
	s.text = slices.Index(s.holes, d.Content)
}

// match returns the text of data if it has the shape. Its bytes are good until the next call.
func (s *shape) match(data []byte) ([]byte, bool) {
	if len(s.holes) == 0 {
		return nil, false
	}
	at := 0
	var text []byte
	s.raw = s.raw[:0]
	for i, hole := range s.holes {
		rest, ok := bytes.CutPrefix(data, s.line[at:hole.start])
		if !ok {
			return nil, false
		}
		from := len(s.raw)
		if s.raw, data, ok = unquote(s.raw, rest); !ok {
			return nil, false
		}
		if i == s.text {
			text = s.raw[from:]
		}
		at = hole.end
	}
	return text, bytes.Equal(data, s.line[at:])
}
