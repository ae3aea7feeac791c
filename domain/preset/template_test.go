package preset_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"prelude/domain"
	"prelude/domain/domaintest"
	"prelude/domain/preset"
)

func TestRender(t *testing.T) {
	t.Parallel()
	declared := []preset.Variable{
		{Name: "product", Type: "string", Required: true},
		{Name: "tone", Type: "string", Default: json.RawMessage(`"warm"`)},
		{Name: "n", Type: "number"},
		{Name: "on", Type: "boolean"},
	}
	values := func(pairs ...string) preset.Values {
		v := preset.Values{"product": json.RawMessage(`"Go"`)}
		for i := 0; i < len(pairs); i += 2 {
			v[pairs[i]] = json.RawMessage(pairs[i+1])
		}
		return v
	}
	for _, c := range []struct {
		name, template string
		values         preset.Values
		want           string
		faults         []string
	}{
		{"a value is filled in", "For {{product}}.", values(), "For Go.", nil},
		{"as often as it is used", "{{product}}{{ product }}", values(), "GoGo", nil},
		{"a default stands for what is not given", "{{tone}}", values(), "warm", nil},
		{"what is given goes over it", "{{tone}}", values("tone", `"cold"`), "cold", nil},
		{"an empty text is a value", "[{{tone}}]", values("tone", `""`), "[]", nil},
		{"a number is shown as it was written", "{{n}}", values("n", "1.50"), "1.50", nil},
		{"a large number too", "{{n}}", values("n", "12345678901234567890"), "12345678901234567890", nil},
		{"a truth is a word", "{{on}}", values("on", "true"), "true", nil},
		{"four braces are a literal", "{{{{product}} {{product}}", values(), "{{product}} Go", nil},
		{"a value is not a template", "{{tone}}", values("tone", `"{{product}} {{{{"`),
			"{{product}} {{{{", nil},
		{"values do not join to a template", "{{tone}}{{tone}}product}}", values("tone", `"{"`),
			"{{product}}", nil},
		{"what is not used need not be given", "x", values(), "x", nil},
		{"what is used must be", "{{n}}", values(), "", []string{"variables.n: missing_variable"}},
		{"what is required must be, used or not", "x", preset.Values{}, "",
			[]string{"variables.product: missing_variable"}},
		{"what is not declared is refused", "x", values("secret-word", `"x"`), "",
			[]string{"variables: undeclared_variable"}},
		{"a number is no string", "x", values("tone", "1"), "", []string{"variables.tone: type"}},
		{"a string is no number", "x", values("n", `"1"`), "", []string{"variables.n: type"}},
		{"null is no value", "x", values("on", "null"), "", []string{"variables.on: type"}},
		{"8 KiB are a value", "{{tone}}", values("tone", quoted(8<<10)), strings.Repeat("x", 8<<10), nil},
		{"a byte more is not", "x", values("tone", quoted(8<<10+1)), "", []string{"variables.tone: type"}},
		{"NUL is refused", "x", values("tone", `"\u0000"`), "", []string{"variables.tone: type"}},
		{"all faults are told", "{{n}}", preset.Values{"tone": json.RawMessage("1"), "zzz": nil}, "",
			[]string{"variables.tone: type", "variables: undeclared_variable",
				"variables.product: missing_variable", "variables.n: missing_variable"}},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			d := draft(func(d *preset.Draft) { d.Instructions, d.Variables = c.template, declared })
			got, err := d.Render(c.values, "variables")
			if c.faults != nil {
				domaintest.Refused(t, err, &domain.Error{Kind: domain.Invalid, Code: "invalid"}, c.faults...)
				return
			}
			if err != nil || got != c.want {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestCheckValues(t *testing.T) {
	t.Parallel()
	d := draft(func(d *preset.Draft) {
		template("{{a}}", "a")(d)
		d.Variables[0].Required = true
	})
	if err := d.CheckValues(preset.Values{}, "variables"); err != nil {
		t.Errorf("a missing value is refused too early: %+v", err)
	}
	err := d.CheckValues(preset.Values{"a": json.RawMessage("1"), "b": nil}, "preset.variables")
	domaintest.Refused(t, err, &domain.Error{Kind: domain.Invalid, Code: "invalid"},
		"preset.variables.a: type", "preset.variables: undeclared_variable")
	if strings.Contains(err.Error(), "b") && strings.Contains(err.Error(), `"b"`) {
		t.Error("the name that was sent is told back")
	}
}

func TestATemplateThatWasNeverCheckedIsAFault(t *testing.T) {
	t.Parallel()
	if text, err := instructions("{{").Render(nil, "variables"); err == nil {
		t.Errorf("it renders as %q", text)
	}
}

// piece is a stretch of a template with what it must become.
type piece struct{ template, rendered string }

// TestRenderFillsEachVariableOnce builds templates of known pieces, with values that look like templates
// themselves, and knows by that what they must become.
func TestRenderFillsEachVariableOnce(t *testing.T) {
	t.Parallel()
	texts := rapid.StringOf(rapid.SampledFrom([]rune("{} ab_é<&\"\\\n")))
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "a_b", "ab"}), texts, 1, 4).
			Draw(t, "values")
		names := slices.Sorted(maps.Keys(values))
		pieces := rapid.SliceOf(rapid.Custom(func(t *rapid.T) piece {
			switch rapid.IntRange(0, 2).Draw(t, "kind") {
			case 0:
				name := rapid.SampledFrom(names).Draw(t, "name")
				space := strings.Repeat(" ", rapid.IntRange(0, 2).Draw(t, "space"))
				return piece{"{{" + space + name + space + "}}", values[name]}
			case 1:
				return piece{"{{{{", "{{"}
			}
			text := strings.ReplaceAll(texts.Draw(t, "text"), "{", "")
			return piece{text, text}
		})).Draw(t, "pieces")
		d, given, want := draft(nil), preset.Values{}, ""
		d.Instructions = ""
		for _, p := range pieces {
			d.Instructions += p.template
			want += p.rendered
		}
		for i, name := range names {
			value, err := json.Marshal(values[name])
			if err != nil {
				t.Fatal(err)
			}
			v := preset.Variable{Name: name, Type: "string"}
			if i%2 == 0 {
				v.Default = value
			} else {
				given[name] = value
			}
			d.Variables = append(d.Variables, v)
		}
		got, err := d.Render(given, "variables")
		if err != nil {
			t.Fatalf("%q: %+v", d.Instructions, err)
		}
		if got != want {
			t.Fatalf("%q renders as %q, want %q", d.Instructions, got, want)
		}
	})
}

// TestWhatIsCheckedRenders: a draft without faults renders, or says which values it lacks; nothing that is
// declared and used is ever left out silently.
func TestWhatIsCheckedRenders(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.SampledFrom([]rune("{}{} ab"))).Draw(t, "template")
		d := draft(template("x"+text, "a", "b", "ab"))
		if d.Check(big) != nil {
			return
		}
		given := preset.Values{}
		for _, name := range []string{"a", "b", "ab"} {
			if rapid.Bool().Draw(t, name) {
				given[name] = json.RawMessage(`"<` + name + `>"`)
			}
		}
		got, err := d.Render(given, "variables")
		all := preset.Values{}
		for _, name := range []string{"a", "b", "ab"} {
			all[name] = json.RawMessage(`"<` + name + `>"`)
		}
		want, allErr := d.Render(all, "variables")
		if allErr != nil {
			t.Fatalf("%q does not render with all values: %+v", d.Instructions, allErr)
		}
		if err == nil && got != want {
			t.Fatalf("%q renders as %q, with all values as %q", d.Instructions, got, want)
		}
	})
}
