package eventlog

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// upcasts bring what is stored under an old name to the next version's form. There is one for every name but the
// newest of its kind, and only the newest has a Go type.
var upcasts = map[string]upcast{}

// upcast changes stored JSON into that of another name. A secret stays at its path, to which it is sealed.
type upcast struct {
	to     string
	change func(json.RawMessage) (json.RawMessage, error)
}

// registry knows every name that was ever stored.
type registry struct {
	typeOf  map[string]reflect.Type
	nameOf  map[reflect.Type]string
	written map[reflect.Type]string // nameOf without what is not to be written yet
	upcasts map[string]upcast
}

// register panics on a name or a type that is there twice, and on an upcast that leads nowhere.
func register(names []named, upcasts map[string]upcast) registry {
	r := registry{typeOf: map[string]reflect.Type{}, nameOf: map[reflect.Type]string{},
		written: map[reflect.Type]string{}, upcasts: upcasts}
	for _, n := range names {
		t := reflect.TypeOf(n.event)
		if r.typeOf[n.name] != nil || r.nameOf[t] != "" {
			panic(fmt.Sprintf("event %s is registered twice", n.name))
		}
		r.typeOf[n.name], r.nameOf[t] = t, n.name
		if !n.unwritten {
			r.written[t] = n.name
		}
	}
	for from, u := range upcasts {
		if _, next := upcasts[u.to]; r.typeOf[from] != nil || r.typeOf[u.to] == nil && !next {
			panic(fmt.Sprintf("the upcast of %s to %s leads nowhere", from, u.to))
		}
	}
	return r
}

// names lists every name under which an event may be stored: those that have a type, and the older ones that an
// upcast leads to one.
func (r registry) names() []string {
	all := slices.Collect(maps.Keys(r.typeOf))
	all = slices.AppendSeq(all, maps.Keys(r.upcasts))
	slices.Sort(all)
	return all
}

// stored reads what encoding/json has written and would read again.
var stored = jsonv2.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// decode reads what is stored under a name; nil: the name is not known.
func (r registry) decode(name string, data json.RawMessage) (any, error) {
	for u, old := r.upcasts[name]; old; u, old = r.upcasts[name] {
		var err error
		if data, err = u.change(data); err != nil {
			return nil, fmt.Errorf("bring it to %s: %w", u.to, err)
		}
		name = u.to
	}
	t := r.typeOf[name]
	if t == nil {
		return nil, nil //nolint:nilnil // that it is not known is an answer
	}
	v := reflect.New(t)
	if err := jsonv2.Unmarshal(data, v.Interface(), stored); err != nil {
		return nil, err
	}
	return v.Elem().Interface(), nil
}
