package answer

import (
	"bytes"
	"encoding/json"
)

// Draft puts a reply's parts together from their pieces.
type Draft struct{ parts []growing }

// growing is a part that may go on.
type growing struct {
	Part
	text   []byte
	values []json.RawMessage
}

// Add takes the next piece.
func (d *Draft) Add(p Piece) {
	if p.Part == len(d.parts) {
		d.parts = append(d.parts, growing{Part: Part{Kind: p.Kind, Name: p.Name, Place: p.Place, At: p.At}})
	}
	g := &d.parts[p.Part]
	g.text = append(g.text, p.Text...)
	if p.Value != nil {
		g.values = append(g.values, p.Value)
	}
}

// Parts are the parts as far as they have come.
func (d *Draft) Parts() []Part {
	parts := make([]Part, len(d.parts))
	for i := range d.parts {
		parts[i] = d.parts[i].whole()
	}
	return parts
}

// Said are the parts that nothing will be added to, when so much of the text has been said: in the order in which they
// are handed on. All are when the reply has ended; those that take turns come first then, and at their place before.
func (d *Draft) Said(textBytes int, ended bool) []Part {
	var parts []Part
	for i := range d.parts {
		if g := &d.parts[i]; g.Kind.TakesTurns() && (ended || textBytes > g.At || d.turnAfter(i)) {
			parts = append(parts, g.whole())
		}
	}
	for i := range d.parts {
		if g := &d.parts[i]; ended && !g.Kind.TakesTurns() {
			p := g.whole()
			p.At = textBytes
			parts = append(parts, p)
		}
	}
	return parts
}

// turnAfter says whether another part has its turn after the ith.
func (d *Draft) turnAfter(i int) bool {
	for _, g := range d.parts[i+1:] {
		if g.Kind.TakesTurns() {
			return true
		}
	}
	return false
}

// whole is the part as it is kept and shown.
func (g *growing) whole() Part {
	p := g.Part
	p.Text, p.Value = string(g.text), merged(g.Part, g.values)
	if g.Kind == ToolCall {
		p.Text, p.Value = "", Call(p.Name, p.Value, p.Text)
	}
	if !g.Kind.placed() {
		p.At = 0
	}
	return p
}

// Call is a tool call of its members and its arguments, as an OpenAI client reads it.
func Call(name string, members json.RawMessage, arguments string) json.RawMessage {
	inner, field := callFields(name)
	call := object(members)
	called := object(call[inner])
	if before := text(called[field]); before != "" || arguments != "" || called[field] == nil {
		called[field] = encode(before + arguments)
	}
	call[inner] = encode(called)
	if call["type"] == nil {
		call["type"] = encode(inner)
	}
	return encode(call)
}

// callFields says where a tool call's arguments stand.
func callFields(name string) (inner, field string) {
	if name == "custom" {
		return "custom", "input"
	}
	return "function", "arguments"
}

// More is a later piece of a tool call.
func More(p Piece) json.RawMessage {
	inner, field := callFields(p.Name)
	call := object(p.Value)
	if p.Text != "" {
		called := object(call[inner])
		called[field] = encode(p.Text)
		call[inner] = encode(called)
	}
	return encode(call)
}

// merged puts the values of a part's pieces together: lists one after another, objects member by member, of anything
// else the last one stands. What came in one piece stays as it came.
func merged(p Part, values []json.RawMessage) json.RawMessage {
	if len(values) <= 1 {
		if len(values) == 0 {
			return nil
		}
		return values[0]
	}
	if p.Place == InAnswer {
		return values[len(values)-1] // such a member is said anew
	}
	all := decode(values[0])
	for _, v := range values[1:] {
		all = merge(all, decode(v), p.Kind == Audio)
	}
	return encode(all)
}

// merge puts b after a. The data and the transcript of sound go on where they left off.
func merge(a, b any, sound bool) any {
	switch b := b.(type) {
	case []any:
		if a, ok := a.([]any); ok {
			return append(a, b...)
		}
	case map[string]any:
		a, ok := a.(map[string]any)
		if !ok {
			return b
		}
		for name, v := range b {
			before, after := a[name], v
			said, more := before.(string)
			if next, ok := after.(string); ok && more && sound && (name == "data" || name == "transcript") {
				a[name] = said + next
				continue
			}
			if a[name] = after; before != nil {
				a[name] = merge(before, after, sound)
			}
		}
		return a
	}
	return b
}

// decode reads a value that is known to be JSON, and keeps its numbers as they are written.
func decode(v json.RawMessage) (out any) {
	d := json.NewDecoder(bytes.NewReader(v))
	d.UseNumber()
	if d.Decode(&out) != nil {
		return nil
	}
	return out
}

// object is a value's members; none where it is no object.
func object(v json.RawMessage) map[string]json.RawMessage {
	members := map[string]json.RawMessage{}
	if json.Unmarshal(v, &members) != nil || members == nil {
		return map[string]json.RawMessage{}
	}
	return members
}

func text(v json.RawMessage) (s string) {
	if json.Unmarshal(v, &s) != nil {
		return ""
	}
	return s
}

// encode writes what was read as JSON.
func encode(v any) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // it holds nothing that JSON does not
	}
	return bytes.TrimSpace(b.Bytes())
}

// rest is what of a whole part is not in this one, of which some has come.
func (g *growing) rest(whole Piece) Piece {
	if g.Kind == ToolCall {
		inner, field := callFields(g.Name)
		call := object(whole.Value)
		whole.Text = after(text(object(call[inner])[field]), string(g.text))
		whole.Value = nil
		return whole
	}
	whole.Text = after(whole.Text, string(g.text))
	if len(g.values) > 0 {
		var all, had []json.RawMessage
		if json.Unmarshal(whole.Value, &all) == nil && json.Unmarshal(merged(g.Part, g.values), &had) == nil &&
			len(had) < len(all) {
			whole.Value = encode(all[len(had):])
		} else {
			whole.Value = nil // what is no list came whole
		}
	}
	return whole
}

// after is what of a text comes after so much of it.
func after(text, said string) string { return text[min(len(said), len(text)):] }
