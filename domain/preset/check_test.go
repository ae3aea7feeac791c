package preset_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"prelude/domain"
	"prelude/domain/domaintest"
	"prelude/domain/preset"
)

func variable(kind, value string) func(*preset.Draft) {
	return func(d *preset.Draft) {
		d.Variables = []preset.Variable{{Name: "x", Type: kind, Default: json.RawMessage(value)}}
	}
}

func named(names ...string) func(*preset.Draft) {
	return func(d *preset.Draft) {
		for _, n := range names {
			d.Variables = append(d.Variables, preset.Variable{Name: n, Type: "string"})
		}
	}
}

func template(s string, names ...string) func(*preset.Draft) {
	return func(d *preset.Draft) {
		named(names...)(d)
		d.Instructions = s
	}
}

func temperature(f float64) func(*preset.Draft) {
	return func(d *preset.Draft) { d.Settings.Temperature = &f }
}

func topP(f float64) func(*preset.Draft) { return func(d *preset.Draft) { d.Settings.TopP = &f } }

func stops(s ...string) func(*preset.Draft) { return func(d *preset.Draft) { d.Settings.Stop = s } }

func tags(s ...string) func(*preset.Draft) { return func(d *preset.Draft) { d.Tags = s } }

func language(s string) func(*preset.Draft) { return func(d *preset.Draft) { d.Language = s } }

func quoted(n int) string { return `"` + strings.Repeat("x", n) + `"` }

func numbered(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("n%d", i)
	}
	return all
}

// big is a model's window in which all limits can be tried.
const big = 4_000_000

