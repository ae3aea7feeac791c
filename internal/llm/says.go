package llm

import (
	"bytes"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"prelude/commands"
	"prelude/domain/answer"
)

// says puts together what a model says: which part a piece begins or goes on with. It is done here once, before
// anything is shown or kept, so that a reply that came whole, a streamed one and a repeat are the same.
type says struct {
	parts  []*open
	turn   *open            // the part that has its turn; nil: the text has
	beside map[string]*open // those that take none, by place and name
	calls  calls
	runes  runes // of the text
	spoke  bool  // there was a text, or a part of a reply
	odd    bool  // there was something where a text belongs that is none
	held   commands.Chunk
	out    []commands.Chunk // whole: what comes next was said after them
}

// open is a part that more may come of.
type open struct {
	number int
	kind   answer.Kind
	name   string
	place  answer.Place
	runes  runes
	last   []byte // its last value
}

// text adds a piece of the text, and returns as much as is whole characters.
func (s *says) text(raw []byte) string {
	if len(raw) > 0 {
		s.turn, s.spoke = nil, true
	}
	return s.runes.join(raw)
}

// say adds to the text of what is being read.
func (s *says) say(v jsontext.Value) {
	raw, _, ok := unquote(nil, v)
	if !ok {
		s.odd = true
		return
	}
	s.held.Text += s.text(raw)
}

// next has what comes now be said after the text before it.
func (s *says) next() {
	if s.held.Text != "" {
		s.out = append(s.out, s.held)
		s.held = commands.Chunk{}
	}
}

// flush gives what was said, the last of it with the ending of c.
func (s *says) flush(to []commands.Chunk, c commands.Chunk) []commands.Chunk {
	to = append(to, s.out...)
	s.held.Finish, s.held.Usage = c.Finish, c.Usage
	if s.held.Text != "" || s.held.Pieces != nil || s.held.Finish != "" || s.held.Usage != nil {
		to = append(to, s.held)
	}
	s.held, s.out = commands.Chunk{}, s.out[:0]
	return to
}

// part is the part that goes on, or a new one.
func (s *says) part(kind answer.Kind, name string, place answer.Place) *open {
	if kind.TakesTurns() {
		s.spoke = true
		if o := s.turn; o == nil || o.kind != kind || o.name != name {
			s.turn = s.begin(kind, name, place)
		}
		return s.turn
	}
	key := string(place) + " " + name
	if s.beside[key] == nil {
		if s.beside == nil {
			s.beside = map[string]*open{}
		}
		s.beside[key] = s.begin(kind, name, place)
	}
	return s.beside[key]
}

func (s *says) begin(kind answer.Kind, name string, place answer.Place) *open {
	o := &open{number: len(s.parts), kind: kind, name: name, place: place}
	s.parts = append(s.parts, o)
	return o
}

// piece adds to a part.
func (s *says) piece(o *open, call int, text string, value []byte) {
	s.next()
	s.held.Pieces = append(s.held.Pieces, answer.Piece{Part: o.number, Kind: o.kind, Name: o.name, Place: o.place,
		Call: call, Text: text, Value: value})
}

// think adds to a part that is a text of its own.
func (s *says) think(kind answer.Kind, name string, v jsontext.Value) {
	raw, _, ok := unquote(nil, v)
	if !ok || len(raw) == 0 {
		return
	}
	o := s.part(kind, name, answer.InMessage)
	if text := o.runes.join(raw); text != "" {
		s.piece(o, 0, text, nil)
	}
}

// value adds a value to a part. What says the same again says nothing: servers repeat some members in every piece. Only
// lists within a message grow by what is alike.
func (s *says) value(kind answer.Kind, name string, place answer.Place, v jsontext.Value) {
	value := clean(v)
	if value == nil {
		return
	}
	o := s.part(kind, name, place)
	grows := place != answer.InAnswer && bytes.IndexByte(value, '[') >= 0
	if !grows && bytes.Equal(value, o.last) {
		return
	}
	o.last = value
	s.piece(o, 0, "", value)
}

// thoughts are the names that servers give to a model's reasoning, as a text.
var thoughts = []string{"reasoning_content", "reasoning", "thinking"}

