package preset

import (
	"encoding/json"
	"time"

	"prelude/domain"
)

// Event is something that happened to one preset.
//
//sumtype:decl
type Event interface{ presetEvent() }

// Created made the preset with its first draft.
type Created struct {
	Preset  domain.PresetID `json:"preset"`
	Org     domain.OrgID    `json:"org"`
	Scope   Scope           `json:"scope"`
	Owner   domain.UserID   `json:"owner"`
	Slug    string          `json:"slug"`
	Content Content         `json:"content"`
	Hash    domain.Hash     `json:"hash"`
	At      time.Time       `json:"at"`
}

// Edited replaced the draft. Fields names what differs from the draft before.
type Edited struct {
	Fields  []string      `json:"fields"`
	Content Content       `json:"content"`
	Hash    domain.Hash   `json:"hash"`
	By      domain.UserID `json:"by"`
	At      time.Time     `json:"at"`
}

// Renamed gave the preset another slug.
type Renamed struct {
	From string        `json:"from"`
	To   string        `json:"to"`
	By   domain.UserID `json:"by"`
	At   time.Time     `json:"at"`
}

// Published made the draft an immutable version.
type Published struct {
	Version int           `json:"version"`
	Hash    domain.Hash   `json:"hash"`
	Note    domain.Secret `json:"note"`
	By      domain.UserID `json:"by"`
	At      time.Time     `json:"at"`
}

// Labeled pointed a label at a version.
type Labeled struct {
	Label   string        `json:"label"`
	Version int           `json:"version"`
	From    int           `json:"from,omitempty"` // the version it pointed at before; 0: none
	Note    domain.Secret `json:"note"`
	By      domain.UserID `json:"by"`
	At      time.Time     `json:"at"`
}

// Unlabeled took a label away.
type Unlabeled struct {
	Label string        `json:"label"`
	From  int           `json:"from"`
	By    domain.UserID `json:"by"`
	At    time.Time     `json:"at"`
}

// Deleted took the preset out of use; it can be restored.
type Deleted struct {
	By domain.UserID `json:"by"`
	At time.Time     `json:"at"`
}

// Restored undid a deletion.
type Restored struct {
	By domain.UserID `json:"by"`
	At time.Time     `json:"at"`
}

func (Created) presetEvent()   {}
func (Edited) presetEvent()    {}
func (Renamed) presetEvent()   {}
func (Published) presetEvent() {}
func (Labeled) presetEvent()   {}
func (Unlabeled) presetEvent() {}
func (Deleted) presetEvent()   {}
func (Restored) presetEvent()  {}

// Content is a draft as events keep it: what people wrote is sealed under the org's key.
type Content struct {
	Name         domain.Secret `json:"name"`
	Description  domain.Secret `json:"description"`
	Instructions domain.Secret `json:"instructions"`
	Variables    []Declared    `json:"variables"`
	Tags         domain.Secret `json:"tags"` // a JSON list
	Language     string        `json:"language,omitempty"`
	Model        string        `json:"model"`
	Settings     Settings      `json:"settings"` // but for the stops
	Stop         domain.Secret `json:"stop"`     // a JSON list
	Context      Context       `json:"context"`
	Locked       bool          `json:"locked"`
}

// Declared is a variable as events keep it.
type Declared struct {
	Name        string        `json:"name"`
	Type        string        `json:"type"`
	Required    bool          `json:"required"`
	Default     domain.Secret `json:"default"` // JSON
	Description domain.Secret `json:"description"`
}

func (d Draft) content(org domain.OrgID) Content {
	d = d.plain()
	key := domain.OrgKey(org)
	c := Content{
		Name: domain.Seal(key, d.Name), Description: domain.Seal(key, d.Description),
		Instructions: domain.Seal(key, d.Instructions), Language: d.Language,
		Tags: list(key, d.Tags), Stop: list(key, d.Settings.Stop),
		Model: d.Model, Settings: d.Settings, Context: d.Context, Locked: d.Locked,
	}
	c.Settings.Stop = nil
	for _, v := range d.Variables {
		c.Variables = append(c.Variables, Declared{
			Name: v.Name, Type: v.Type, Required: v.Required,
			Default:     domain.Seal(key, string(v.Default)),
			Description: domain.Seal(key, v.Description),
		})
	}
	return c
}

// list is a list of texts to be kept under key; none where it is empty.
func list(key domain.KeyID, texts []string) domain.Secret {
	if len(texts) == 0 {
		return domain.Secret{}
	}
	return domain.SealJSON(key, texts)
}

// listed reads what list wrote; nothing where it was erased.
func listed(s domain.Secret) (texts []string) {
	if json.Unmarshal([]byte(s.Text), &texts) != nil {
		return nil
	}
	return texts
}

func (c Content) draft() Draft {
	d := Draft{
		Name: c.Name.Text, Description: c.Description.Text, Instructions: c.Instructions.Text,
		Tags: listed(c.Tags), Language: c.Language, Model: c.Model, Settings: c.Settings,
		Context: c.Context, Locked: c.Locked,
	}
	d.Settings.Stop = listed(c.Stop)
	for _, v := range c.Variables {
		d.Variables = append(d.Variables, Variable{
			Name: v.Name, Type: v.Type, Required: v.Required,
			Default: []byte(v.Default.Text), Description: v.Description.Text,
		})
	}
	return d
}
