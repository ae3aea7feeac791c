package api

import (
	"context"
	"encoding/json"
	"maps"

	"github.com/danielgtaylor/huma/v2"

	"prelude/commands"
)

// stream writes the chunks of a reply as OpenAI's clients read them, to its end.
func (c chat) stream(hc huma.Context, first commands.Progress) {
	w := c.s.eventStream(hc)
	defer w.close()
	head := c.head("chat.completion.chunk")
	c.chunk(w, head, map[string]any{"role": "assistant", "content": ""}, nil)
	// It ends with the key that it was asked for with, like every stream.
	ctx, done := c.s.Authn.While(hc.Context(), keyOfRequest(hc.Context()))
	defer done()
	if c.src.running() && c.s.farEnd(ctx, c.src, w) != nil {
		return // nobody knows its end, or nobody listens
	}
	if c.src.run == nil {
		c.chunk(w, head, map[string]any{"content": c.src.ended.Text.Text}, nil)
		if calls := c.toolCalls(); calls != nil {
			c.chunk(w, head, map[string]any{"tool_calls": deltas(calls)}, nil)
		}
		c.end(w, head)
		return
	}
	if c.followChunks(ctx, w, head, first) {
		c.end(w, head)
	}
}

// followChunks writes what comes until the end; false: nobody listens any more.
func (c chat) followChunks(ctx context.Context, w *events, head map[string]any, p commands.Progress) bool {
	at, seen := 0, 0
	before, after := w.frame(chunkOf(head, map[string]any{"content": ""}, nil))
	for !w.gone {
		if len(p.Text) > 0 {
			at += len(p.Text)
			w.raw(w.around(before, p.Text, after))
		}
		for _, t := range p.Tools {
			seen++
			c.chunk(w, head, map[string]any{"tool_calls": t.ToolCalls}, nil)
		}
		if p.End != nil && len(p.Text) == 0 && len(p.Tools) == 0 {
			c.s.reached(c.src.run.Owner, p.End.Position)
			return true
		}
		var err error
		if p, err = w.next(ctx, c.src.run, at, seen); err != nil {
			return false
		}
	}
	return false
}

// end writes the last chunks: the finish, the usage if it was asked for, and [DONE]; or the error.
func (c chat) end(w *events, head map[string]any) {
	b := c.src.body()
	if err := upstreamProblem(b, false); err != nil {
		p, _ := toProblem(err)
		w.data(toOpenAI(p))
		return
	}
	c.chunk(w, head, map[string]any{}, b.Finish)
	if o := c.r.StreamOptions; o != nil && o.IncludeUsage {
		last := maps.Clone(head)
		last["choices"], last["usage"] = []any{}, usageOpenAI(b)
		w.data(last)
	}
	w.raw([]byte("[DONE]"))
}

func (c chat) chunk(w *events, head map[string]any, delta map[string]any, finish *string) {
	w.data(chunkOf(head, delta, finish))
}

func chunkOf(head map[string]any, delta map[string]any, finish *string) map[string]any {
	chunk := maps.Clone(head)
	chunk["choices"] = []any{map[string]any{"index": 0, "delta": delta, "logprobs": nil,
		"finish_reason": finish}}
	return chunk
}

// toolCalls are a reply's tool calls, put together from their pieces, or as they were kept.
func (c chat) toolCalls() (calls []commands.ToolCall) {
	if c.src.run != nil {
		p, _ := c.src.run.Peek()
		return commands.ToolCalls(p.Tools)
	}
	if text := c.src.ended.Tools.Text; text != "" && json.Unmarshal([]byte(text), &calls) != nil {
		return nil
	}
	return calls
}

// indexed is a tool call as a stream carries it.
type indexed struct {
	Index int `json:"index"`
	commands.ToolCall
}

func deltas(calls []commands.ToolCall) []indexed {
	all := make([]indexed, len(calls))
	for i, call := range calls {
		all[i] = indexed{i, call}
	}
	return all
}
