package llm

import (
	"bytes"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// shape is a piece without its text. A piece that has the same bytes around a JSON string is the
// same JSON value but for that string, so it need not be read again to know what it says.
type shape struct {
	line  []byte
	holes []span // in order; the text, and the padding if there is one
	text  int    // which of the holes is the text
	raw   []byte
}

// forget has no shape be known.
func (s *shape) forget() { s.line, s.holes = s.line[:0], s.holes[:0] }

// learn takes the shape of a piece that said a text, and nothing else that had not been said before.
func (s *shape) learn(data []byte, p piece, m *message) {
	if m.Content.kind != jsontext.KindString || len(p.Choices) != 1 {
		return
	}
	s.line = append(s.line, data...)
	s.holes = append(s.holes, m.Content)
	if p.Padding.kind == jsontext.KindString {
		s.holes = append(s.holes, p.Padding)
		slices.SortFunc(s.holes, func(a, b span) int { return a.start - b.start })
	}
	s.text = slices.Index(s.holes, m.Content)
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
