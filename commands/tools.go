package commands

import (
	"encoding/json"

	"prelude/domain"
)

// ToolCall is a call that a model asks its client to make.
type ToolCall struct {
	ID       string `json:"id"`
	Type     string `json:"type"`
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

// maxToolCalls is how many calls one reply may hold.
const maxToolCalls = 128

// ToolCalls puts a reply's tool calls together from the pieces in which they came.
func ToolCalls(chunks []Chunk) []ToolCall {
	var calls []ToolCall
	for _, c := range chunks {
		var pieces []struct {
			Index int `json:"index"`
			ToolCall
		}
		if json.Unmarshal(c.ToolCalls, &pieces) != nil {
			continue // not of the form that OpenAI's clients know
		}
		for _, piece := range pieces {
			if piece.Index < 0 || piece.Index >= maxToolCalls {
				continue
			}
			for len(calls) <= piece.Index {
				calls = append(calls, ToolCall{Type: "function"})
			}
			calls[piece.Index].add(piece.ToolCall)
		}
	}
	return calls
}

// add puts a piece at the end of a call.
func (t *ToolCall) add(piece ToolCall) {
	if piece.ID != "" {
		t.ID = piece.ID
	}
	t.Function.Name += piece.Function.Name
	t.Function.Arguments += piece.Function.Arguments
}

// encodeTools is what is kept of a reply's tool calls; empty: there are none.
func encodeTools(chunks []Chunk) string {
	calls := ToolCalls(chunks)
	if len(calls) == 0 {
		return ""
	}
	return domain.SealJSON("", calls).Text
}
