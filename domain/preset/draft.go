package preset

import (
	"encoding/json"
	"fmt"
	"slices"

	"prelude/domain"
	"prelude/domain/receipt"
)

// Scope says whose a preset is.
type Scope string

// The scopes.
const (
	UserScope Scope = "user" // its owner's alone
	OrgScope  Scope = "org"  // the whole org's
)

// Context says how a session's messages are fitted into the model's window.
type Context struct {
	Strategy      string `json:"strategy"` // truncate_oldest or refuse
	ReserveOutput int    `json:"reserve_output_tokens,omitempty"`
}

// The strategies.
const (
	TruncateOldest = "truncate_oldest"
	Refuse         = "refuse"
)

// Settings are the sampling parameters of a preset; their meanings are those of a request.
type Settings = receipt.Settings

// Variable is a value that the instructions leave open.
type Variable struct {
	Name        string          `json:"name"`
	Type        string          `json:"type"` // string, number, boolean
	Required    bool            `json:"required"`
	Default     json.RawMessage `json:"default,omitempty"`
	Description string          `json:"description,omitempty"`
}

// Draft is what an editor edits, but for the slug.
type Draft struct {
	Name         string     `json:"name"`
	Description  string     `json:"description"`
	Instructions string     `json:"instructions"`
	Variables    []Variable `json:"variables"`
	Tags         []string   `json:"tags"`
	Language     string     `json:"language"`
	Model        string     `json:"model"`
	Settings     Settings   `json:"settings"`
	Context      Context    `json:"context"`
	Locked       bool       `json:"locked"`
}

// plain is d in the one form that equal drafts have: a list without elements is nil.
func (d Draft) plain() Draft {
	if len(d.Variables) == 0 {
		d.Variables = nil
	}
	if len(d.Tags) == 0 {
		d.Tags = nil
	}
	if len(d.Settings.Stop) == 0 {
		d.Settings.Stop = nil
	}
	return d
}

// Hash is the content hash: of all that changes what the model is told or how it is asked.
func (d Draft) Hash() domain.Hash {
	d = d.plain()
	return domain.HashOf(struct {
		Instructions string     `json:"instructions"`
		Variables    []Variable `json:"variables"`
		Model        string     `json:"model"`
		Settings     Settings   `json:"settings"`
		Context      Context    `json:"context"`
		Locked       bool       `json:"locked"`
	}{d.Instructions, d.Variables, d.Model, d.Settings, d.Context, d.Locked})
}

// ReserveOutput is how many tokens of the window are kept for the reply: what is asked for, else
// the most that a reply may have, else 1,024.
func (d Draft) ReserveOutput() int {
	switch {
	case d.Context.ReserveOutput > 0:
		return d.Context.ReserveOutput
	case d.Settings.MaxOutputTokens > 0:
		return d.Settings.MaxOutputTokens
	}
	return 1024
}

// differs names the fields in which d is not o.
func (d Draft) differs(o Draft) []string {
	d, o = d.plain(), o.plain()
	var fields []string
	add := func(name string, same bool) {
		if !same {
			fields = append(fields, name)
		}
	}
	add("name", d.Name == o.Name)
	add("description", d.Description == o.Description)
	add("instructions", d.Instructions == o.Instructions)
	add("variables", domain.HashOf(d.Variables) == domain.HashOf(o.Variables))
	add("tags", slices.Equal(d.Tags, o.Tags))
	add("language", d.Language == o.Language)
	add("model", d.Model == o.Model)
	add("settings", domain.HashOf(d.Settings) == domain.HashOf(o.Settings))
	add("context", d.Context == o.Context)
	add("locked", d.Locked == o.Locked)
	return fields
}

// ErrWindow is the fault of a preset that does not fit its model's window even without a message.
const ErrWindow = "window"

// Check tells all faults of the draft. Window is that of its model in tokens; 0: there is no such
// model. The limits are those of the HTTP contract.
func (d Draft) Check(window int) error {
	var f domain.Faults
	d.check(&f, window)
	return f.Err()
}

func (d Draft) check(f *domain.Faults, window int) {
	d.checkTexts(f)
	d.checkVariables(f)
	d.checkSettings(f)
	switch {
	case d.Model == "":
		f.Add("model", "required", "must not be empty")
	case window == 0:
		f.Add("model", "unknown_model", "no route has this name")
	default:
		d.checkWindow(f, window)
	}
}

func (d Draft) checkWindow(f *domain.Faults, window int) {
	need := receipt.Tokens(len(d.Instructions)) + d.ReserveOutput() + receipt.Margin(window)
	if need > window {
		f.Add("instructions", ErrWindow, fmt.Sprintf(
			"do not fit the model's window of %d tokens: %d for the instructions, %d reserved for the "+
				"reply, %d margin", window, receipt.Tokens(len(d.Instructions)), d.ReserveOutput(),
			receipt.Margin(window)))
	}
}
