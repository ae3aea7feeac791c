package api

import (
	_ "embed" // the examples
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
)

// Example is a request that works on a fresh installation after those before it, and its answer. A test sends
// each; $name stands for what an earlier answer gave.
type Example struct {
	Operation string            `json:"operation"`
	Method    string            `json:"method"`
	Path      string            `json:"path"`
	Headers   map[string]string `json:"headers,omitempty"`
	Body      json.RawMessage   `json:"body,omitempty"`
	Status    int               `json:"status"`
	Keep      map[string]string `json:"keep,omitempty"` // name → where in the answer: a field, or header:<name>
	Response  json.RawMessage   `json:"response,omitempty"`
	Stream    string            `json:"stream,omitempty"` // the answer, where it is a stream
}

//go:embed examples.json
var examplesJSON []byte

// Examples are the requests and answers of the documents, in an order in which they work.
func Examples() []Example {
	var all []Example
	if err := json.Unmarshal(examplesJSON, &all); err != nil {
		panic(fmt.Sprintf("examples.json: %v", err)) // it is embedded
	}
	return all
}

// describe adds to the document what types do not say: streams, errors, examples.
func (s *Server) describe() {
	doc := s.api.OpenAPI()
	operations := map[string]*huma.Operation{}
	for _, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
			if op != nil {
				operations[op.OperationID] = op
			}
		}
	}
	schema := doc.Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")
	for _, op := range operations {
		describeBody(op)
		op.Responses["default"] = &huma.Response{Description: "An error",
			Content: map[string]*huma.MediaType{"application/problem+json": {Schema: schema}}}
	}
	for _, e := range Examples() {
		if op := operations[e.Operation]; op != nil {
			e.describe(op)
		}
	}
	var err error
	if s.document, err = json.MarshalIndent(doc, "", " "); err != nil {
		panic(fmt.Sprintf("the document: %v", err)) // a mistake in a type
	}
}

// describeBody says what bodies are, which huma reads as they came besides.
func describeBody(op *huma.Operation) {
	if op.RequestBody == nil {
		return
	}
	content := op.RequestBody.Content
	delete(content, "application/octet-stream")
	const merge, plain = "application/merge-patch+json", "application/json"
	if content[merge] != nil {
		content[plain] = content[merge]
	}
	if m := content[plain]; m != nil && m.Schema != nil && m.Schema.Format == "binary" {
		m.Schema = &huma.Schema{Type: "object", AdditionalProperties: true,
			Description: "A chat completion request of OpenAI's; unknown fields are passed on."}
	}
}

func (e Example) describe(op *huma.Operation) {
	if e.Body != nil && op.RequestBody != nil {
		for _, media := range op.RequestBody.Content {
			media.Example = e.Body
		}
	}
	r := op.Responses[strconv.Itoa(e.Status)]
	if r == nil {
		r = &huma.Response{Description: "OK"}
		op.Responses[strconv.Itoa(e.Status)] = r
	}
	if r.Content == nil {
		r.Content = map[string]*huma.MediaType{}
	}
	if e.Stream != "" {
		r.Content["text/event-stream"] = &huma.MediaType{Schema: &huma.Schema{Type: "string"}, Example: e.Stream}
		return
	}
	media := r.Content["application/json"]
	if media == nil {
		media = &huma.MediaType{Schema: &huma.Schema{Type: "object"}}
		r.Content["application/json"] = media
	}
	media.Example = e.Response
}
