package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"prelude/internal/api"
)

var update = flag.Bool("update", false, "write the document and the examples anew")

const (
	documentFile = "../../internal/api/openapi.json"
	examplesFile = "../../internal/api/examples.json"
)

// TestExamples sends each request of the documents to a real server, in order, and gets the status that it
// promises, in the shape that it promises.
func TestExamples(t *testing.T) {
	t.Parallel()
	r := start(t)
	kept := map[string]string{}
	examples := api.Examples()
	for i := range examples {
		e := &examples[i]
		t.Run(e.Operation, func(t *testing.T) { r.example(t, e, kept) })
	}
	if *update {
		writeExamples(t, examples)
	}
}

func (r *rig) example(t *testing.T, e *api.Example, kept map[string]string) {
	fill := func(s string) string {
		for name, value := range kept {
			s = strings.ReplaceAll(s, "$"+name, value)
		}
		return s
	}
	var body any
	if e.Body != nil {
		body = fill(string(e.Body))
	}
	var headers []string
	for name, value := range e.Headers {
		headers = append(headers, name+": "+fill(value))
	}
	resp := r.open(e.Method, fill(e.Path), body, headers...)
	defer func() { _ = resp.Body.Close() }()
	var got bytes.Buffer
	if e.Stream != "" {
		readEvents(t, resp, &got)
	} else if _, err := got.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != e.Status {
		t.Fatalf("status %d, want %d: %s", resp.StatusCode, e.Status, got.Bytes())
	}
	for name, from := range e.Keep {
		kept[name] = keep(resp, got.Bytes(), from)
		if kept[name] == "" {
			t.Fatalf("the answer has no %s", from)
		}
	}
	r.compare(t, e, got.Bytes())
}

// readEvents reads a stream: to its end, or where it has none, the first three events.
func readEvents(t *testing.T, resp *http.Response, into *bytes.Buffer) {
	lines := bufio.NewScanner(resp.Body)
	for n := 0; n < 3 && lines.Scan(); {
		into.WriteString(lines.Text() + "\n")
		if lines.Text() == "" {
			n++
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

func keep(resp *http.Response, body []byte, from string) string {
	if name, ok := strings.CutPrefix(from, "header:"); ok {
		return resp.Header.Get(name)
	}
	var d doc
	if json.Unmarshal(body, &d) != nil {
		return ""
	}
	return d.str(strings.Split(from, ".")...)
}

// compare holds the answer against the one in the documents: the same fields of the same kinds.
func (r *rig) compare(t *testing.T, e *api.Example, got []byte) {
	if *update {
		if e.Stream != "" {
			e.Stream = string(got)
		} else {
			e.Response = bytes.TrimSpace(bytes.ReplaceAll(got, []byte(r.key), []byte("prelude_…")))
			hideSecret(e)
		}
		return
	}
	if e.Stream != "" {
		return
	}
	var want, have any
	if err := json.Unmarshal(e.Response, &want); err != nil {
		t.Fatalf("the example has no answer: make openapi writes it: %v", err)
	}
	if err := json.Unmarshal(got, &have); err != nil {
		t.Fatal(err)
	}
	if a, b := shape(want), shape(have); a != b {
		t.Errorf("the answer has another shape than the example: make openapi\nexample %s\nanswer  %s", a, b)
	}
}

func hideSecret(e *api.Example) {
	var d map[string]json.RawMessage
	if json.Unmarshal(e.Response, &d) != nil || d["secret"] == nil {
		return
	}
	i := bytes.Index(e.Response, d["secret"])
	e.Response = append(append(append([]byte{}, e.Response[:i]...), []byte(`"prelude_…"`)...),
		e.Response[i+len(d["secret"]):]...)
}

// shape is a document without its values: names, and the kinds of what they hold.
func shape(v any) string {
	switch v := v.(type) {
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		var b strings.Builder
		for _, k := range keys {
			b.WriteString(k + ":" + shape(v[k]) + " ")
		}
		return "{" + b.String() + "}"
	case []any:
		if len(v) == 0 {
			return "[]"
		}
		return "[" + shape(v[0]) + "]"
	case string:
		return "text"
	case float64:
		return "number"
	case bool:
		return "bool"
	}
	return "null"
}

func writeExamples(t *testing.T, examples []api.Example) {
	var b bytes.Buffer
	b.WriteString("[\n")
	for i, e := range examples {
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(e); err != nil {
			t.Fatal(err)
		}
		if i < len(examples)-1 {
			b.Truncate(b.Len() - 1)
			b.WriteString(",\n")
		}
	}
	b.WriteString("]\n")
	if err := os.WriteFile(examplesFile, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestDocument holds the committed document against the one that is generated.
func TestDocument(t *testing.T) {
	t.Parallel()
	r := start(t)
	got := r.do("GET", "/openapi.json", nil).Body
	if *update {
		if err := os.WriteFile(documentFile, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(documentFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(bytes.TrimSpace(want), bytes.TrimSpace(got)) {
		t.Error("the document has changed: make openapi, and read the diff")
	}
	r.everyOperationHasExamples(t, got)
}

func (r *rig) everyOperationHasExamples(t *testing.T, document []byte) {
	var d doc
	if err := json.Unmarshal(document, &d); err != nil {
		t.Fatal(err)
	}
	paths, _ := d.at("paths").(map[string]any)
	have := map[string]bool{}
	for _, e := range api.Examples() {
		have[e.Operation] = e.Response != nil || e.Stream != ""
	}
	for path, item := range paths {
		for method, op := range item.(map[string]any) {
			o := doc(op.(map[string]any))
			if id := o.str("operationId"); !have[id] {
				t.Errorf("%s %s (%s) has no example", method, path, id)
			}
		}
	}
}
