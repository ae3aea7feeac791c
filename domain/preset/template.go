package preset

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"prelude/domain"
)

// part is a stretch of instructions: literal text, or the name of a variable.
type part struct {
	text     string
	variable bool
}

var errTemplate = errors.New(`have a {{ that is neither {{name}} nor the literal {{{{`)

// parse cuts a template at its variables. {{name}}, with spaces around the name or not, is a
// variable; {{{{ is a literal {{.
func parse(s string) ([]part, error) {
	var parts []part
	for {
		text, rest, found := strings.Cut(s, "{{")
		if text != "" {
			parts = append(parts, part{text: text})
		}
		if !found {
			return parts, nil
		}
		if after, ok := strings.CutPrefix(rest, "{{"); ok {
			parts = append(parts, part{text: "{{"})
			s = after
			continue
		}
		name, after, ok := strings.Cut(rest, "}}")
		name = strings.Trim(name, " ")
		if !ok || !validVariable(name) {
			return nil, errTemplate
		}
		parts = append(parts, part{text: name, variable: true})
		s = after
	}
}

// Values are given to variables, each a JSON string, number or boolean.
type Values map[string]json.RawMessage

// Render fills the variables in, once, in one pass: what a value holds is never read as a template.
// Field is where the values stand in the request, for the faults.
func (d Draft) Render(values Values, field string) (string, error) {
	parts, err := parse(d.Instructions)
	if err != nil {
		return "", fmt.Errorf("instructions %w", err)
	}
	var f domain.Faults
	filled := d.given(&f, values, field)
	d.complete(&f, filled, parts, field)
	if err := f.Err(); err != nil {
		return "", err
	}
	var b strings.Builder
	for _, p := range parts {
		if p.variable {
			p.text = filled[p.text]
		}
		b.WriteString(p.text)
	}
	return b.String(), nil
}

// CheckValues tells what is wrong with values: an undeclared one, a wrong type. Missing ones may
// still come.
func (d Draft) CheckValues(values Values, field string) error {
	var f domain.Faults
	d.given(&f, values, field)
	return f.Err()
}

// given are the texts of the values that were sent.
func (d Draft) given(f *domain.Faults, values Values, field string) map[string]string {
	texts := make(map[string]string, len(d.Variables))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		v := d.variable(name)
		if v == nil {
			// The name is not repeated: it may be anything that somebody pasted.
			f.Add(field, "undeclared_variable", "has a variable that the preset does not declare")
			continue
		}
		text, fault := v.text(values[name])
		if fault != "" {
			f.Add(field+"."+name, "type", fault)
		}
		texts[name] = text
	}
	return texts
}

func (d Draft) variable(name string) *Variable {
	i := slices.IndexFunc(d.Variables, func(v Variable) bool { return v.Name == name })
	if i < 0 {
		return nil
	}
	return &d.Variables[i]
}

// complete adds the defaults of what was not given. What then still lacks a value, and is required
// or used, is a fault.
func (d Draft) complete(f *domain.Faults, texts map[string]string, parts []part, field string) {
	for _, v := range d.Variables {
		_, given := texts[v.Name]
		switch {
		case given:
		case len(v.Default) > 0:
			texts[v.Name], _ = v.text(v.Default)
		case v.Required || slices.Contains(parts, part{text: v.Name, variable: true}):
			f.Add(field+"."+v.Name, "missing_variable", "is needed and has no default")
		}
	}
}
