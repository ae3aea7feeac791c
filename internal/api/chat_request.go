package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"prelude/commands"
	"prelude/domain"
	"prelude/domain/preset"
	"prelude/domain/receipt"
)

// chatRequest is what of an OpenAI request is read here; all else is passed on as it came.
type chatRequest struct {
	Model               string                    `json:"model"`
	Messages            []jsontext.Value          `json:"messages"`
	Stream              bool                      `json:"stream"`
	StreamOptions       *chatStreamOptions        `json:"stream_options"`
	Temperature         *float64                  `json:"temperature"`
	TopP                *float64                  `json:"top_p"`
	MaxTokens           *int                      `json:"max_tokens"`
	MaxCompletionTokens *int                      `json:"max_completion_tokens"`
	Stop                jsontext.Value            `json:"stop"`
	ResponseFormat      jsontext.Value            `json:"response_format"`
	N                   *int                      `json:"n"`
	Preset              *chatPreset               `json:"preset"`
	Audio               jsontext.Value            `json:"audio"`
	Modalities          []string                  `json:"modalities"`
	Functions           jsontext.Value            `json:"functions"`
	FunctionCall        jsontext.Value            `json:"function_call"`
	Rest                map[string]jsontext.Value `json:",embed"` // what is not read here
}

type chatStreamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

type chatPreset struct {
	Variables preset.Values `json:"variables"`
}

// lenient: clients send new fields monthly.
var lenient = jsonv2.JoinOptions(jsontext.AllowDuplicateNames(true))

func readChat(body []byte) (chatRequest, error) {
	var r chatRequest
	if err := jsonv2.Unmarshal(body, &r, lenient); err != nil {
		f := jsonFault(err)
		if f.Code == malformed {
			return r, problem(400, malformed, f.Detail)
		}
		return r, bad(f.Field, f.Code, f.Detail)
	}
	return r, r.unsupported()
}

func unsupported(field string) error {
	return (&domain.Error{Kind: domain.Invalid, Code: "unsupported_parameter",
		Detail: "This parameter is not supported."}).With(field)
}

func (r chatRequest) unsupported() error {
	switch {
	case r.N != nil && *r.N != 1:
		return unsupported("n")
	case present(r.Audio):
		return unsupported("audio")
	case present(r.Functions):
		return unsupported("functions")
	case present(r.FunctionCall):
		return unsupported("function_call")
	}
	for _, m := range r.Modalities {
		if m != "text" {
			return unsupported("modalities")
		}
	}
	return nil
}

func present(v jsontext.Value) bool { return len(v) > 0 && string(v) != "null" }

// command is the request as the domain knows it.
func (r chatRequest) command() (commands.Complete, error) {
	cmd := commands.Complete{Asked: r.Model}
	if r.Model == "" {
		return cmd, bad("model", "required", "must not be empty")
	}
	if name, ok := strings.CutPrefix(r.Model, presetPrefix); ok {
		n, valid := commands.ParseName(name)
		if !valid {
			return cmd, errModelNotFound
		}
		cmd.Preset = &commands.PresetArg{Name: n}
	}
	if r.Preset != nil {
		cmd.Variables = r.Preset.Variables
	}
	var err error
	if cmd.Messages, err = r.messages(); err != nil {
		return cmd, err
	}
	cmd.Settings, cmd.Extra, err = r.settings()
	return cmd, err
}

func (r chatRequest) messages() ([]receipt.Message, error) {
	messages := make([]receipt.Message, len(r.Messages))
	var f domain.Faults
	for i, raw := range r.Messages {
		field := fmt.Sprintf("messages[%d]", i)
		messages[i] = readMessage(&f, field, raw)
		f.Text(field+".content", messages[i].Content, 8<<20)
	}
	return messages, f.Err()
}

// readMessage reads a message; where it is more than a role and a text, it is kept as it came.
func readMessage(f *domain.Faults, field string, raw jsontext.Value) receipt.Message {
	var fields map[string]jsontext.Value
	if jsonv2.Unmarshal(raw, &fields, lenient) != nil || fields == nil {
		f.Add(field, "type", "must be an object")
		return receipt.Message{}
	}
	var m receipt.Message
	if jsonv2.Unmarshal(fields["role"], &m.Role) != nil || m.Role == "" {
		f.Add(field+".role", "required", "must be a role")
	}
	f.Text(field+".role", m.Role, 32)
	plain := len(fields) == 2 && fields["content"] != nil
	if !plain || jsonv2.Unmarshal(fields["content"], &m.Content) != nil {
		m.Content, m.Raw = "", json.RawMessage(bytes.Clone(raw))
	}
	return m
}

// ours are the names of the fields that are read here.
var ours = fieldNames(reflect.TypeFor[chatRequest]())

func fieldNames(t reflect.Type) map[string]bool {
	names := map[string]bool{}
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name != "" {
			names[name] = true
		}
	}
	return names
}

func plainField(name string) string {
	if !plainName.MatchString(name) {
		return "body"
	}
	return name
}

// settings are the sampling fields; a response format or a stop of a form of its own is passed on.
func (r chatRequest) settings() (receipt.Settings, map[string]json.RawMessage, error) {
	s := receipt.Settings{Temperature: r.Temperature, TopP: r.TopP}
	extra := map[string]json.RawMessage{}
	for name, v := range r.Rest {
		// Some servers read names in any case: such a one would go past what is checked here.
		if ours[strings.ToLower(name)] {
			return s, nil, bad(plainField(name), "case", "must be written in small letters")
		}
		extra[name] = json.RawMessage(v)
	}
	for _, n := range []*int{r.MaxTokens, r.MaxCompletionTokens} {
		if n != nil {
			s.MaxOutputTokens = given(n)
		}
	}
	if present(r.Stop) {
		var one string
		if jsonv2.Unmarshal(r.Stop, &one) == nil {
			s.Stop = []string{one}
		} else if jsonv2.Unmarshal(r.Stop, &s.Stop) != nil {
			return s, nil, bad("stop", "type", "must be a text or a list of texts")
		}
	}
	if present(r.ResponseFormat) {
		var f struct {
			Type string `json:"type"`
		}
		switch err := jsonv2.Unmarshal(r.ResponseFormat, &f); {
		case err != nil:
			return s, nil, bad("response_format", "type", "must be an object")
		case f.Type == "json_object":
			s.ResponseFormat = "json"
		case f.Type != "text":
			extra["response_format"] = json.RawMessage(r.ResponseFormat)
		}
	}
	if len(extra) == 0 {
		extra = nil
	}
	var f domain.Faults
	preset.CheckSettings(&f, "", s)
	return s, extra, f.Err()
}

// lastUser is the text of the last message of the user's, which a session takes.
func (r chatRequest) lastUser() (string, error) {
	messages, err := r.messages()
	if err != nil {
		return "", err
	}
	for i := len(messages) - 1; i >= 0; i-- {
		if messages[i].Role == "user" {
			if messages[i].Raw != nil {
				return "", bad(fmt.Sprintf("messages[%d].content", i), "type", "must be a text in a session")
			}
			return messages[i].Content, nil
		}
	}
	return "", bad("messages", "required", "must hold a message of the user's")
}
