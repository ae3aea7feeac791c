package eventlog

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
)

var release = flag.String("release", "", "write released.txt for this release")

// released gives the last release, "none" before the first, and the names of it.
func released(text string) (tag string, names []string) {
	for line := range strings.Lines(text) {
		switch line = strings.TrimSpace(line); {
		case line == "" || line[0] == '#':
		case strings.HasPrefix(line, "release "):
			tag = strings.TrimPrefix(line, "release ")
		default:
			names = append(names, line)
		}
	}
	return tag, names
}

// early lists the names that may not be written yet, and those that are gone.
func early(all []named, text string) (tooEarly, gone []string) {
	tag, known := released(text)
	if tag == "none" {
		return nil, nil
	}
	var here []string
	for _, n := range all {
		here = append(here, n.name)
		if !bool(n.unwritten) && !slices.Contains(known, n.name) {
			tooEarly = append(tooEarly, n.name)
		}
	}
	for _, n := range known {
		if _, old := upcasts[n]; !old && !slices.Contains(here, n) {
			gone = append(gone, n)
		}
	}
	return tooEarly, gone
}

func TestReleased_names_alone_are_written(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("released.txt")
	if err != nil {
		t.Fatal(err)
	}
	if *release != "" {
		first, _, _ := strings.Cut(string(text), "\n")
		lines := append([]string{first, "release " + *release}, Names()...)
		text = []byte(strings.Join(lines, "\n") + "\n")
		if err := os.WriteFile("released.txt", text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if tag, _ := released(string(text)); tag == "" {
		t.Error("released.txt names no release")
	}
	tooEarly, gone := early(names, string(text))
	for _, n := range tooEarly {
		t.Errorf("%s is written, and the last release cannot read it: mark it unwritten until the next", n)
	}
	for _, n := range gone {
		t.Errorf("%s was stored once and is not registered any more", n)
	}
}

func TestEarly(t *testing.T) {
	t.Parallel()
	all := []named{{name: "a.v1"}, {name: "b.v1"}, {name: "c.v1", unwritten: true}}
	for _, c := range []struct{ text, tooEarly, gone string }{
		{"# none\nrelease none\n", "", ""},
		{"release v1\na.v1\nb.v1\n", "", ""},
		{"release v1\na.v1\n", "b.v1", ""},
		{"release v1\na.v1\nb.v1\nd.v1\n", "", "d.v1"},
	} {
		tooEarly, gone := early(all, c.text)
		if strings.Join(tooEarly, " ") != c.tooEarly || strings.Join(gone, " ") != c.gone {
			t.Errorf("%q: too early %v, gone %v", c.text, tooEarly, gone)
		}
	}
}

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
	if len(r.nameOf) != 1 {
		t.Errorf("written are %v", r.nameOf)
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