func TestCheck(t *testing.T) {
	t.Parallel()
	type d = preset.Draft
	for _, c := range []struct {
		name   string
		change func(*preset.Draft)
		faults []string
	}{
		{"a name is needed", func(d *d) { d.Name = "" }, []string{"name: required"}},
		{"a name of spaces is none", func(d *d) { d.Name = " " }, []string{"name: required"}},
		{"a name of 200 characters is taken", func(d *d) { d.Name = strings.Repeat("é", 200) }, nil},
		{"a name of 201 is not", func(d *d) { d.Name = strings.Repeat("é", 201) },
			[]string{"name: too_long"}},
		{"a name has no NUL", func(d *d) { d.Name = "a\x00" }, []string{"name: nul"}},
		{"a name is UTF-8", func(d *d) { d.Name = "a\xff" }, []string{"name: encoding"}},
		{"a description of 2000 characters is taken",
			func(d *d) { d.Description = strings.Repeat("é", 2000) }, nil},
		{"a description of 2001 is not", func(d *d) { d.Description = strings.Repeat("é", 2001) },
			[]string{"description: too_long"}},
		{"a description has no NUL", func(d *d) { d.Description = "\x00" }, []string{"description: nul"}},
		{"a description is UTF-8", func(d *d) { d.Description = "\xff" },
			[]string{"description: encoding"}},

		{"20 tags are taken", tags(numbered(20)...), nil},
		{"21 are not", tags(numbered(21)...), []string{"tags: too_many"}},
		{"a tag of 64 characters is taken", tags(strings.Repeat("é", 64)), nil},
		{"a tag of 65 is not", tags("a", strings.Repeat("é", 65)), []string{"tags[1]: too_long"}},
		{"a tag is not empty", tags(""), []string{"tags[0]: required"}},
		{"a tag has no NUL", tags("a\x00"), []string{"tags[0]: nul"}},
		{"a tag is UTF-8", tags("a\xff"), []string{"tags[0]: encoding"}},
		{"a language is a tag", language("pt-BR"), nil},
		{"a language has no space", language("two words"), []string{"language: pattern"}},
		{"a language begins with a letter", language("1en"), []string{"language: pattern"}},
		{"a language has no NUL", language("e\x00"), []string{"language: pattern"}},
		{"a language is ASCII", language("é"), []string{"language: pattern"}},
		{"a language of 35 characters is taken", language("x" + strings.Repeat("-a", 17)), nil},
		{"a language of 36 is not", language("xx" + strings.Repeat("-a", 17)),
			[]string{"language: pattern"}},

		{"instructions are needed", template(""), []string{"instructions: required"}},
		{"instructions of 64 KiB are taken", template(strings.Repeat("x", 64<<10)), nil},
		{"a byte more is too long", template(strings.Repeat("x", 64<<10+1)),
			[]string{"instructions: too_long"}},
		{"the limit is of bytes", template(strings.Repeat("é", 32<<10+1)),
			[]string{"instructions: too_long"}},
		{"instructions have no NUL", template("a\x00"), []string{"instructions: nul"}},
		{"instructions are UTF-8", template("a\xff"), []string{"instructions: encoding"}},
		{"a variable may be used", template("{{x}}", "x"), nil},
		{"spaces may be around its name", template("{{  x }}", "x"), nil},
		{"four braces are a literal", template("{{{{ }} {{{{x}}"), nil},
		{"closing braces alone are text", template("}} }"), nil},
		{"one brace is text", template("{ {x}"), nil},
		{"an undeclared variable is refused", template("{{x}} {{y}}", "x"),
			[]string{"instructions: undeclared_variable"}},
		{"a name that is none is refused", template("{{X}}"), []string{"instructions: template"}},
		{"a tab is no space", template("{{\tx}}", "x"), []string{"instructions: template"}},
		{"a newline is no space", template("{{\nx}}", "x"), []string{"instructions: template"}},
		{"three braces are refused", template("{{{x}}}", "x"), []string{"instructions: template"}},
		{"no name is refused", template("{{}}"), []string{"instructions: template"}},
		{"braces that stay open are refused", template("{{x", "x"), []string{"instructions: template"}},
		{"two braces at the end are refused", template("x{{"), []string{"instructions: template"}},
		{"sections are refused", template("{{#x}}{{/x}}", "x"), []string{"instructions: template"}},
		{"a path is refused", template("{{x.y}}", "x"), []string{"instructions: template"}},
		{"two names are refused", template("{{x x}}", "x"), []string{"instructions: template"}},

		{"64 variables are taken", named(numbered(64)...), nil},
		{"65 are not", named(numbered(65)...), []string{"variables: too_many"}},
		{"a name has letters, digits and underscores", named("a_1"), nil},
		{"a name of 63 characters is taken", named(strings.Repeat("a", 63)), nil},
		{"a name of 64 is not", named(strings.Repeat("a", 64)), []string{"variables[0].name: pattern"}},
		{"a name is needed", named(""), []string{"variables[0].name: pattern"}},
		{"a name has no capitals", named("a", "B"), []string{"variables[1].name: pattern"}},
		{"a name begins with a letter", named("1a"), []string{"variables[0].name: pattern"}},
		{"a name has no dash", named("a-b"), []string{"variables[0].name: pattern"}},
		{"a name has no NUL", named("a\x00"), []string{"variables[0].name: pattern"}},
		{"a name is declared once", named("a", "b", "a"), []string{"variables[2].name: duplicate"}},
		{"a type must be one", variable("date", ""), []string{"variables[0].type: enum"}},
		{"a description of 2001 characters is too long", func(d *d) {
			d.Variables = []preset.Variable{{Name: "x", Type: "string",
				Description: strings.Repeat("é", 2001)}}
		}, []string{"variables[0].description: too_long"}},
		{"a text is a string's default", variable("string", `"é"`), nil},
		{"a number is a number's", variable("number", `-1.5e3`), nil},
		{"a truth is a boolean's", variable("boolean", `false`), nil},
		{"a number is not a string's", variable("string", `1`), []string{"variables[0].default: type"}},
		{"a text is not a number's", variable("number", `"1"`), []string{"variables[0].default: type"}},
		{"a number is not a boolean's", variable("boolean", `0`), []string{"variables[0].default: type"}},
		{"null is no default", variable("string", `null`), []string{"variables[0].default: type"}},
		{"an object is no default", variable("string", `{}`), []string{"variables[0].default: type"}},
		{"a default is JSON", variable("string", `"x`), []string{"variables[0].default: type"}},
		{"a default is one value", variable("string", `"x" "y"`),
			[]string{"variables[0].default: type"}},
		{"a default of 8 KiB is taken", variable("string", quoted(8<<10)), nil},
		{"a byte more is too long", variable("string", quoted(8<<10+1)),
			[]string{"variables[0].default: type"}},
		{"a default has no NUL", variable("string", `"a\u0000"`), []string{"variables[0].default: type"}},

		{"temperature may be 0", temperature(0), nil},
		{"temperature may be 2", temperature(2), nil},
		{"temperature 2.1 is refused", temperature(2.1), []string{"settings.temperature: range"}},
		{"temperature below 0 is refused", temperature(-0.1), []string{"settings.temperature: range"}},
		{"temperature is a number", temperature(math.NaN()), []string{"settings.temperature: range"}},
		{"temperature is not infinite", temperature(math.Inf(1)),
			[]string{"settings.temperature: range"}},
		{"top_p may be 0", topP(0), nil},
		{"top_p may be 1", topP(1), nil},
		{"top_p 1.01 is refused", topP(1.01), []string{"settings.top_p: range"}},
		{"top_p below 0 is refused", topP(-1), []string{"settings.top_p: range"}},
		{"top_p is a number", topP(math.NaN()), []string{"settings.top_p: range"}},
		{"a million output tokens may be asked for",
			func(d *d) { d.Settings.MaxOutputTokens = 1_000_000 }, nil},
		{"more may not", func(d *d) { d.Settings.MaxOutputTokens = 1_000_001 },
			[]string{"settings.max_output_tokens: range"}},
		{"fewer than none may not", func(d *d) { d.Settings.MaxOutputTokens = -1 },
			[]string{"settings.max_output_tokens: range"}},
		{"4 stops are taken", stops("a", "b", "c", "d"), nil},
		{"5 are not", stops("a", "b", "c", "d", "e"), []string{"settings.stop: too_many"}},
		{"a stop is not empty", stops("a", ""), []string{"settings.stop[1]: required"}},
		{"a stop may be white space", stops("\n"), nil},
		{"a stop of 65 characters is too long", stops(strings.Repeat("é", 65)),
			[]string{"settings.stop[0]: too_long"}},
		{"a stop has no NUL", stops("\x00"), []string{"settings.stop[0]: nul"}},
		{"a stop is UTF-8", stops("\xff"), []string{"settings.stop[0]: encoding"}},
		{"the format may be json", func(d *d) { d.Settings.ResponseFormat = "json" }, nil},
		{"another format is refused", func(d *d) { d.Settings.ResponseFormat = "xml" },
			[]string{"settings.response_format: enum"}},
		{"a strategy is needed", func(d *d) { d.Context.Strategy = "" },
			[]string{"context.strategy: enum"}},
		{"refuse is a strategy", func(d *d) { d.Context.Strategy = preset.Refuse }, nil},
		{"fewer than no tokens are not reserved", func(d *d) { d.Context.ReserveOutput = -1 },
			[]string{"context.reserve_output_tokens: range"}},
		{"more than a million are not", func(d *d) { d.Context.ReserveOutput = 1_000_001 },
			[]string{"context.reserve_output_tokens: range"}},
		{"a model is needed", func(d *d) { d.Model = "" }, []string{"model: required"}},
		{"all faults are told at once", func(d *d) {
			d.Name, d.Instructions, d.Model = "", "{{", ""
			temperature(3)(d)
		}, []string{"name: required", "instructions: template", "settings.temperature: range",
			"model: required"}},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			err := draft(c.change).Check(big)
			if c.faults == nil {
				if err != nil {
					t.Errorf("refused: %+v", err)
				}
				return
			}
			domaintest.Refused(t, err, &domain.Error{Kind: domain.Invalid, Code: "invalid"}, c.faults...)
		})
	}
}

