package llm

import (
	"errors"
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"prelude/commands"
	"prelude/domain/receipt"
)

// piece is what is read of a chat.completion.chunk, and of a chat.completion.
type piece struct {
	Object  string         `json:"object"`
	Error   jsontext.Value `json:"error"`
	Choices []choice       `json:"choices"`
	Usage   *usage         `json:"usage"`
	Padding span           `json:"obfuscation"` // random, so that lengths on the wire say less
}

type choice struct {
	Index   int     `json:"index"`
	Delta   message `json:"delta"`
	Message message `json:"message"`
	Finish  string  `json:"finish_reason"`
}

type message struct {
	Content   span           `json:"content"`
	Refusal   span           `json:"refusal"` // the text of a reply that declines
	Reasoning jsontext.Value `json:"reasoning"`
	Thoughts  jsontext.Value `json:"reasoning_content"`
	ToolCalls jsontext.Value `json:"tool_calls"`
}

type usage struct {
	Input  int `json:"prompt_tokens"`
	Output int `json:"completion_tokens"`
}

// lenient reads what clients read. A character may be split over two pieces, so that neither half
// is valid by itself.
var lenient = jsontext.AllowInvalidUTF8(true)

var errNotText = errors.New("not a text")

// span is where a string stands in a JSON text, quotes included. The zero span is a null, or
// nothing.
type span struct{ start, end int }

// filled reports whether there is a string with something in it.
func (s span) filled() bool { return s.end-s.start > len(`""`) }

// UnmarshalJSONFrom notes where the next value stands.
func (s *span) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	v, err := d.ReadValue()
	if err != nil {
		return err
	}
	switch v.Kind() {
	case jsontext.KindNull:
		*s = span{}
	case jsontext.KindString:
		s.end = int(d.InputOffset())
		s.start = s.end - len(v)
	default:
		return errNotText
	}
	return nil
}

// parse reads all of a piece; what has no meaning here is checked to be JSON and left out.
func parse(data []byte) (piece, error) {
	var p piece
	err := json.Unmarshal(data, &p, lenient)
	return p, err
}

// decode reads one piece. Most differ from the one before in their text alone, and then that is all
// that is read. Alive reports that the model has said or thought something.
func (r *reply) decode(data []byte) (chunk commands.Chunk, alive bool, err error) {
	if !r.failing {
		if raw, ok := r.shape.match(data); ok {
			chunk.Text, err = r.runes.join(raw)
			return chunk, len(raw) > 0, err
		}
	}
	p, err := parse(data)
	if err != nil {
		return chunk, false, garbage()
	}
	if r.failing || p.failed() {
		return chunk, false, reported(data, r.started)
	}
	r.shape.learn(data, p)
	for _, c := range p.Choices {
		if c.Index == 0 {
			return r.take(data, c.Delta, c.Finish, p.Usage)
		}
	}
	return commands.Chunk{Usage: p.Usage.counted()}, false, nil
}

// single reads a reply that came as one JSON value.
func (r *reply) single() (commands.Chunk, error) {
	r.over = true
	data, err := io.ReadAll(io.LimitReader(r.in, maxLine+1))
	if err != nil {
		return commands.Chunk{}, cut(false)
	}
	p, err := parse(data)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) && len(data) <= maxLine:
		return commands.Chunk{}, cut(false)
	case err != nil:
		return commands.Chunk{}, garbage()
	case p.failed():
		return commands.Chunk{}, reported(data, false)
	case len(p.Choices) == 0:
		return commands.Chunk{}, garbage()
	}
	c := p.Choices[0]
	chunk, _, err := r.take(data, c.Message, c.Finish, p.Usage)
	if chunk.Finish == "" {
		chunk.Finish = "stop"
		if err == nil && r.runes.torn() {
			err = garbage()
		}
	}
	chunk.ToolCalls = numbered(chunk.ToolCalls)
	return chunk, err
}

// take makes a chunk of a message, or of a piece of it.
func (r *reply) take(
	data []byte, m message, finish string, used *usage,
) (chunk commands.Chunk, alive bool, err error) {
	chunk = commands.Chunk{Finish: reason(finish), Usage: used.counted()}
	if finish == "error" {
		return chunk, false, broken("The model broke off with an error.", !r.started)
	}
	said := m.Content
	if !said.filled() && m.Refusal.filled() {
		said = m.Refusal
	}
	if said.end > 0 {
		raw, _, ok := unquote(nil, data[said.start:said.end])
		text, err := r.runes.join(raw)
		if !ok || err != nil {
			return chunk, false, garbage()
		}
		chunk.Text = text
	}
	// A limit may fall within a character, then its first half is left out; else it is missing the
	// other.
	if chunk.Finish != "" && chunk.Finish != "length" && r.runes.torn() {
		return chunk, false, garbage()
	}
	if !empty(m.ToolCalls) {
		if m.ToolCalls.Kind() != jsontext.KindBeginArray || !utf8.Valid(m.ToolCalls) {
			return chunk, false, garbage()
		}
		chunk.ToolCalls = []byte(m.ToolCalls)
	}
	thinks := !empty(m.Reasoning) || !empty(m.Thoughts)
	return chunk, thinks || said.filled() || chunk.ToolCalls != nil, nil
}

// failed reports whether p is an error, in OpenAI's form or in that of older servers.
func (p piece) failed() bool {
	return p.Object == "error" || !empty(p.Error)
}

// empty reports whether v is one of the ways in which servers write nothing.
func empty(v jsontext.Value) bool {
	switch string(v) {
	case "", "null", `""`, "[]", "{}":
		return true
	}
	return false
}

func (u *usage) counted() *receipt.Usage {
	if u == nil || u.Input < 0 || u.Output < 0 {
		return nil
	}
	return &receipt.Usage{InputTokens: u.Input, OutputTokens: u.Output}
}

// reason returns why the model stopped in OpenAI's words. Servers have others; those that nobody
// knows are a stop, because the reply is whole.
func reason(finish string) string {
	switch finish {
	case "", "stop", "length", "tool_calls", "content_filter":
		return finish
	case "function_call":
		return "tool_calls"
	case "max_tokens", "model_length":
		return "length"
	}
	return "stop"
}

// numbered gives each call of a whole message the index that it has in pieces.
func numbered(calls []byte) []byte {
	var all []map[string]jsontext.Value
	if len(calls) == 0 || json.Unmarshal(calls, &all) != nil {
		return calls
	}
	for i, call := range all {
		if _, ok := call["index"]; !ok && call != nil {
			call["index"] = jsontext.Value(strconv.Itoa(i))
		}
	}
	out, err := json.Marshal(all, json.Deterministic(true))
	if err != nil {
		return calls
	}
	return out
}
