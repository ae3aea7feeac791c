package api

import (
	"reflect"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Answered are the headers of a command's answer, and of a query's where there is an ETag.
type Answered struct {
	ETag     string `header:"ETag"`
	Position string `header:"Prelude-Position"`
	Replayed string `header:"Idempotency-Replayed"`
}

// resource answers with a thing and the headers that tell its state.
type resource[T any] struct {
	Answered
	Body T
}

// created answers with a thing that was made.
type created[T any] struct {
	Answered
	Location string `header:"Location"`
	Body     T
}

// bodyOnly answers with a body alone.
type bodyOnly[T any] struct{ Body T }

// listBody is a part of a list.
type listBody[T any] struct {
	Data       []T     `json:"data"`
	HasMore    bool    `json:"has_more"`
	NextCursor *string `json:"next_cursor"`
	Stale      bool    `json:"stale,omitempty"`
}

type listed[T any] struct{ Body listBody[T] }

func page[T any](data []T, more bool, next string, stale bool) *listed[T] {
	return &listed[T]{listBody[T]{Data: some(data), HasMore: more, NextCursor: text(next), Stale: stale}}
}

func quoted(etag string) string {
	if etag == "" {
		return ""
	}
	return `"` + etag + `"`
}

func replayed(r bool) string {
	if r {
		return "true"
	}
	return ""
}

// patch puts a JSON merge patch over v, at the top level: a field that is there replaces the whole of it, and null
// resets it.
func patch[T any](v *T, body []byte) error {
	var present map[string]jsontext.Value
	if err := jsonv2.Unmarshal(body, &present); err != nil {
		f := jsonFault(err)
		return bad(f.Field, f.Code, f.Detail)
	}
	to := reflect.ValueOf(v).Elem()
	for i := range to.NumField() {
		name, _, _ := strings.Cut(to.Type().Field(i).Tag.Get("json"), ",")
		if _, ok := present[name]; ok {
			to.Field(i).SetZero()
		}
	}
	if err := format.Unmarshal(body, v); err != nil {
		f, _ := parseFault(err.Error())
		return bad(f.Field, f.Code, f.Detail)
	}
	return nil
}

// has says whether a JSON object has a field.
func has(body []byte, name string) bool {
	var present map[string]jsontext.Value
	if jsonv2.Unmarshal(body, &present) != nil {
		return false
	}
	_, ok := present[name]
	return ok
}
