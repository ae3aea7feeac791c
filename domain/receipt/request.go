// Package receipt is what a model sees and the proof of it: the request, how it is assembled within
// the model's window, and the manifest that names each part with its length and its HMAC.
package receipt

import "encoding/json"

// Request is what is sent to a model, before the provider's own form. Its canonical JSON is the
// format receipt/1: the fields in this order, no white space, absent ones left out.
type Request struct {
	Model    string    `json:"model"`
	Messages []Message `json:"messages"`
	Settings Settings  `json:"settings"`
	// Extra is what an OpenAI client sent besides; it is passed on as it is.
	Extra map[string]json.RawMessage `json:"extra,omitempty"`
}

// Message is one message of a request.
type Message struct {
	Role    string `json:"role"` // system, user, assistant; developer and tool from OpenAI clients
	Content string `json:"content"`
	// Raw is the whole message as an OpenAI client sent it, where it is more than a text.
	Raw json.RawMessage `json:"raw,omitempty"`
}

// Settings are the sampling parameters. Nil and zero mean the model's own default.
type Settings struct {
	Temperature     *float64 `json:"temperature,omitempty"`       // 0–2
	TopP            *float64 `json:"top_p,omitempty"`             // 0–1
	MaxOutputTokens int      `json:"max_output_tokens,omitempty"` // tokens
	Stop            []string `json:"stop,omitempty"`
	ResponseFormat  string   `json:"response_format,omitempty"` // text or json
}

// Usage counts a reply's tokens, as the provider says, else as estimated.
type Usage struct {
	InputTokens  int `json:"input_tokens"`
	OutputTokens int `json:"output_tokens"`
	// Details are the provider's other numbers, as it gave them: a JSON object; absent: it gave none.
	Details json.RawMessage `json:"details,omitempty"`
}
