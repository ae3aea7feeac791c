package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/danielgtaylor/huma/v2"
)

// format reads JSON strictly: no duplicate or unknown fields, names in their exact case, UTF-8 only. What is
// wrong is told by the field's name and the rule, never by what was sent.
var format = huma.Format{
	Marshal: func(w io.Writer, v any) error {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	},
	Unmarshal: func(b []byte, v any) error {
		if bytes.Equal(bytes.TrimSpace(b), []byte("null")) {
			return bodyFault{"body", "type", "must be an object"}
		}
		err := jsonv2.Unmarshal(b, v, strict)
		if err == nil {
			return nil
		}
		if !jsontext.Value(b).IsValid(jsontext.AllowDuplicateNames(true)) {
			return notJSON // whatever else is wrong before that
		}
		return jsonFault(err)
	},
}

var notJSON = bodyFault{"body", malformed, "The body is not JSON in UTF-8."}

var strict = jsonv2.RejectUnknownMembers(true)

// bodyFault is a fault of a body on its way through huma, which keeps only the text of errors.
type bodyFault struct{ Field, Code, Detail string }

const faultMark = "fault|"

func (f bodyFault) Error() string { return faultMark + f.Field + "|" + f.Code + "|" + f.Detail }

// parseFault reads what Error wrote.
func parseFault(text string) (bodyFault, bool) {
	rest, ok := strings.CutPrefix(text, faultMark)
	part := strings.SplitN(rest, "|", 3)
	if !ok || len(part) != 3 {
		return bodyFault{}, false
	}
	return bodyFault{part[0], part[1], part[2]}, true
}

// The codes of bodies that are not JSON at all; others are faults of a field.
const malformed = "malformed"

func jsonFault(err error) bodyFault {
	var syntactic *jsontext.SyntacticError
	var semantic *jsonv2.SemanticError
	var inner bodyFault
	switch {
	case errors.As(err, &inner):
		if errors.As(err, &semantic) {
			inner.Field = within(fieldOf(semantic.JSONPointer), inner.Field)
		}
		return inner
	case errors.Is(err, jsontext.ErrDuplicateName):
		f := bodyFault{"body", "duplicate_field", "is there twice"}
		if errors.As(err, &syntactic) {
			f.Field = fieldOf(syntactic.JSONPointer)
		}
		return f
	case errors.Is(err, jsonv2.ErrUnknownName):
		f := bodyFault{"body", "unknown_field", "is not a field of this request"}
		if errors.As(err, &semantic) {
			f.Field = fieldOf(semantic.JSONPointer)
		}
		return f
	case errors.As(err, &semantic):
		return bodyFault{fieldOf(semantic.JSONPointer), "type", "has the wrong type"}
	}
	return notJSON
}

// within is the name of a field of a value that reads itself, which stands in a field of the body.
func within(outer, field string) string {
	switch {
	case field == "body":
		return outer
	case outer == "body" || field[0] == '[':
		return strings.TrimPrefix(outer, "body") + field
	}
	return outer + "." + field
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// fieldOf writes a JSON pointer as fields are named: variables[0].name. A name that is nobody's field may be
// anything, so it is only repeated if it looks like one.
func fieldOf(p jsontext.Pointer) string {
	var b strings.Builder
	for token := range p.Tokens() {
		switch {
		case strings.Trim(token, "0123456789") == "" && token != "":
			b.WriteString("[" + token + "]")
			continue
		case !plainName.MatchString(token):
			token = "?"
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(token)
	}
	if b.Len() == 0 {
		return "body"
	}
	return b.String()
}

// canonical is a body as it is compared with that of a repeat.
func canonical(body []byte) []byte {
	v := jsontext.Value(append([]byte(nil), body...))
	if v.Canonicalize() != nil {
		return body
	}
	return v
}
