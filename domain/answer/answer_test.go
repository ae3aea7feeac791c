package answer

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// drawn is a reply as the edge makes it: pieces, and the text between them. A part that takes turns goes on only while it
// has its turn.
func drawn(t *rapid.T) (pieces []Piece, text string) {
	word := rapid.StringMatching(`[a-zé"\\<\n\x{2028}]{0,6}`)
	var parts []Piece // how each part began
	turn := -1
	for range rapid.IntRange(0, 12).Draw(t, "steps") {
		if more := word.Draw(t, "text"); more != "" {
			text, turn = text+more, -1
		}
		goOn := []int{len(parts)}
		for i, p := range parts {
			if !p.Kind.TakesTurns() || i == turn {
				goOn = append(goOn, i)
			}
		}
		n := rapid.SampledFrom(goOn).Draw(t, "part")
		var p Piece
		if n == len(parts) {
			p = Piece{Part: n, Kind: rapid.SampledFrom([]Kind{Reasoning, Refusal, ToolCall, Image, Other}).Draw(t, "kind"),
				Name: rapid.SampledFrom([]string{"function", "custom"}).Draw(t, "name")}
			if parts = append(parts, p); p.Kind == ToolCall {
				inner, _ := callFields(p.Name)
				p.Value = json.RawMessage(`{"` + inner + `":{"name":"f"},"id":"x"}`)
			}
		} else {
			p = parts[n]
		}
		if p.Kind.TakesTurns() {
			turn = n
		}
		p.At, p.Text = len(text), word.Draw(t, "more")
		if p.Kind == Image || p.Kind == Other {
			p.Text, p.Value = "", json.RawMessage(`["`+rapid.StringMatching(`[a-z]{0,3}`).Draw(t, "value")+`"]`)
		}
		pieces = append(pieces, p)
	}
	return pieces, text + word.Draw(t, "last")
}

func assembled(pieces []Piece) []Part {
	var d Draft
	for _, p := range pieces {
		d.Add(p)
	}
	return d.Parts()
}

// What is kept is read again as it was said, in whatever pieces; and it takes no more bytes than was reckoned with.
func TestParts_are_kept_as_they_were_said(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		pieces, text := drawn(t)
		parts := assembled(pieces)
		kept := Encode(parts)
		read, err := Decode(kept, "", len(text))
		if err != nil || Encode(read) != kept {
			t.Fatalf("%s is read as %s: %v", kept, Encode(read), err)
		}
		if again := Encode(assembled(Pieces(read))); again != kept {
			t.Fatalf("said again it is %s, and was %s", again, kept)
		}
		room, begun := 0, 0
		for _, p := range pieces {
			room += p.Size(p.Part >= begun)
			begun = max(begun, p.Part+1)
		}
		if len(kept) > room+2 {
			t.Fatalf("%d bytes are kept, %d were reckoned with: %s", len(kept), room, kept)
		}
		said := ""
		for _, p := range Whole(text, read) {
			if p.Kind == Text {
				said += p.Text
			}
		}
		if said != text {
			t.Fatalf("among its parts the text is %q, and was %q", said, text)
		}
	})
}

// Who has heard a part of a reply, and then gets the rest from where it is kept, has heard all of it, once.
func TestRest_goes_on_anywhere(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		pieces, _ := drawn(t)
		heard := pieces[:rapid.IntRange(0, len(pieces)).Draw(t, "heard")]
		parts := assembled(pieces)
		all := append(append([]Piece(nil), heard...), Rest(parts, heard)...)
		if got, want := Encode(assembled(all)), Encode(parts); got != want {
			t.Fatalf("after %d pieces it comes to %s, want %s", len(heard), got, want)
		}
	})
}

// Parts are handed on in one order, each once and whole, whenever that is asked for.
func TestSaid_hands_on_each_part_once(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		pieces, text := drawn(t)
		var d Draft
		var handed []Part
		for _, p := range pieces {
			d.Add(p)
			now := d.Said(p.At, false)
			if len(now) < len(handed) || Encode(now[:len(handed)]) != Encode(handed) {
				t.Fatalf("after %v comes %v", handed, now)
			}
			handed = now
		}
		last := d.Said(len(text), true)
		if len(last) != len(d.Parts()) || Encode(last[:len(handed)]) != Encode(handed) {
			t.Fatalf("%d of %d parts are handed on", len(last), len(d.Parts()))
		}
	})
}

// Older events have a list of tool calls.
func TestDecode_of_older_events(t *testing.T) {
	t.Parallel()
	parts, err := Decode("", `[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]`, 3)
	if err != nil || len(parts) != 1 || parts[0].Kind != ToolCall || parts[0].At != 3 ||
		!strings.Contains(string(parts[0].Value), `"id":"a"`) {
		t.Errorf("%+v: %v", parts, err)
	}
	for _, broken := range []string{"{", `[{"kind":7}]`} {
		if _, err := Decode(broken, "", 0); err == nil {
			t.Errorf("%s is read", broken)
		}
	}
	if _, err := Decode("", "{", 0); err == nil {
		t.Error("a list that is none is read")
	}
}
