package eventlog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"prelude/domain"
	"prelude/domain/preset"
	"prelude/internal/eventlog"
)

// secrets calls see for each secret of an event, by a walk of its own.
func secrets(v reflect.Value, see func(domain.Secret)) {
	switch {
	case v.Type() == secretType:
		s, _ := v.Interface().(domain.Secret)
		see(s)
	case v.Kind() == reflect.Struct && v.Type() != timeType:
		for i := range v.NumField() {
			secrets(v.Field(i), see)
		}
	case v.Kind() == reflect.Pointer && !v.IsNil():
		secrets(v.Elem(), see)
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			secrets(v.Index(i), see)
		}
	}
}

// bare is for comparing what was opened with what was said: the sealed bytes differ at every sealing.
var bare = cmp.Transformer("bare", func(s domain.Secret) [3]any {
	return [3]any{s.Key, s.Text, s.Gone}
})

// TestEveryEventIsSealedAndComesBack: whatever an event holds, what is stored holds no text of a secret;
// read back it is sealed, and opened it is what was said. What the append returns is both.
func TestEveryEventIsSealedAndComesBack(t *testing.T) {
	t.Parallel()
	for _, name := range eventlog.Names() {
		typ := eventlog.Registered().TypeOf(name)
		if typ == nil {
			continue // an older version, which is not written any more
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) { comesBack(t, random(t).event(typ), name) })
		})
	}
}

func comesBack(t *rapid.T, said any, name string) {
	l, m := newLog(), meta()
	before, ctx := fmt.Sprintf("%+v", said), context.Background()
	kept, err := l.AppendUnder(ctx, eventlog.Registered(), stream, m, said)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprintf("%+v", said) != before {
		t.Fatal("the append changed the event that it was given")
	}
	raw := l.Store.(*memory).all[0]
	if bytes.Contains(raw.Data, []byte(marker)) || bytes.Contains(raw.Meta, []byte(marker)) {
		t.Fatalf("a text is stored: %s %s", raw.Data, raw.Meta)
	}
	recs := read(t, l, stream)
	if len(recs) != 1 || recs[0].Name != name || recs[0].Revision != 0 {
		t.Fatalf("read %+v", recs)
	}
	secrets(reflect.ValueOf(recs[0].Event), func(s domain.Secret) {
		if s.Text != "" || s.Key != "" && s.Sealed == nil {
			t.Fatalf("it is read back open: %+v", s)
		}
	})
	if diff := cmp.Diff(m, recs[0].Meta); diff != "" {
		t.Fatalf("metadata (-said +read):\n%s", diff)
	}
	if err := l.Open(ctx, recs); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(said, recs[0].Event, bare); diff != "" {
		t.Fatalf("opened (-said +read):\n%s", diff)
	}
	if diff := cmp.Diff(kept[0], recs[0].Event); diff != "" {
		t.Fatalf("what the append returned is not what is stored (-returned +read):\n%s", diff)
	}
	showsNoText(t, recs[0])
}

// showsNoText: an auditor's entry holds no secret but an opened note, what goes outside none at all.
func showsNoText(t *rapid.T, r eventlog.Record) {
	entry := r.Entry()
	note := ""
	if v := reflect.ValueOf(r.Event).FieldByName("Note"); v.IsValid() {
		note = v.Interface().(domain.Secret).Text
	}
	if got, _ := entry.Data["note"].(string); got != note {
		t.Fatalf("the note is %q, want %q", got, note)
	}
	delete(entry.Data, "note")
	for what, v := range map[string]any{"an entry": entry, "a cloud event": r.CloudEvent()} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(marker)) || bytes.Contains(b, []byte(`"sealed"`)) {
			t.Fatalf("%s holds a text, open or sealed: %s", what, b)
		}
	}
	ce := r.CloudEvent()
	if ce.Data["note"] != nil || ce.Data["detail"] != nil || ce.SpecVersion != "1.0" ||
		ce.Type != "prelude."+r.Kind() || ce.Source != "/orgs/org_"+r.Stream.Org {
		t.Fatalf("the cloud event is %+v", ce)
	}
}

// TestWordless: names that people give stay inside; versions and ids go out.
func TestWordless(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]string{
		"org.founded.v1":            {"org"},
		"preset.created.v1":         {"hash", "org", "owner", "preset", "scope"},
		"preset.renamed.v1":         {"by"},
		"preset.published.v1":       {"by", "hash", "version"},
		"preset.labeled.v1":         {"by", "from", "version"},
		"preset.unlabeled.v1":       {"by", "from"},
		"session.preset_applied.v1": {"by", "model", "preset"},
		"completion.started.v1":     {"org", "preset", "producer", "reply", "until", "user"},
		"apikey.issued.v1":          {"by", "expires_at", "key", "org", "user"},
	} {
		data := read(t, appended(t, stream, event(t, name)), stream)[0].CloudEvent().Data
		if got := slices.Sorted(maps.Keys(data)); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
		if p, ok := data["preset"].(map[string]any); ok && (p["id"] == nil || p["version"] == nil ||
			p["name"] != nil || p["selector"] != nil) {
			t.Errorf("%s: the preset is %v", name, p)
		}
	}
}

func TestEntry(t *testing.T) {
	t.Parallel()
	l := appended(t, stream, event(t, "preset.edited.v1"))
	rec := read(t, l, stream)[0]
	e := rec.Entry()
	want := eventlog.Entry{
		ID: e.ID, Kind: "preset.edited", Object: stream.Object(), Revision: 0, Position: 1, At: noon, User: "usr_1",
		Key: "key_1", Rule: "rule", Command: "00000000-0000-4000-8000-000000000001",
		Fields: []string{"fields[0] 1", "fields[1] 2"},
		Data:   map[string]any{"by": e.Data["by"], "hash": e.Data["hash"]},
	}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Error(diff)
	}
	if !domain.ValidID(domain.EventPrefix, e.ID) || e.Data["by"] == nil || e.Data["hash"] == nil {
		t.Errorf("the entry is %+v", e)
	}
	bare := eventlog.Record{Stream: stream, Name: "preset.edited.v1", Event: preset.Edited{}}
	if e := bare.Entry(); e.Fields == nil || len(e.Fields) > 0 {
		t.Errorf("the fields of an edit that names none are %#v", e.Fields)
	}
	unknown := eventlog.Record{Stream: stream, Name: "preset.novel.v2"}
	if e := unknown.Entry(); e.Kind != "preset.novel" || e.Fields == nil || len(e.Data) > 0 {
		t.Errorf("an unknown event's entry is %+v", e)
	}
	issued := read(t, appended(t, stream, event(t, "apikey.issued.v1")), stream)[0]
	if data := issued.Entry().Data; data["hash"] != nil {
		t.Errorf("the hash of an API key's secret is shown: %v", data)
	}
}

// event is one of a registered name with every field filled.
func event(t *testing.T, name string) any {
	t.Helper()
	return fixed().event(typeOf(t, name))
}

func TestKind(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"preset.created.v1": "preset.created", "x": "x", "": ""} {
		if got := (eventlog.Record{Name: name}).Kind(); got != want {
			t.Errorf("the kind of %q is %q", name, got)
		}
	}
	for _, n := range eventlog.Names() {
		part := strings.Split(n, ".")
		if len(part) != 3 || part[0] == "" || part[1] == "" || !strings.HasPrefix(part[2], "v") {
			t.Errorf("%q is not noun, verb and version", n)
		}
	}
}
