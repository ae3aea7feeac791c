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

func sampleFile(name string) string { return filepath.Join("testdata", name+".json") }

// TestCorpus: each name that ever was registered has a sample, and each sample is read as it always was.
func TestCorpus(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(sampleFile("*"))
	if err != nil {
		t.Fatal(err)
	}
	names := eventlog.Names()
	for _, f := range files {
		if name := strings.TrimSuffix(filepath.Base(f), ".json"); !slices.Contains(names, name) {
			t.Errorf("%s was stored once and is not registered any more", name)
		}
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, err := os.ReadFile(sampleFile(name))
			if os.IsNotExist(err) && *update {
				write(t, name)
				b, err = os.ReadFile(sampleFile(name))
			}
			if err != nil {
				t.Fatalf("it has no sample (go test ./internal/eventlog -run Corpus -update): %v", err)
			}
			var s sample
			if err := json.Unmarshal(b, &s); err != nil {
				t.Fatal(err)
			}
			decodes(t, name, s)
		})
	}
}

func decodes(t *testing.T, name string, s sample) {
	t.Helper()
	rec, err := eventlog.Decode(s.raw(name))
	if err != nil || rec.Event == nil {
		t.Fatalf("it is read as %+v, %v", rec.Event, err)
	}
	if want := rec.Meta.EventID(rec.Stream, rec.Revision, name); rec.ID != want {
		t.Errorf("its id is %s, by now it would be %s", rec.ID, want)
	}
	if diff := cmp.Diff(meta(), rec.Meta); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(s.Value, valueOf(t, rec)); diff != "" {
		t.Errorf("it is read as another value (-as ever +now):\n%s", diff)
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

// write makes a sample of a name that has none.
func write(t *testing.T, name string) {
	t.Helper()
	category, _, _ := strings.Cut(name, ".")
	in := eventlog.Stream{Category: category, Org: "1", ID: "2"}
	l := appended(t, in, event(t, name))
	raw := stored(t, l)[0]
	b, err := json.MarshalIndent(sample{ID: raw.ID, Stream: raw.Stream, Revision: raw.Revision,
		Data: raw.Data, Meta: raw.Meta, Value: valueOf(t, read(t, l, in)[0])}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(sampleFile(name), append(b, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
}
