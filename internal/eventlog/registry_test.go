package eventlog

import (
	"encoding/json"
	"errors"
	"testing"
)

type painted struct {
	Colour string `json:"colour"`
	Coats  int    `json:"coats"`
}

type primed struct{}

var errNoColour = errors.New("no color")

// american is painted.v1: its colour was spelt otherwise; v2 knew no coats.
func american(old json.RawMessage) (json.RawMessage, error) {
	var v struct {
		Color string `json:"color"`
	}
	if err := json.Unmarshal(old, &v); err != nil {
		return nil, err
	}
	if v.Color == "" {
		return nil, errNoColour
	}
	return json.Marshal(map[string]any{"colour": v.Color})
}

func oneCoat(old json.RawMessage) (json.RawMessage, error) {
	v := map[string]any{}
	if err := json.Unmarshal(old, &v); err != nil {
		return nil, err
	}
	v["coats"] = 1
	return json.Marshal(v)
}

func TestRegistry(t *testing.T) {
	t.Parallel()
	r := register([]named{{name: "wall.painted.v3", event: painted{}}, {name: "wall.primed.v1", event: primed{}, unwritten: true}},
		map[string]upcast{"wall.painted.v1": {"wall.painted.v2", american}, "wall.painted.v2": {"wall.painted.v3", oneCoat}})
	for _, c := range []struct {
		name, data string
		want       any
	}{
		{"wall.painted.v3", `{"colour":"red","coats":3}`, painted{"red", 3}},
		{"wall.painted.v2", `{"colour":"red"}`, painted{"red", 1}},
		{"wall.painted.v1", `{"color":"red"}`, painted{"red", 1}},
		{"wall.primed.v1", `{}`, primed{}},
		{"wall.papered.v1", `{}`, nil},
	} {
		if got, err := r.decode(c.name, json.RawMessage(c.data)); err != nil || got != c.want {
			t.Errorf("%s is read as %+v, %v", c.name, got, err)
		}
	}
	if _, err := r.decode("wall.painted.v1", json.RawMessage(`{}`)); !errors.Is(err, errNoColour) {
		t.Errorf("an upcast that fails: %v", err)
	}
	if len(r.written) != 1 || len(r.nameOf) != 2 {
		t.Errorf("written are %v of %v", r.written, r.nameOf)
	}
	for what, register := range map[string]func(){
		"a name twice": func() { register([]named{{name: "a.v1", event: painted{}}, {name: "a.v1", event: primed{}}}, nil) },
		"a type twice": func() { register([]named{{name: "a.v1", event: painted{}}, {name: "b.v1", event: painted{}}}, nil) },
		"an upcast to nothing": func() {
			register(nil, map[string]upcast{"a.v1": {"a.v2", oneCoat}})
		},
		"an upcast of what has a type": func() {
			register([]named{{name: "a.v1", event: painted{}}, {name: "a.v2", event: primed{}}}, map[string]upcast{"a.v1": {"a.v2", oneCoat}})
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s was taken", what)
				}
			}()
			register()
		}()
	}
}
