package receipt

import (
	"encoding/json"

	"prelude/domain"
)

// Format names how a request becomes the bytes that are proven.
const Format = "receipt/1"

// Renderer is the version of the code that makes a request from its sources.
const Renderer = 1

// The kinds of sources.
const (
	FromPreset  = "preset"
	FromMessage = "message"
	FromReply   = "reply"
	FromLiteral = "literal"
)

// Source says where a part's text is kept.
type Source struct {
	Kind    string `json:"kind"`
	ID      string `json:"id,omitempty"`
	Version int    `json:"version,omitempty"`
}

// Part is one message of a request, by reference. MAC is the HMAC of its text under the key that
// the text is kept under.
type Part struct {
	Role   string `json:"role"`
	Source Source `json:"source"`
	Length int    `json:"length_bytes"`
	Tokens int    `json:"tokens"`
	MAC    []byte `json:"hmac"`
}

// Window says how the model's window was divided, in tokens.
type Window struct {
	Tokens   int `json:"tokens"`
	Reserved int `json:"reserved_output"`
	Margin   int `json:"margin"`
	Used     int `json:"used"`
}

// LeftOut is a message that was not sent. With the reason window it stands for all before it too.
type LeftOut struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

// Parameters are how a model was asked besides the messages. People wrote them, or programs for people.
type Parameters struct {
	Settings Settings                   `json:"settings"`
	Extra    map[string]json.RawMessage `json:"extra,omitempty"` // passed on as an OpenAI client sent it
}

// Asked reads the parameters of a manifest that was opened; false: they were erased.
func (m Manifest) Asked() (p Parameters, ok bool) {
	return p, json.Unmarshal([]byte(m.Parameters.Text), &p) == nil
}

// Manifest says of what a request was made. MAC is the HMAC of the request's canonical bytes under
// the session's key.
type Manifest struct {
	Format     string        `json:"format"`
	Renderer   int           `json:"renderer"`
	Tokenizer  string        `json:"tokenizer"`
	Model      string        `json:"model"`
	Target     string        `json:"target"`
	Parameters domain.Secret `json:"parameters"` // the JSON of Parameters, under the key of the whole
	Window     Window        `json:"window"`
	Parts      []Part        `json:"parts"`
	LeftOut    []LeftOut     `json:"left_out"`
	MAC        []byte        `json:"hmac"`
}
