package llm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"prelude/commands"
	"prelude/domain/answer"
)

// spoken is a random answer, in whatever a server may put into one.
type spoken struct {
	thoughts, text, refusal string
	calls                   []map[string]any
	images                  []any
	tier                    string
}

func drawnAnswer(t *rapid.T) spoken {
	word := rapid.StringMatching(`[a-zé😀"\\\n ]{0,12}`)
	a := spoken{thoughts: word.Draw(t, "thoughts"), text: word.Draw(t, "text"), refusal: word.Draw(t, "refusal"),
		tier: rapid.SampledFrom([]string{"", "flex"}).Draw(t, "tier")}
	for i := range rapid.IntRange(0, 3).Draw(t, "calls") {
		a.calls = append(a.calls, map[string]any{"id": fmt.Sprint("call-", i), "type": "function",
			"function": map[string]any{"name": "f" + fmt.Sprint(i), "arguments": `{"a":` + string(quoted(word.Draw(t, "argument"))) + `}`}})
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "images") {
		a.images = append(a.images, map[string]any{"n": i})
	}
	return a
}

// whole is the answer as one JSON value.
func (a spoken) whole() string {
	message := map[string]any{"role": "assistant", "content": a.text, "refusal": a.refusal, "reasoning_content": a.thoughts}
	if a.calls != nil {
		message["tool_calls"] = a.calls
	}
	if a.images != nil {
		message["images"] = a.images
	}
	return encoded(map[string]any{"service_tier": a.tier,
		"choices": []any{map[string]any{"index": 0, "message": message, "finish_reason": a.finish()}}})
}

func (a spoken) finish() string {
	if a.calls != nil {
		return "tool_calls"
	}
	return "stop"
}

func encoded(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// streamed is the same in pieces, cut anywhere between characters, with calls as one of several kinds of servers sends them.
func (a spoken) streamed(t *rapid.T) string {
	var out strings.Builder
	send := func(delta map[string]any) {
		fmt.Fprintf(&out, "data: %s\n\n", encoded(map[string]any{"service_tier": a.tier,
			"choices": []any{map[string]any{"index": 0, "delta": delta, "finish_reason": nil}}}))
	}
	pieces := func(text string, say func(string)) {
		for all := []rune(text); len(all) > 0; {
			n := rapid.IntRange(1, len(all)).Draw(t, "cut")
			say(string(all[:n]))
			all = all[n:]
		}
	}
	for _, m := range []struct{ name, text string }{{"reasoning_content", a.thoughts}, {"content", a.text}, {"refusal", a.refusal}} {
		pieces(m.text, func(s string) { send(map[string]any{m.name: s}) })
	}
	habit := rapid.SampledFrom([]string{"numbered", "all 0", "none", "named again"}).Draw(t, "habit")
	for i, call := range a.calls {
		function := call["function"].(map[string]any)
		begun := false
		index := map[string]any{"numbered": i, "named again": i, "all 0": 0}[habit]
		pieces(function["arguments"].(string), func(s string) {
			piece, inner := map[string]any{}, map[string]any{"arguments": s}
			if index != nil {
				piece["index"] = index
			}
			if !begun || habit == "named again" {
				piece["id"], piece["type"], inner["name"] = call["id"], "function", function["name"]
			}
			piece["function"], begun = inner, true
			send(map[string]any{"tool_calls": []any{piece}})
		})
	}
	for _, image := range a.images {
		send(map[string]any{"images": []any{image}})
	}
	fmt.Fprintf(&out, `data: {"service_tier":%q,"choices":[{"index":0,"delta":{},"finish_reason":%q}]}`+"\n\ndata: [DONE]\n\n",
		a.tier, a.finish())
	return out.String()
}

// A reply that comes whole is what the same comes to in pieces, whatever their form.
func TestReply_whole_is_what_its_pieces_come_to(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := drawnAnswer(t)
		whole, finish := heardIn(t, a.whole())
		streamed, ends := heardIn(t, a.streamed(t))
		if whole != streamed || finish != ends {
			t.Fatalf("whole it says %s (%s), in pieces %s (%s)", whole, finish, streamed, ends)
		}
	})
}

// heardIn reads a body without a server.
func heardIn(t *rapid.T, body string) (said, finish string) {
	_, w := newWatch(t.Context(), New(Config{}).limits)
	defer w.stop()
	var text string
	var draft answer.Draft
	r := newReply(w, strings.NewReader(body))
	for {
		c, err := r.next(t.Context())
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Fatalf("%v of %s", err, body)
			}
			return encoded(answer.Whole(text, draft.Parts())), finish
		}
		text, finish = hearing(c, &draft, text, finish)
	}
}

func hearing(c commands.Chunk, draft *answer.Draft, text, finish string) (string, string) {
	for _, p := range c.Pieces {
		p.At = len(text)
		draft.Add(p)
	}
	if c.Finish != "" {
		finish = c.Finish
	}
	return text + c.Text, finish
}