func TestADraftFitsItsWindow(t *testing.T) {
	t.Parallel()
	// 3,500 bytes are 1,000 tokens, 1,024 are reserved, the margin is 5 %: 2,131 is the least.
	d := instructions(strings.Repeat("x", 3500))
	if err := d.Check(2131); err != nil {
		t.Errorf("it does not fit its own size: %+v", err)
	}
	err := d.Check(2130)
	domaintest.Refused(t, err, &domain.Error{Kind: domain.Invalid, Code: "invalid"},
		"instructions: window")
	var e *domain.Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	for _, n := range []string{"2130", "1000", "1024", "107"} {
		if !strings.Contains(e.Fields[0].Detail, n) {
			t.Errorf("%s is not told: %s", n, e.Fields[0].Detail)
		}
	}
	domaintest.Refused(t, d.Check(0), &domain.Error{Kind: domain.Invalid, Code: "invalid"},
		"model: unknown_model")
}

func TestWhatIsReservedForTheReply(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		asked, max int
		want       int
	}{
		{"what is asked for", 100, 200, 100},
		{"else the most that a reply may have", 0, 200, 200},
		{"else 1,024 tokens", 0, 0, 1024},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := draft(func(d *preset.Draft) {
				d.Context.ReserveOutput, d.Settings.MaxOutputTokens = c.asked, c.max
			})
			if got := d.ReserveOutput(); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}
