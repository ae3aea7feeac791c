package preset

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"prelude/domain"
)

// The limits of a preset; sizes in bytes where they say so, else in characters.
const (
	maxName              = 200
	maxDescription       = 2000
	maxTags              = 20
	maxTag               = 64
	maxInstructionsBytes = 64 << 10
	maxVariables         = 64
	maxValueBytes        = 8 << 10
	maxStops             = 4
	maxOutputTokens      = 1_000_000
	maxNote              = 2000
)

func (d Draft) checkTexts(f *domain.Faults) {
	f.Required("name", d.Name)
	f.Text("name", d.Name, maxName)
	f.Text("description", d.Description, maxDescription)
	if !validLanguage(d.Language) {
		f.Add("language", "pattern", "must be a language tag such as en or pt-BR")
	}
	if len(d.Tags) > maxTags {
		f.Add("tags", "too_many", fmt.Sprintf("must be at most %d", maxTags))
	}
	for i, t := range d.Tags {
		field := fmt.Sprintf("tags[%d]", i)
		f.Required(field, t)
		f.Text(field, t, maxTag)
	}
	f.Required("instructions", d.Instructions)
	if len(d.Instructions) > maxInstructionsBytes {
		f.Add("instructions", "too_long", fmt.Sprintf("must be at most %d bytes", maxInstructionsBytes))
		return
	}
	f.Text("instructions", d.Instructions, maxInstructionsBytes)
}

func (d Draft) checkVariables(f *domain.Faults) {
	if len(d.Variables) > maxVariables {
		f.Add("variables", "too_many", fmt.Sprintf("must be at most %d", maxVariables))
		return
	}
	declared := map[string]bool{}
	for i, v := range d.Variables {
		field := fmt.Sprintf("variables[%d]", i)
		if !validVariable(v.Name) {
			f.Add(field+".name", "pattern", "must be a–z, then at most 62 of a–z, 0–9 and _")
		} else if declared[v.Name] {
			f.Add(field+".name", "duplicate", "is declared twice")
		}
		declared[v.Name] = true
		v.check(f, field)
	}
	parts, err := parse(d.Instructions)
	if err != nil {
		f.Add("instructions", "template", err.Error())
		return
	}
	for _, p := range parts {
		if p.variable && !declared[p.text] {
			f.Add("instructions", "undeclared_variable", "use a variable that is not declared")
			return
		}
	}
}

func (v Variable) check(f *domain.Faults, field string) {
	f.Text(field+".description", v.Description, maxDescription)
	switch v.Type {
	case "string", "number", "boolean":
	default:
		f.Add(field+".type", "enum", "must be string, number or boolean")
		return
	}
	if len(v.Default) > 0 {
		if _, fault := v.text(v.Default); fault != "" {
			f.Add(field+".default", "type", fault)
		}
	}
}

// text is a JSON value as the instructions show it, or what is wrong with it.
func (v Variable) text(value json.RawMessage) (string, string) {
	kind, text := read(value)
	switch {
	case kind != v.Type:
		return "", "must be a " + v.Type
	case len(text) > maxValueBytes:
		return "", fmt.Sprintf("must be at most %d bytes", maxValueBytes)
	case strings.IndexByte(text, 0) >= 0:
		return "", "must not contain NUL"
	}
	return text, ""
}

// read takes a JSON value as a text, and says of which type it is; of none that variables have: "".
func read(value json.RawMessage) (kind, text string) {
	var got any
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber() // a number is shown as it was written: a float is not exact
	if !json.Valid(value) || d.Decode(&got) != nil {
		return "", ""
	}
	switch got := got.(type) {
	case string:
		return "string", got
	case json.Number:
		return "number", got.String()
	case bool:
		return "boolean", strconv.FormatBool(got)
	}
	return "", ""
}

func (d Draft) checkSettings(f *domain.Faults) {
	CheckSettings(f, "settings.", d.Settings)
	switch d.Context.Strategy {
	case TruncateOldest, Refuse:
	default:
		f.Add("context.strategy", "enum", "must be truncate_oldest or refuse")
	}
	if n := d.Context.ReserveOutput; n < 0 || n > maxOutputTokens {
		f.Add("context.reserve_output_tokens", "range", "must be 1 to 1,000,000")
	}
}

// CheckSettings notes what is wrong with s; prefix goes before the names of its fields.
func CheckSettings(f *domain.Faults, prefix string, s Settings) {
	if t := s.Temperature; t != nil && !(*t >= 0 && *t <= 2) {
		f.Add(prefix+"temperature", "range", "must be 0 to 2")
	}
	if p := s.TopP; p != nil && !(*p >= 0 && *p <= 1) {
		f.Add(prefix+"top_p", "range", "must be 0 to 1")
	}
	if n := s.MaxOutputTokens; n < 0 || n > maxOutputTokens {
		f.Add(prefix+"max_output_tokens", "range", "must be 1 to 1,000,000")
	}
	if len(s.Stop) > maxStops {
		f.Add(prefix+"stop", "too_many", fmt.Sprintf("must be at most %d", maxStops))
	}
	for i, stop := range s.Stop {
		field := fmt.Sprintf("%sstop[%d]", prefix, i)
		if stop == "" {
			f.Add(field, "required", "must not be empty")
		}
		f.Text(field, stop, maxTag)
	}
	switch s.ResponseFormat {
	case "", "text", "json":
	default:
		f.Add(prefix+"response_format", "enum", "must be text or json")
	}
}

// validLanguage says whether s looks like a BCP 47 tag; empty says nothing about the language.
func validLanguage(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if (c < 'a' || c > 'z') && (i == 0 || s[i] != '-' && (s[i] < '0' || s[i] > '9')) {
			return false
		}
	}
	return len(s) <= 35
}

func validVariable(s string) bool {
	if len(s) == 0 || len(s) > 63 || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}
