package llm

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// pieces are lines as servers send them, %s being a text.
var pieces = []string{
	`{"id":"c","choices":[{"index":0,"delta":{"content":%s},"finish_reason":null}]}`,
	`{"id":"c","choices":[{"index":0,"delta":{"content":%s}}],"usage":null,"obfuscation":%s}`,
	`{"obfuscation":%s,"choices":[{"delta":{"role":"a","content":%s,"tool_calls":[]},"index":0}]}`,
	`{"choices":[{"index":1,"delta":{"content":%s}}]}`,
	`{"choices":[{"index":0,"delta":{"content":%s},"finish_reason":"stop"}]}`,
	`{"choices":[{"index":0,"delta":{"content":%s,"content":"x"}}]}`,
	`{"content":%s,"choices":[{"index":0,"delta":{"content":"x"}}]}`,
	`{"error":null,"choices":[{"index":0,"delta":{"content":null,"refusal":%s}}]}`,
	`{"choices":[{"index":0,"delta":{"content":"a"}},{"index":0,"delta":{"content":%s}}]}`,
}

// drawn is what may stand between quotes: mostly JSON strings, now and then something that is
// none.
func drawn(t *rapid.T) string {
	parts := rapid.SliceOfN(rapid.SampledFrom([]string{
		"a", " héllo", "😀", `\n`, `\"`, `\\`, `\u00e9`, `\ud83d`, `\ude00`, `\/`,
		"\xe2\x82", "\xac", "\xff", `\u12`, `\x`, "\x01", `"`, `","content":"b`, `"}}]}`, `\`,
		"\uFFFD", `\uFFFD`,
	}), 0, 4).Draw(t, "parts")
	return `"` + strings.Join(parts, "") + `"`
}

// learnAlone has the shape of a piece be known where reading it in full says a text alone.
func learnAlone(s *shape, data []byte, p piece) {
	var r reply
	if len(p.Choices) > 0 && count(p.Choices[0].Index) <= 0 && !p.failed() {
		_, _ = r.take(data, p, p.Choices[0], false) // what is no text has no shape
	}
	*s = r.shape
}

// A piece that is recognised by its shape says what reading it in full says.
func TestShapeReadsWhatParsingReads(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		line := func() []byte {
			form := rapid.SampledFrom(pieces).Draw(t, "form")
			args := []any{drawn(t), drawn(t)}
			return fmt.Appendf(nil, form, args[:strings.Count(form, "%s")]...)
		}
		var s shape
		first := line()
		if p, err := parse(first); err == nil {
			learnAlone(&s, first, p)
		}
		for range 5 {
			data := line()
			raw, ok := s.match(data)
			if !ok {
				continue
			}
			p, err := parse(data)
			if err != nil {
				t.Fatalf("%s has the shape of %s but cannot be read: %v", data, s.line, err)
			}
			c := p.Choices[0]
			at := c.Delta.Content
			want, _, _ := unquote(nil, data[at.start:at.end])
			if !bytes.Equal(raw, want) || count(c.Index) > 0 || reason(c.Finish) != "" || counted(p.Usage) != nil ||
				p.failed() || len(p.Choices) != 1 {
				t.Fatalf("%s read as %q by its shape", data, raw)
			}
		}
	})
}

func TestShapeIsRecognised(t *testing.T) {
	t.Parallel()
	for _, form := range pieces[:3] {
		var s shape
		line := func(text string) []byte {
			return []byte(strings.ReplaceAll(form, "%s", `"`+text+`"`))
		}
		p, err := parse(line("one"))
		if err != nil {
			t.Fatal(err)
		}
		learnAlone(&s, line("one"), p)
		if raw, ok := s.match(line(`tw\u00f6 "`[:8])); !ok || string(raw) != "twö" {
			t.Errorf("%s: got %q, %v", form, raw, ok)
		}
	}
}

// A text comes through whole however it is cut into pieces, within characters too.
func TestRunesAreJoined(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		var r runes
		var got strings.Builder
		for rest := []byte(text); len(rest) > 0; {
			n := rapid.IntRange(0, min(len(rest), 5)).Draw(t, "n")
			got.WriteString(r.join(rest[:n]))
			rest = rest[n:]
		}
		if got.String() != text || r.torn() {
			t.Fatalf("got %q of %q", got.String(), text)
		}
	})
}

func TestSplitCharacters(t *testing.T) {
	t.Parallel()
	for name, texts := range map[string][]string{
		"bytes":               {"a\xf0", "\x9f\x98", "", "\x80b"},
		"surrogates":          {`a\ud83d`, `\ude00b`},
		"surrogates and null": {`a\uD83D`, ``, `\uDE00b`},
		"one piece":           {`a\ud83d\ude00b`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var body strings.Builder
			for _, text := range texts {
				body.WriteString(event(`{"content":"`+text+`"}`, "null"))
			}
			h := hear(t, body.String()+stop+end)
			h.says(t, "a😀b", "stop")
		})
	}
	for name, c := range map[string]struct {
		texts []string
		want  string
	}{
		"bytes":            {[]string{"a\xf0\x9f", "b"}, "a\uFFFD\uFFFDb"},
		"first surrogate":  {[]string{`\ud83d`, "b"}, "\uFFFDb"},
		"second surrogate": {[]string{`\ude00`, "b"}, "\uFFFDb"},
		"two firsts":       {[]string{`\ud83d`, `\ud83d`}, "\uFFFD\uFFFD"},
	} {
		t.Run(name+" that do not fit", func(t *testing.T) {
			t.Parallel()
			var body strings.Builder
			for _, text := range c.texts {
				body.WriteString(event(`{"content":"`+text+`"}`, "null"))
			}
			hear(t, body.String()+stop+end).says(t, c.want, "stop")
		})
	}
	t.Run("a limit may fall within one", func(t *testing.T) {
		t.Parallel()
		body := event(`{"content":"a\ud83d"}`, "null") + event(`{}`, `"length"`) + end
		hear(t, body).says(t, "a", "length")
	})
}
