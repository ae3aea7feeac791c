package api

import (
	"encoding/json"

	"prelude/domain/preset"
)

// presetBody is a preset as it is answered.
type presetBody struct {
	ID          string         `json:"id"`
	Slug        string         `json:"slug"`
	Name        string         `json:"name"`
	Description string         `json:"description"`
	Scope       string         `json:"scope"`
	Team        *string        `json:"team"`
	Owner       string         `json:"owner"`
	Draft       *draftBody     `json:"draft,omitempty"`
	ContentHash string         `json:"content_hash"`
	Tags        []string       `json:"tags"`
	Language    *string        `json:"language"`
	Status      string         `json:"status"`
	Version     *int           `json:"version"`
	Labels      map[string]int `json:"labels"`
	Origin      *string        `json:"origin"`
	CreatedBy   string         `json:"created_by"`
	CreatedAt   Time           `json:"created_at"`
	UpdatedBy   string         `json:"updated_by"`
	UpdatedAt   Time           `json:"updated_at"`
	DeletedAt   *Time          `json:"deleted_at"`
	AsOf        *asOfBody      `json:"as_of,omitempty"`
	Stale       bool           `json:"stale,omitempty"`
}

type draftBody struct {
	Instructions string         `json:"instructions"`
	Variables    []declaredBody `json:"variables"`
	Model        string         `json:"model"`
	Settings     settingsBody   `json:"settings"`
	Context      windowBody     `json:"context"`
	Locked       bool           `json:"locked"`
}

type declaredBody struct {
	Name        string          `json:"name"`
	Type        string          `json:"type"`
	Required    bool            `json:"required"`
	Default     json.RawMessage `json:"default"`
	Description *string         `json:"description"`
}

type windowBody struct {
	Strategy      string `json:"strategy"`
	ReserveOutput *int   `json:"reserve_output_tokens"`
}

type settingsBody struct {
	Temperature     *float64 `json:"temperature"`
	TopP            *float64 `json:"top_p"`
	MaxOutputTokens *int     `json:"max_output_tokens"`
	Stop            []string `json:"stop"`
	ResponseFormat  string   `json:"response_format"`
}

func presetOf(p preset.Preset) presetBody {
	draft := draftOf(p.Draft)
	return presetBody{
		ID: string(p.ID), Slug: p.Slug, Name: p.Draft.Name, Description: p.Draft.Description,
		Scope: string(p.Scope), Owner: string(p.Owner), Draft: &draft, ContentHash: string(p.DraftHash),
		Tags: some(p.Draft.Tags), Language: text(p.Draft.Language), Status: p.Status(),
		Version: number(p.Version()), Labels: p.AllLabels(), CreatedBy: string(p.Owner),
		CreatedAt: Time{p.CreatedAt}, UpdatedBy: string(p.UpdatedBy), UpdatedAt: Time{p.UpdatedAt},
		DeletedAt: timeOf(p.DeletedAt),
	}
}

func draftOf(d preset.Draft) draftBody {
	b := draftBody{Instructions: d.Instructions, Variables: []declaredBody{}, Model: d.Model,
		Settings: settingsOf(d.Settings), Locked: d.Locked,
		Context: windowBody{d.Context.Strategy, number(d.Context.ReserveOutput)}}
	for _, v := range d.Variables {
		one := declaredBody{Name: v.Name, Type: v.Type, Required: v.Required, Default: v.Default,
			Description: text(v.Description)}
		if len(one.Default) == 0 {
			one.Default = []byte("null")
		}
		b.Variables = append(b.Variables, one)
	}
	return b
}

func settingsOf(s preset.Settings) settingsBody {
	b := settingsBody{Temperature: s.Temperature, TopP: s.TopP, MaxOutputTokens: number(s.MaxOutputTokens),
		Stop: some(s.Stop), ResponseFormat: s.ResponseFormat}
	if b.ResponseFormat == "" {
		b.ResponseFormat = "text"
	}
	return b
}

// some is a list that is [] rather than null.
func some[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// text is null where there is none.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// number is null where there is none.
func number(n int) *int {
	if n == 0 {
		return nil
	}
	return &n
}