// message reads a message or a delta; it reports whether the model has said or thought something.
func (s *says) message(data []byte, m *message, whole bool) (alive bool) {
	pieces := func() int { return len(s.out) + len(s.held.Pieces) + len(s.held.Text) }
	before := pieces()
	s.reason(m.Rest)
	if m.Content.kind != 0 {
		s.content(m.Content.in(data))
	}
	if m.Refusal.kind == jsontext.KindString {
		s.think(answer.Refusal, "refusal", m.Refusal.in(data))
	}
	if !empty(m.Call) {
		s.call(m.Call, whole)
	}
	if !empty(m.Calls) {
		s.toolCalls(m.Calls, whole)
	}
	alive = pieces() > before || m.Content.end-m.Content.start > len(`""`)
	s.others(m.Rest, answer.InMessage)
	return alive
}

// reason reads what a model thinks. A server that tells it under two names at once says it once.
func (s *says) reason(rest members) {
	var said jsontext.Value
	for _, name := range thoughts {
		v := rest[name]
		if v.Kind() != jsontext.KindString || empty(v) {
			continue
		}
		if delete(rest, name); said != nil && bytes.Equal(said, v) {
			o := s.part(answer.Other, name, answer.InMessage)
			raw, _, _ := unquote(nil, v)
			s.piece(o, 0, o.runes.join(raw), nil)
			continue
		}
		s.think(answer.Reasoning, name, v)
		said = v
	}
}

// content reads a message's content: a text, or a list of parts.
func (s *says) content(v jsontext.Value) {
	switch v.Kind() {
	case jsontext.KindString:
		s.say(v)
	case jsontext.KindBeginArray, jsontext.KindBeginObject:
		for _, part := range elements(v) {
			s.contentPart(part)
		}
	default:
		s.odd = true
	}
}

func (s *says) contentPart(v jsontext.Value) {
	m := fields(v)
	switch kind := plain(m["type"]); kind {
	case "text", "output_text", "":
		switch {
		case v.Kind() == jsontext.KindString:
			s.say(v)
		case m["text"].Kind() == jsontext.KindString:
			s.say(m["text"])
		default:
			s.odd = true
		}
	case "thinking", "reasoning":
		for _, said := range elements(firstOf(m, kind, "text", "content")) {
			if inner := fields(said); inner != nil {
				said = inner["text"]
			}
			if said.Kind() == jsontext.KindString {
				s.think(answer.Reasoning, thoughts[0], said)
			}
		}
	case "refusal":
		s.think(answer.Refusal, "refusal", m["refusal"])
	case "image_url", "image":
		s.value(answer.Image, "images", answer.InMessage, inList(v))
	default:
		s.value(answer.Other, "content_parts", answer.InMessage, inList(v))
	}
}

func firstOf(m members, names ...string) jsontext.Value {
	for _, name := range names {
		if v := m[name]; !empty(v) {
			return v
		}
	}
	return jsontext.Value("[]")
}

func inList(v jsontext.Value) jsontext.Value { return slices.Concat([]byte("["), v, []byte("]")) }

// others are the members that are passed on as they came.
func (s *says) others(rest members, place answer.Place) {
	for _, name := range sortedNames(rest) {
		v := rest[name]
		if empty(v) {
			continue
		}
		kind := answer.Other
		if place == answer.InMessage {
			switch name {
			case "reasoning_details", "thinking_blocks", "reasoning", "thinking", "reasoning_content":
				kind = answer.Reasoning
			case "images":
				kind = answer.Image
			case "audio":
				kind = answer.Audio
			}
		}
		s.value(kind, name, place, v)
	}
}

func (s *says) choice(rest members) { s.others(rest, answer.InChoice) }

func (s *says) answer(rest members) { s.others(rest, answer.InAnswer) }

func sortedNames(m members) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// ending is how a reply ended that does not say why.
func (s *says) ending() string {
	if len(s.calls.all) > 0 {
		return "tool_calls"
	}
	return "stop"
}

// finish ends what was said. A limit may fall within a character, then its first half is left out; else what is
// missing of it is marked. A reply that came to its end with nothing in it that can be read is none: it would be an
// empty success.
func (s *says) finish(finish string) error {
	if finish != "length" {
		s.held.Text += s.runes.rest()
		for _, o := range s.parts {
			if text := o.runes.rest(); text != "" {
				s.piece(o, 0, text, nil)
			}
		}
	}
	switch {
	case finish == "tool_calls" && len(s.calls.all) == 0:
		return garbage()
	case !s.spoke && len(s.calls.all) == 0 && (s.odd || s.strange()):
		return garbage()
	}
	return nil
}

// strange says that the message held something.
func (s *says) strange() bool {
	return slices.ContainsFunc(s.parts, func(o *open) bool {
		return o.place == answer.InMessage && o.kind != answer.Audio
	})
}
