package api

import (
	"encoding/json"

	"prelude/domain/answer"
)

// openAIMessage is what a model said, as a whole answer carries it: the message, and what stands beside it in the
// choice and in the answer.
func openAIMessage(text string, parts []answer.Part) (message, choice, whole map[string]any) {
	message, choice = map[string]any{"role": "assistant", "content": text, "refusal": nil}, map[string]any{}
	whole = map[string]any{}
	var calls []json.RawMessage
	refused := false
	for _, p := range parts {
		to := message
		switch {
		case p.Kind == answer.ToolCall:
			calls = append(calls, p.Value)
			continue
		case p.Place == answer.InChoice:
			to = choice
		case p.Place == answer.InAnswer:
			to = whole
		}
		refused = refused || p.Kind == answer.Refusal
		add(to, p)
	}
	if calls != nil {
		message["tool_calls"] = calls
	}
	if text == "" && (calls != nil || refused) {
		message["content"] = nil
	}
	return message, choice, whole
}

// add puts a part among the members of an object. One that was said by turns with the text is one member all the same.
func add(to map[string]any, p answer.Part) {
	if p.Value == nil {
		before, _ := to[p.Name].(string)
		to[p.Name] = before + p.Text
		return
	}
	before, more := to[p.Name].(json.RawMessage)
	var all, next []json.RawMessage
	if more && json.Unmarshal(before, &all) == nil && json.Unmarshal(p.Value, &next) == nil {
		if joined, err := json.Marshal(append(all, next...)); err == nil {
			to[p.Name] = json.RawMessage(joined)
			return
		}
	}
	to[p.Name] = p.Value
}

// openAIDelta is a piece, as a stream carries it.
func (c chat) openAIDelta(head map[string]any, p answer.Piece, begins bool) map[string]any {
	if p.Kind == answer.ToolCall {
		call := answer.More(p)
		if begins {
			call = answer.Call(p.Name, p.Value, p.Text)
		}
		return chunkOf(head, map[string]any{"tool_calls": []any{indexed(p.Call, call)}}, nil)
	}
	var v any = p.Text
	if p.Value != nil {
		v = p.Value
	}
	delta := map[string]any{}
	if p.Place == answer.InMessage {
		delta[p.Name] = v
	}
	chunk, choice := chunkAnd(head, delta, nil)
	switch p.Place {
	case answer.InChoice:
		choice[p.Name] = v
	case answer.InAnswer:
		chunk[p.Name] = v
	case answer.InMessage:
	}
	return chunk
}

// indexed is a tool call, or a piece of one, with its number.
func indexed(number int, call json.RawMessage) map[string]any {
	members := map[string]any{}
	var all map[string]json.RawMessage
	if json.Unmarshal(call, &all) == nil { // it was written here
		for name, v := range all {
			members[name] = v
		}
	}
	members["index"] = number
	return members
}
