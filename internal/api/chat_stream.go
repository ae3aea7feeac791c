package api

import (
	"context"
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
	if c.followChunks(ctx, w, head, first) {
		c.end(w, head)
	}
}

// followChunks writes what comes until the end; false: nobody listens any more, or nobody knows more.
func (c chat) followChunks(ctx context.Context, w *events, head map[string]any, p commands.Progress) bool {
	at, seen, parts := 0, 0, 0
	before, after := w.frame(chunkOf(head, map[string]any{"content": ""}, nil))
	say := func(text []byte) {
		if at += len(text); len(text) > 0 {
			w.raw(w.around(before, text, after))
		}
	}
	for !w.gone {
		ends := p.End != nil && len(p.Text) == 0 && len(p.Pieces) == 0
		for _, piece := range p.Pieces {
			if n := min(piece.At-at, len(p.Text)); n > 0 {
				say(p.Text[:n])
				p.Text = p.Text[n:]
			}
			seen++
			w.data(c.openAIDelta(head, piece, piece.Part >= parts))
			parts = max(parts, piece.Part+1)
		}
		if say(p.Text); ends {
			return true
		}
		var err error
		if p, err = c.src.next(ctx, w, at, seen); err != nil {
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
	chunk, _ := chunkAnd(head, delta, finish)
	return chunk
}

// chunkAnd is a chunk, and its one choice.
func chunkAnd(head map[string]any, delta map[string]any, finish *string) (chunk, choice map[string]any) {
	chunk = maps.Clone(head)
	choice = map[string]any{"index": 0, "delta": delta, "logprobs": nil, "finish_reason": finish}
	chunk["choices"] = []any{choice}
	return chunk, choice
}
