package receipt_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"prelude/domain"
	"prelude/domain/domaintest"
	"prelude/domain/receipt"
)

// words is a piece of so many tokens.
func words(id string, tokens int) receipt.Piece {
	return receipt.Piece{Role: "user", Text: strings.Repeat("x", tokens*7/2), Key: "k",
		Source: receipt.Source{Kind: receipt.FromMessage, ID: id}}
}

func ids(a receipt.Assembly) []string {
	all := []string{}
	for _, p := range a.Pieces {
		all = append(all, p.Source.ID)
	}
	return all
}

// plan has room for 60 tokens: 100, less 35 for the reply and 5 of margin.
func plan(fixed, last int) receipt.Plan {
	return receipt.Plan{Model: "demo", Target: "demo/1", Window: 100, Reserve: 35,
		Fixed: []receipt.Piece{words("fixed", fixed)}, Last: words("last", last)}
}

func build(t *testing.T, p receipt.Plan) *receipt.Builder {
	t.Helper()
	b, err := receipt.Start(p)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	return b
}

func add(t *testing.T, b *receipt.Builder, p receipt.Piece, want bool) {
	t.Helper()
	if more, err := b.Add(p); err != nil || more != want {
		t.Fatalf("adding %s: %t, %v, want %t", p.Source.ID, more, err, want)
	}
}

func TestTheNewestMessagesThatFitAreTaken(t *testing.T) {
	t.Parallel()
	b := build(t, plan(10, 10))
	add(t, b, words("3", 20), true)
	add(t, b, words("2", 20), true)
	add(t, b, words("1", 2), false)
	a := b.Done()
	if diff := cmp.Diff([]string{"fixed", "2", "3", "last"}, ids(a)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(receipt.Window{Tokens: 100, Reserved: 35, Margin: 5, Used: 60}, a.Window); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]receipt.LeftOut{{ID: "1", Reason: "window"}}, a.LeftOut); diff != "" {
		t.Error(diff)
	}
}

func TestNothingOlderIsTakenBeyondAGap(t *testing.T) {
	t.Parallel()
	b := build(t, plan(10, 10))
	add(t, b, words("3", 10), true)
	add(t, b, words("2", 50), false)
	add(t, b, words("1", 1), false)
	a := b.Done()
	if diff := cmp.Diff([]string{"fixed", "3", "last"}, ids(a)); diff != "" {
		t.Error(diff)
	}
	if len(a.LeftOut) != 1 || a.LeftOut[0].ID != "2" {
		t.Errorf("left out is %v", a.LeftOut)
	}
}

func TestWithoutANewMessageThereIsNone(t *testing.T) {
	t.Parallel()
	p := plan(10, 0)
	p.Last = receipt.Piece{}
	if diff := cmp.Diff([]string{"fixed"}, ids(build(t, p).Done())); diff != "" {
		t.Error(diff)
	}
}

func TestWhatMustBeSentAndDoesNotFitIsRefused(t *testing.T) {
	t.Parallel()
	build(t, plan(30, 30))
	_, err := receipt.Start(plan(31, 30))
	told(t, err, "100", "61", "35", "5")
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	t.Run("a conversation that does not fit is refused, with the numbers", func(t *testing.T) {
		t.Parallel()
		p := plan(10, 10)
		p.Refuse = true
		b := build(t, p)
		add(t, b, words("2", 40), true)
		for range 2 { // the second attempt tells the same
			_, err := b.Add(words("1", 1))
			told(t, err, "100", "61", "35", "5")
		}
	})
	t.Run("one of too many messages is refused, with their number", func(t *testing.T) {
		t.Parallel()
		b := build(t, receipt.Plan{Window: 1_000_000, Refuse: true})
		for range receipt.MaxMessages {
			add(t, b, words("x", 1), true)
		}
		_, err := b.Add(words("x", 1))
		told(t, err, "400 messages")
	})
}

func told(t *testing.T, err error, numbers ...string) {
	t.Helper()
	domaintest.Refused(t, err, receipt.ErrTooLong)
	var e *domain.Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	for _, n := range numbers {
		if !strings.Contains(e.Detail, n) {
			t.Errorf("%s is not told: %s", n, e.Detail)
		}
	}
	if receipt.ErrTooLong.Detail != "" {
		t.Error("the sentinel was changed")
	}
}

func TestAtMost400MessagesAreTaken(t *testing.T) {
	t.Parallel()
	b := build(t, receipt.Plan{Window: 1_000_000, Last: words("last", 1)})
	for i := range receipt.MaxMessages {
		add(t, b, words(fmt.Sprint(i), 1), true)
	}
	add(t, b, words("400", 1), false)
	a := b.Done()
	if len(a.Pieces) != receipt.MaxMessages+1 || a.LeftOut[0].ID != "400" {
		t.Errorf("%d pieces, left out %v", len(a.Pieces), a.LeftOut)
	}
}

