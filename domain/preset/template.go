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

// parse cuts a template at its variables. {{name}}, with spaces around the name or not, is a variable;
// {{{{ is a literal {{.
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

// Render fills the variables in, once, in one pass: what a value holds is never read as a template. Field is
// where the values stand in the request, for the faults.
func (d Draft) Render(values Values, field string) (string, error) {
	filled, err := d.fill(values, field)
	if err != nil {
		return "", err
	}
	parts, err := parse(d.Instructions)
	if err != nil {
		return "", fmt.Errorf("instructions %w", err)
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

// CheckValues tells what is wrong with values: an undeclared one, a wrong type. Missing ones may still come.
func (d Draft) CheckValues(values Values, field string) error {
	var f domain.Faults
	for _, name := range slices.Sorted(maps.Keys(values)) {
		d.checkValue(&f, name, values[name], field)
	}
	return f.Err()
}

func (d Draft) checkValue(f *domain.Faults, name string, value json.RawMessage, field string) string {
	i := slices.IndexFunc(d.Variables, func(v Variable) bool { return v.Name == name })
	if i < 0 {
		// The name is not repeated: it may be anything that somebody pasted.
		f.Add(field, "undeclared_variable", "has a variable that the preset does not declare")
		return ""
	}
	text, fault := d.Variables[i].text(value)
	if fault != "" {
		f.Add(field+"."+name, "type", fault)
	}
	return text
}

func (d Draft) fill(values Values, field string) (map[string]string, error) {
	var f domain.Faults
	filled := make(map[string]string, len(d.Variables))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		filled[name] = d.checkValue(&f, name, values[name], field)
	}
	for _, v := range d.Variables {
		if _, given := filled[v.Name]; given {
			continue
		}
		if len(v.Default) > 0 {
			filled[v.Name], _ = v.text(v.Default)
		} else if v.Required || d.uses(v.Name) {
			f.Add(field+"."+v.Name, "missing_variable", "is needed and has no default")
		}
	}
	return filled, f.Err()
}

func (d Draft) uses(name string) bool {
	parts, err := parse(d.Instructions)
	return err == nil && slices.Contains(parts, part{text: name, variable: true})
}
