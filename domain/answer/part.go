// Package answer holds what a model says: a text, and parts that are none, in the order in which they were said.
package answer

import (
	"encoding/json"
	"fmt"
)

// Kind says what a part is.
type Kind string

// The kinds. What has none of the others is passed on as it came.
const (
	Text      Kind = "text"
	Reasoning Kind = "reasoning"
	Refusal   Kind = "refusal"
	ToolCall  Kind = "tool_call"
	Image     Kind = "image"
	Audio     Kind = "audio"
	Other     Kind = "other"
)

// TakesTurns says that parts of the kind are said one after another, and in turn with the text. Others grow beside
// them, to the end.
func (k Kind) TakesTurns() bool { return k == Text || k == Reasoning || k == Refusal || k == Image }

// placed says that parts of the kind have a place within the text.
func (k Kind) placed() bool { return k.TakesTurns() || k == ToolCall }

// Place says where in an OpenAI answer a part stands.
type Place string

// The places.
const (
	InMessage Place = "" // or in the delta
	InChoice  Place = "choice"
	InAnswer  Place = "answer"
)

// Part is one part of a reply, whole.
type Part struct {
	Kind  Kind   `json:"kind"`
	Name  string `json:"name,omitempty"` // the member that it came as; of a tool call its type: function or custom
	Place Place  `json:"place,omitempty"`
	// At is how many bytes of the reply's text were said before it; 0 of a part that grows beside the text.
	At   int    `json:"at,omitempty"`
	Text string `json:"text,omitempty"` // of reasoning, a refusal, a text
	// Value is what is no text: a tool call, a list of images.
	Value json.RawMessage `json:"value,omitempty"`
}

// Piece is a step in which something besides the text is said: it begins a part, or adds to one.
type Piece struct {
	Part  int             `json:"part"` // its number among those that are no text, from 0; the next one begins it
	Kind  Kind            `json:"kind"`
	Name  string          `json:"name,omitempty"`
	Place Place           `json:"place,omitempty"`
	Call  int             `json:"call,omitempty"`  // of a tool call: its number among the calls, from 0
	At    int             `json:"at,omitempty"`    // how many bytes of the reply's text were said before it
	Text  string          `json:"text,omitempty"`  // more of its text; of a tool call, of its arguments
	Value json.RawMessage `json:"value,omitempty"` // members of a tool call; of others, more of the value
}

// Size is how many bytes a piece adds at most to what [Encode] writes; begins says that it begins its part.
func (p Piece) Size(begins bool) int {
	n := len(p.Value) + len(p.Text)
	for i := range len(p.Text) {
		switch c := p.Text[i]; {
		case c < ' ':
			n += len(`\u0000`) - 1
		case c == '"', c == '\\':
			n++
		case c == 0xE2: // what may end a line in JavaScript is escaped
			n += len(`\u2028`) - len("\u2028")
		}
	}
	if begins {
		const around = `{"kind":"reasoning","name":"","place":"message","at":1000000,"text":"","value":{"type":"function"}},`
		n += len(around) + 2*len(p.Name)
	}
	return n
}

// Encode is what is kept of the parts that are no text, beside it; empty: there are none.
func Encode(parts []Part) string {
	if len(parts) == 0 {
		return ""
	}
	return string(encode(parts))
}

// Decode reads what [Encode] made. calls is the list of tool calls that older events have instead, said after the text.
func Decode(encoded, calls string, textBytes int) (parts []Part, err error) {
	if encoded != "" {
		if err := json.Unmarshal([]byte(encoded), &parts); err != nil {
			return nil, fmt.Errorf("read a reply's parts: %w", err)
		}
		return parts, nil
	}
	if calls == "" {
		return nil, nil
	}
	var all []json.RawMessage
	if err := json.Unmarshal([]byte(calls), &all); err != nil {
		return nil, fmt.Errorf("read a reply's tool calls: %w", err)
	}
	for _, call := range all {
		parts = append(parts, Part{Kind: ToolCall, Name: "function", Value: call, At: textBytes})
	}
	return parts, nil
}

// Whole puts a text among the parts that are none. Those that grew beside it come last.
func Whole(text string, parts []Part) []Part {
	all, said := make([]Part, 0, len(parts)+1), 0
	say := func(to int) {
		if to = min(to, len(text)); to > said {
			all, said = append(all, Part{Kind: Text, At: said, Text: text[said:to]}), to
		}
	}
	var beside []Part
	for _, p := range parts {
		if !p.Kind.placed() {
			beside = append(beside, p)
			continue
		}
		say(p.At)
		all = append(all, p)
	}
	say(len(text))
	return append(all, beside...)
}

// Pieces are steps in which parts can be said again.
func Pieces(parts []Part) []Piece {
	pieces, calls := make([]Piece, len(parts)), 0
	for i, p := range parts {
		pieces[i] = Piece{Part: i, Kind: p.Kind, Name: p.Name, Place: p.Place, Call: calls, At: p.At, Text: p.Text,
			Value: p.Value}
		if p.Kind == ToolCall {
			calls++
		}
	}
	return pieces
}

// Rest are the steps in which what was not said of parts can be said, after some of them were.
func Rest(parts []Part, said []Piece) []Piece {
	var draft Draft
	for _, p := range said {
		draft.Add(p)
	}
	pieces := Pieces(parts)
	for i := range min(len(draft.parts), len(pieces)) {
		pieces[i] = draft.parts[i].rest(pieces[i])
	}
	kept := pieces[:0]
	for i, p := range pieces {
		if p.Text != "" || p.Value != nil || i >= len(draft.parts) {
			kept = append(kept, p)
		}
	}
	return kept
}
