package llm

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"prelude/domain/receipt"
)

// encode returns the body of the request in OpenAI's form. What was resolved here wins over what a
// client sent besides; of the rest, each value is sent as it came.
//
// A limit is max_completion_tokens for OpenAI itself (newer), whose reasoning models refuse the
// older name, and max_tokens for all others, of whom every one knows it and several ignore or
// refuse the newer.
func encode(model string, req receipt.Request, newer bool) []byte {
	b := append(make([]byte, 0, sizeOf(req)), `{"model":`...)
	b = quote(b, model)
	b = append(b, `,"messages":[`...)
	for i, m := range req.Messages {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendMessage(b, m)
	}
	b = append(b, ']')
	members := settings(req.Settings, newer)
	members["stream"] = json.RawMessage("true")
	members["stream_options"] = streamOptions(req.Extra["stream_options"])
	for name, value := range req.Extra {
		if _, ours := members[name]; !ours && free(name, req.Settings) && len(value) > 0 {
			members[name] = value
		}
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		b = append(quote(append(b, ','), name), ':')
		b = append(b, members[name]...)
	}
	return append(b, '}')
}

func appendMessage(b []byte, m receipt.Message) []byte {
	if len(m.Raw) > 0 {
		return append(b, m.Raw...)
	}
	b = quote(append(b, `{"role":`...), m.Role)
	b = quote(append(b, `,"content":`...), m.Content)
	return append(b, '}')
}

// settings returns those that are not the model's default.
func settings(s receipt.Settings, newer bool) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	if s.Temperature != nil {
		out["temperature"] = value(*s.Temperature)
	}
	if s.TopP != nil {
		out["top_p"] = value(*s.TopP)
	}
	if s.MaxOutputTokens > 0 && newer {
		out["max_completion_tokens"] = value(s.MaxOutputTokens)
	} else if s.MaxOutputTokens > 0 {
		out["max_tokens"] = value(s.MaxOutputTokens)
	}
	if len(s.Stop) > 0 {
		out["stop"] = value(s.Stop)
	}
	if s.ResponseFormat == "json" {
		out["response_format"] = json.RawMessage(`{"type":"json_object"}`)
	}
	return out
}

// free reports whether a client's own member may stand beside the settings: a limit of ours is not
// to be got around under its other name, nor is what makes the request a request.
func free(name string, s receipt.Settings) bool {
	switch name {
	case "model", "messages":
		return false
	case "max_tokens", "max_completion_tokens":
		return s.MaxOutputTokens == 0
	}
	return true
}

// streamOptions are the client's own, and that the usage is told: costs depend on it.
func streamOptions(own json.RawMessage) json.RawMessage {
	options := map[string]json.RawMessage{}
	if json.Unmarshal(own, &options) != nil || options == nil {
		options = map[string]json.RawMessage{}
	}
	options["include_usage"] = json.RawMessage("true")
	return value(options)
}

// value returns v as JSON. The types it is called with have no way to fail but a number that is no
// number; the model's default does for that.
func value(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		return json.RawMessage("null")
	}
	return b
}

// quote appends s as a JSON string. Bytes that are not UTF-8 become U+FFFD, which is no reason to
// fail.
func quote(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s)
	return b
}

func sizeOf(req receipt.Request) int {
	n := 512
	for _, m := range req.Messages {
		n += 64 + len(m.Content) + len(m.Content)/16 + len(m.Raw)
	}
	return n
}
