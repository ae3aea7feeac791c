package llm

import (
	"errors"
	"io"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"prelude/commands"
)

// piece is what is read of a chat.completion.chunk, and of a chat.completion. What does not decide whether there is a
// reply may be of any type: it is passed on, or is as if it were not there.
type piece struct {
	Object  jsontext.Value `json:"object"`
	Error   jsontext.Value `json:"error"`
	Choices []choice       `json:"choices"`
	Usage   jsontext.Value `json:"usage"`
	Padding span           `json:"obfuscation"` // random, so that lengths on the wire say less
	// What every answer of ours has its own of.
	ID          jsontext.Value `json:"id"`
	Created     jsontext.Value `json:"created"`
	Model       jsontext.Value `json:"model"`
	Fingerprint jsontext.Value `json:"system_fingerprint"`
	Rest        members        `json:",embed"`
}

type choice struct {
	Index   jsontext.Value `json:"index"`
	Delta   *message       `json:"delta"`
	Message *message       `json:"message"` // of a whole reply; some servers stream it
	Text    span           `json:"text"`    // of those that complete a text
	Finish  jsontext.Value `json:"finish_reason"`
	Rest    members        `json:",embed"`
}

type message struct {
	Role    jsontext.Value `json:"role"`
	Content span           `json:"content"`
	Refusal span           `json:"refusal"`
	Calls   jsontext.Value `json:"tool_calls"`
	Call    jsontext.Value `json:"function_call"` // how there was one before there were many
	Rest    members        `json:",embed"`
}

// members are those of an object that have no field of their own.
type members map[string]jsontext.Value

// lenient reads what clients read. A character may be split over two pieces, so that neither half
// is valid by itself.
var lenient = json.JoinOptions(jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))

// span is where a value stands in a JSON text, quotes included. The zero span is a null, or
// nothing.
type span struct {
	start, end int
	kind       jsontext.Kind
}

// UnmarshalJSONFrom notes where the next value stands.
func (s *span) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	v, err := d.ReadValue()
	if err != nil {
		return err
	}
	*s = span{}
	if s.kind = v.Kind(); s.kind != jsontext.KindNull {
		s.end = int(d.InputOffset())
		s.start = s.end - len(v)
	}
	return nil
}

func (s span) in(data []byte) jsontext.Value { return data[s.start:s.end] }

// parse reads all of a piece.
func parse(data []byte) (piece, error) {
	var p piece
	err := json.Unmarshal(data, &p, lenient)
	return p, err
}

// decode reads one piece into chunks. Most differ from the one before in their text alone, and then that is all that is
// read. Alive reports that the model has said or thought something.
func (r *reply) decode(data []byte) (alive bool, err error) {
	if !r.failing {
		if raw, ok := r.shape.match(data); ok {
			if text := r.says.text(raw); text != "" {
				r.ready = append(r.ready, commands.Chunk{Text: text})
			}
			return len(raw) > 0, nil
		}
	}
	p, err := parse(data)
	if err != nil {
		return false, garbage()
	}
	if r.failing || p.failed() {
		return false, reported(data, r.started)
	}
	r.shape.forget()
	for _, c := range p.Choices {
		if count(c.Index) <= 0 {
			return r.take(data, p, c, false)
		}
	}
	r.says.answer(p.Rest)
	r.ready = r.says.flush(r.ready, commands.Chunk{Usage: counted(p.Usage)})
	return false, nil
}

// single reads a reply that came as one JSON value.
func (r *reply) single() error {
	r.over = true
	data, err := io.ReadAll(io.LimitReader(r.in, maxLine+1))
	if err != nil {
		return cut(false)
	}
	p, err := parse(data)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) && len(data) <= maxLine:
		return cut(false)
	case err != nil:
		return garbage()
	case p.failed():
		return reported(data, false)
	case len(p.Choices) == 0:
		return garbage()
	}
	c := p.Choices[0]
	for _, other := range p.Choices {
		if count(other.Index) == 0 {
			c = other
			break
		}
	}
	_, err = r.take(data, p, c, true)
	return err
}

// take makes chunks of a choice: a whole reply, or a piece of one.
func (r *reply) take(data []byte, p piece, c choice, whole bool) (alive bool, err error) {
	m := c.Delta
	if m == nil || m.nothing() && c.Message != nil {
		m = c.Message
	}
	if m == nil {
		m = &message{}
	}
	if m.Content.kind == 0 && c.Text.kind == jsontext.KindString {
		m.Content = c.Text
	}
	finish := reason(c.Finish)
	if finish == "error" {
		return false, broken("The model broke off with an error.", !r.started)
	}
	alive = r.says.message(data, m, whole)
	r.says.choice(c.Rest)
	r.says.answer(p.Rest)
	if finish == "" && whole {
		finish = r.says.ending()
	}
	if finish != "" {
		if err := r.says.finish(finish); err != nil {
			return false, err
		}
	}
	used := counted(p.Usage)
	before := len(r.ready)
	r.ready = r.says.flush(r.ready, commands.Chunk{Finish: finish, Usage: used})
	if len(r.ready) == before+1 && finish == "" && used == nil && r.ready[before].Pieces == nil {
		r.shape.learn(data, p, m)
	}
	return alive, nil
}

// nothing says that a message has no member that counts.
func (m *message) nothing() bool {
	return m.Content.kind == 0 && m.Refusal.kind == 0 && empty(m.Calls) && empty(m.Call) && len(m.Rest) == 0
}

// failed reports whether p is an error, in OpenAI's form or in that of older servers.
func (p piece) failed() bool {
	return string(p.Object) == `"error"` || !empty(p.Error)
}

// empty reports whether v is one of the ways in which servers write nothing.
func empty(v jsontext.Value) bool {
	switch string(v) {
	case "", "null", `""`, "[]", "{}", "false", "0":
		return true
	}
	return false
}

// reason returns why the model stopped in OpenAI's words; empty: it has not. Servers have others, in capitals too;
// those that nobody knows are a stop, because the reply is whole.
func reason(v jsontext.Value) string {
	if empty(v) {
		return ""
	}
	switch finish := strings.ToLower(plain(v)); finish {
	case "stop", "length", "tool_calls", "content_filter", "error":
		return finish
	case "function_call", "tool_use", "tool_call":
		return "tool_calls"
	case "max_tokens", "max_output_tokens", "model_length":
		return "length"
	case "safety", "recitation", "blocklist", "prohibited_content", "spii", "image_safety", "language", "refusal":
		return "content_filter"
	}
	return "stop"
}