// TestAnAssembly holds any assembly against its rules: it never exceeds the budget; it begins with what is
// fixed and ends with what is new; between them stand the newest messages, in their order and without a
// gap; what is left out is the newest that was not taken.
func TestAnAssembly(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(0, 40)
		p := receipt.Plan{Window: rapid.IntRange(0, 400).Draw(t, "window"),
			Reserve: rapid.IntRange(0, 50).Draw(t, "reserve"), Last: words("last", size.Draw(t, "last"))}
		for i := range rapid.IntRange(0, 3).Draw(t, "fixed") {
			p.Fixed = append(p.Fixed, words(fmt.Sprintf("f%d", i), size.Draw(t, "size")))
		}
		budget := p.Window - p.Reserve - receipt.Margin(p.Window)
		b, err := receipt.Start(p)
		if err != nil {
			if need := used(append(p.Fixed, p.Last)); need <= budget {
				t.Fatalf("%d tokens were refused a budget of %d", need, budget)
			}
			return
		}
		history := rapid.SliceOfN(size, 0, 30).Draw(t, "history")
		taken := 0
		for i, n := range history {
			more, err := b.Add(words(fmt.Sprint(i), n))
			if err != nil {
				t.Fatal(err)
			}
			if more {
				taken++
			} else if rapid.Bool().Draw(t, "stop") {
				break
			}
		}
		holds(t, p, b.Done(), taken, len(history), budget)
	})
}

func holds(t *rapid.T, p receipt.Plan, a receipt.Assembly, taken, of, budget int) {
	want := []string{}
	for _, f := range p.Fixed {
		want = append(want, f.Source.ID)
	}
	for i := taken - 1; i >= 0; i-- {
		want = append(want, fmt.Sprint(i))
	}
	if diff := cmp.Diff(append(want, "last"), ids(a)); diff != "" {
		t.Fatal(diff)
	}
	if n := used(a.Pieces); n > budget || n != a.Window.Used {
		t.Fatalf("%d tokens of a budget of %d; told are %d", n, budget, a.Window.Used)
	}
	if (len(a.LeftOut) == 1) != (taken < of) {
		t.Fatalf("%d of %d were taken, left out is %v", taken, of, a.LeftOut)
	}
	if len(a.LeftOut) == 1 && a.LeftOut[0].ID != fmt.Sprint(taken) {
		t.Fatalf("%d were taken, left out is %v", taken, a.LeftOut)
	}
}

func used(pieces []receipt.Piece) int {
	n := 0
	for _, p := range pieces {
		n += receipt.Tokens(len(p.Bytes()))
	}
	return n
}

func TestManifest(t *testing.T) {
	t.Parallel()
	p := plan(2, 2)
	p.Extra = map[string]json.RawMessage{"tools": json.RawMessage(`[]`)}
	p.Last.Raw, p.Last.Key = json.RawMessage(`{"role":"user","content":[]}`), "other"
	a := build(t, p).Done()
	mac := func(key domain.KeyID, text []byte) []byte { return []byte(string(key) + ":" + string(text)) }
	m := a.Manifest(p, "whole", mac)
	want := receipt.Manifest{
		Format: "receipt/1", Renderer: 1, Tokenizer: "estimate/1", Model: "demo", Target: "demo/1",
		Parameters: domain.Secret{Key: "whole", Text: `{"settings":{},"extra":{"tools":[]}}`}, Window: a.Window, MAC: mac("whole", a.Request.Bytes()),
		Parts: []receipt.Part{
			{Role: "user", Source: p.Fixed[0].Source, Length: 7, Tokens: 2, MAC: mac("k", []byte("xxxxxxx"))},
			{Role: "user", Source: p.Last.Source, Length: 28, Tokens: 8, MAC: mac("other", p.Last.Raw)},
		},
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Error(diff)
	}
}

// TestReceipt1: receipts rest on these bytes; they never change.
func TestReceipt1(t *testing.T) {
	t.Parallel()
	heat, all := 0.2, 1.0
	r := receipt.Render("demo", receipt.Settings{Temperature: &heat, TopP: &all, MaxOutputTokens: 5,
		Stop: []string{"."}, ResponseFormat: "json"},
		map[string]json.RawMessage{"b": json.RawMessage(`{ "x" : 1 }`), "a": json.RawMessage(`1`)},
		[]receipt.Piece{
			{Role: "system", Text: "Be <kind> & \"brief\".\n"},
			{Role: "user", Text: "é😀", Raw: json.RawMessage(`{"role": "user"}`)},
		})
	const want = `{"model":"demo","messages":[` +
		`{"role":"system","content":"Be \u003ckind\u003e \u0026 \"brief\".\n"},` +
		`{"role":"user","content":"é😀","raw":{"role":"user"}}],` +
		`"settings":{"temperature":0.2,"top_p":1,"max_output_tokens":5,"stop":["."],` +
		`"response_format":"json"},"extra":{"a":1,"b":{"x":1}}}`
	if got := string(r.Bytes()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	const bare = `{"model":"demo","messages":[],"settings":{}}`
	if got := string(receipt.Render("demo", receipt.Settings{}, nil, nil).Bytes()); got != bare {
		t.Errorf("got %s, want %s", got, bare)
	}
}

func TestTokensAndMarginAreRoundedUp(t *testing.T) {
	t.Parallel()
	for bytes, want := range map[int]int{0: 0, 1: 1, 3: 1, 4: 2, 7: 2, 8: 3, 3500: 1000} {
		if got := receipt.Tokens(bytes); got != want {
			t.Errorf("%d bytes are %d tokens, want %d", bytes, got, want)
		}
	}
	for window, want := range map[int]int{0: 0, 1: 1, 20: 1, 21: 2, 8192: 410} {
		if got := receipt.Margin(window); got != want {
			t.Errorf("the margin of %d is %d, want %d", window, got, want)
		}
	}
}
