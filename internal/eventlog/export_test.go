package eventlog

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
)

// Registry is what a program reads events by.
type Registry = registry

// Registered is the registry of this program.
func Registered() Registry { return registered }

// Kept is an event under its stored name, for a registry that a test makes.
type Kept struct {
	Name      string
	Event     any
	Unwritten bool
}

// Upcast brings what is stored under a name to the form of the next.
type Upcast struct {
	To     string
	Change func(json.RawMessage) (json.RawMessage, error)
}

// NewRegistry is a registry of a test's own.
func NewRegistry(events []Kept, old map[string]Upcast) Registry {
	all, ups := make([]named, len(events)), map[string]upcast{}
	for i, e := range events {
		all[i] = named{name: e.Name, event: e.Event, unwritten: unwritten(e.Unwritten)}
	}
	for from, u := range old {
		ups[from] = upcast{u.To, u.Change}
	}
	return register(all, ups)
}

// Names lists every name under which the registry reads events.
func (r registry) Names() []string { return r.names() }

// TypeOf is the Go type of a name; nil: it has none of its own.
func (r registry) TypeOf(name string) reflect.Type { return r.typeOf[name] }

// DecodeIn is [Decode] by r, for an event of a stream of any name: those of the samples are short.
func (r registry) DecodeIn(raw Raw) (Record, error) {
	category, rest, _ := strings.Cut(raw.Stream, "-")
	org, id, _ := strings.Cut(rest, "_")
	return r.recordOf(Stream{category, org, id}, raw)
}

// AppendUnder is [Log.Append] by r, also of events that are not to be written yet: how they will be stored must
// be known before they are.
func (l *Log) AppendUnder(ctx context.Context, r Registry, s Stream, meta Meta, event any) ([]any, error) {
	_, kept, err := l.append(ctx, r.nameOf, s, None, meta, []any{event})
	return kept, err
}
