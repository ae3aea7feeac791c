package eventlog

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"

	"prelude/domain"
)

// Entry is a record as an auditor reads it: who did what to which thing, when, and under which
// rule. Data holds ids, labels, versions, notes and numbers; never instructions or messages.
type Entry struct {
	ID       string
	Kind     string
	Object   string
	Revision Revision
	Position Position
	At       time.Time
	User     string
	Key      string
	Job      string
	Rule     string
	Command  string
	Fields   []string
	Data     map[string]any
}

// Entry makes the entry of a record. A note is there if it was opened.
func (r Record) Entry() Entry {
	e := Entry{
		ID: domain.EncodeID(domain.EventPrefix, r.ID), Kind: r.Kind(), Object: r.Stream.Object(),
		Revision: r.Revision, Position: r.Position, At: r.Meta.At, User: r.Meta.User, Key: r.Meta.Key,
		Job: r.Meta.Job, Rule: r.Meta.Rule, Command: r.Meta.Command.String(), Fields: []string{},
		Data: map[string]any{},
	}
	v := reflect.ValueOf(r.Event)
	if !v.IsValid() {
		return e
	}
	for i := range v.NumField() {
		e.add(v.Type().Field(i), v.Field(i))
	}
	return e
}

// add puts one field of an event into the entry, if an auditor may see it.
func (e *Entry) add(f reflect.StructField, v reflect.Value) {
	name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
	switch {
	case f.Tag.Get("audit") == "-" || name == "at" || name == "content":
		return
	case name == "hash" && v.Kind() == reflect.Slice: // of an API key's secret
		return
	case strings.Contains(options, "omitempty") && v.IsZero():
		return
	case name == "fields":
		if fields, _ := v.Interface().([]string); fields != nil { // null may be stored; an entry's is a list
			e.Fields = fields
		}
		return
	case f.Type == secretType:
		if note, _ := v.Interface().(domain.Secret); name == "note" && note.Text != "" {
			e.Data[name] = note.Text
		}
		return
	case holdsSecrets(f.Type):
		return
	}
	e.Data[name] = plain(v.Interface())
}

// words are the fields that people name as they like.
var words = []string{"note", "slug", "name", "label", "selector", "asked"}

// Wordless is e without what people wrote: ids, types, versions and numbers are left.
func (e Entry) Wordless() Entry {
	e.Data = wordless(e.Data)
	return e
}

func wordless(data map[string]any) map[string]any {
	left := make(map[string]any, len(data))
	for name, v := range data {
		text, isText := v.(string)
		inner, holds := v.(map[string]any)
		switch {
		case slices.Contains(words, name):
		case isText && text != "" && (name == "from" || name == "to"): // of a slug; that of a label is a version
		case holds:
			left[name] = wordless(inner)
		default:
			left[name] = v
		}
	}
	return left
}

// plain is a value as its JSON reads, so that an entry made of a record equals one that was stored.
func plain(v any) any {
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	var p any
	if json.Unmarshal(b, &p) != nil {
		return nil
	}
	return p
}
