package eventlog_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"prelude/domain"
	"prelude/internal/eventlog"
)

var update = flag.Bool("update", false, "write the samples that are missing; those that are there stay")

// sample is an event as it was once stored, with what it must be read as for ever: one line for each field
// that has a value, secrets opened. A field that is added later has none in it.
type sample struct {
	ID       uuid.UUID         `json:"id"`
	Stream   string            `json:"stream"`
	Revision eventlog.Revision `json:"revision"`
	Data     json.RawMessage   `json:"data"`
	Meta     json.RawMessage   `json:"meta"`
	Value    []string          `json:"value"`
}

// raw is the event byte by byte as it was stored: the file is only indented.
func (s sample) raw(name string) eventlog.Raw {
	var data bytes.Buffer
	if err := json.Compact(&data, s.Data); err != nil {
		panic(err) // it was read as JSON
	}
	return eventlog.Raw{ID: s.ID, Stream: s.Stream, Revision: s.Revision, Type: name,
		Data: data.Bytes(), Meta: s.Meta}
}

// corpus is a folder with a sample for each name, old ones too, under which a registry reads events.
type corpus struct {
	dir      string
	registry eventlog.Registry
}

func (c corpus) file(name string) string { return filepath.Join(c.dir, name+".json") }

// gaps are the names without a sample, and the samples whose name is not registered any more.
func (c corpus) gaps(t *testing.T) (missing, gone []string) {
	t.Helper()
	files, err := filepath.Glob(c.file("*"))
	if err != nil {
		t.Fatal(err)
	}
	names := c.registry.Names()
	for _, f := range files {
		if name := strings.TrimSuffix(filepath.Base(f), ".json"); !slices.Contains(names, name) {
			gone = append(gone, name)
		}
	}
	for _, name := range names {
		if !slices.Contains(files, c.file(name)) {
			missing = append(missing, name)
		}
	}
	return missing, gone
}

// complete writes the samples that are missing. That of an older version, which has no type any more, cannot be
// made: it was, when it had one.
func (c corpus) complete(t *testing.T) {
	t.Helper()
	missing, _ := c.gaps(t)
	for _, name := range missing {
		if c.registry.TypeOf(name) != nil {
			c.write(t, name)
		}
	}
}

// changed says what of a sample is not read as it always was; empty: nothing.
func (c corpus) changed(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(c.file(name))
	if err != nil {
		t.Fatal(err)
	}
	var s sample
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	rec, err := c.registry.DecodeIn(s.raw(name))
	if err != nil || rec.Event == nil {
		return fmt.Sprintf("it is read as %+v, %v", rec.Event, err)
	}
	if want := rec.Meta.EventID(rec.Stream, rec.Revision, name); rec.ID != want {
		return fmt.Sprintf("its id is %s, by now it would be %s", rec.ID, want)
	}
	if diff := cmp.Diff(meta(), rec.Meta); diff != "" {
		return "metadata (-want +got):\n" + diff
	}
	if diff := cmp.Diff(s.Value, valueOf(t, rec)); diff != "" {
		return "it is read as another value (-as ever +now):\n" + diff
	}
	return ""
}

// TestCorpus: each name that ever was registered has a sample, and each sample is read as it always was.
func TestCorpus(t *testing.T) {
	t.Parallel()
	c := corpus{"testdata", eventlog.Registered()}
	if *update {
		c.complete(t)
	}
	missing, gone := c.gaps(t)
	for _, name := range missing {
		t.Errorf("%s has no sample (go test ./internal/eventlog -run Corpus -update)", name)
	}
	for _, name := range gone {
		t.Errorf("%s was stored once and is not registered any more", name)
	}
	for _, name := range c.registry.Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if slices.Contains(missing, name) {
				t.Skip("it has no sample")
			}
			if diff := c.changed(t, name); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// valueOf opens a record, and writes its event as lines.
func valueOf(t *testing.T, rec eventlog.Record) []string {
	t.Helper()
	recs := []eventlog.Record{rec}
	if err := newLog().Open(t.Context(), recs); err != nil {
		t.Fatal(err)
	}
	return lines(reflect.ValueOf(recs[0].Event), "")
}

func lines(v reflect.Value, path string) []string {
	if v.IsZero() {
		return nil
	}
	var all []string
	switch x := v.Interface().(type) {
	case domain.Secret:
		return []string{fmt.Sprintf("%s = %s of %s", path, quote(x.Text), x.Key)}
	case json.RawMessage:
		return []string{path + " = " + string(x)}
	case []byte:
		return []string{fmt.Sprintf("%s = %x", path, x)}
	case fmt.Stringer:
		return []string{path + " = " + x.String()}
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			all = append(all, lines(v.Field(i), strings.TrimPrefix(path+"."+v.Type().Field(i).Name, "."))...)
		}
	case reflect.Pointer:
		all = lines(v.Elem(), path)
	case reflect.Slice:
		for i := range v.Len() {
			all = append(all, lines(v.Index(i), fmt.Sprintf("%s[%d]", path, i))...)
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			all = append(all, lines(v.MapIndex(k), fmt.Sprintf("%s[%v]", path, k))...)
		}
		slices.Sort(all)
	default:
		all = []string{path + " = " + quote(v.Interface())}
	}
	return all
}

func quote(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// write makes a sample of a name that has a type.
func (c corpus) write(t *testing.T, name string) {
	t.Helper()
	category, _, _ := strings.Cut(name, ".")
	in := eventlog.Stream{Category: category, Org: "1", ID: "2"}
	l := newLog()
	if _, err := l.AppendUnder(t.Context(), c.registry, in, meta(), fixed().event(c.registry.TypeOf(name))); err != nil {
		t.Fatal(err)
	}
	raw := stored(t, l)[0]
	rec, err := c.registry.DecodeIn(raw)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.MarshalIndent(sample{ID: raw.ID, Stream: raw.Stream, Revision: raw.Revision,
		Data: raw.Data, Meta: raw.Meta, Value: valueOf(t, rec)}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.file(name), append(b, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
}
