package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"prelude/commands"
	"prelude/domain"
	"prelude/domain/preset"
	"prelude/readmodels"
)

// presetInput is what an editor edits; POST takes scope too.
type presetInput struct {
	Slug         string         `json:"slug,omitempty" example:"support-tone"`
	Name         string         `json:"name,omitempty" maxLength:"200" example:"Support tone"`
	Description  string         `json:"description,omitempty" maxLength:"2000"`
	Tags         []string       `json:"tags,omitempty" maxItems:"20"`
	Language     string         `json:"language,omitempty" example:"en"`
	Instructions string         `json:"instructions,omitempty" doc:"at most 64 KiB; {{name}} is a variable"`
	Variables    []variableBody `json:"variables,omitempty" maxItems:"64"`
	Model        string         `json:"model,omitempty" example:"demo"`
	Settings     settingsInput  `json:"settings,omitempty"`
	Context      contextBody    `json:"context,omitempty"`
	Locked       bool           `json:"locked,omitempty"`
}

type variableBody struct {
	Name        string          `json:"name" example:"product"`
	Type        string          `json:"type" enum:"string,number,boolean"`
	Required    bool            `json:"required,omitempty"`
	Default     json.RawMessage `json:"default,omitempty"`
	Description *string         `json:"description,omitempty"`
}

type settingsInput struct {
	Temperature     *float64 `json:"temperature,omitempty" minimum:"0" maximum:"2"`
	TopP            *float64 `json:"top_p,omitempty" minimum:"0" maximum:"1"`
	MaxOutputTokens *int     `json:"max_output_tokens,omitempty" minimum:"1" maximum:"1000000"`
	Stop            []string `json:"stop,omitempty" maxItems:"4"`
	ResponseFormat  string   `json:"response_format,omitempty" enum:"text,json"`
}

type contextBody struct {
	Strategy      string `json:"strategy,omitempty" enum:"truncate_oldest,refuse"`
	ReserveOutput *int   `json:"reserve_output_tokens,omitempty" minimum:"1"`
}

// draft is the input as the domain knows it, with defaults for what is not there.
func (in presetInput) draft() preset.Draft {
	d := preset.Draft{
		Name: in.Name, Description: in.Description, Instructions: in.Instructions, Tags: in.Tags,
		Language: in.Language, Model: in.Model, Locked: in.Locked, Settings: in.Settings.settings(),
		Context: preset.Context{Strategy: in.Context.Strategy, ReserveOutput: given(in.Context.ReserveOutput)},
	}
	if d.Context.Strategy == "" {
		d.Context.Strategy = preset.TruncateOldest
	}
	for _, v := range in.Variables {
		one := preset.Variable{Name: v.Name, Type: v.Type, Required: v.Required}
		if string(v.Default) != "null" {
			one.Default = v.Default
		}
		if v.Description != nil {
			one.Description = *v.Description
		}
		d.Variables = append(d.Variables, one)
	}
	return d
}

// given keeps a number that was sent apart from one that was not: 0 was sent, and is out of range.
func given(n *int) int {
	switch {
	case n == nil:
		return 0
	case *n == 0:
		return -1
	}
	return *n
}

func (in settingsInput) settings() preset.Settings {
	format := in.ResponseFormat
	if format == "text" {
		format = ""
	}
	return preset.Settings{Temperature: in.Temperature, TopP: in.TopP,
		MaxOutputTokens: given(in.MaxOutputTokens), Stop: in.Stop, ResponseFormat: format}
}

// inputOf is a preset as its editor would send it.
func inputOf(slug string, d preset.Draft) presetInput {
	in := presetInput{Slug: slug, Name: d.Name, Description: d.Description, Tags: d.Tags,
		Language: d.Language, Instructions: d.Instructions, Model: d.Model, Locked: d.Locked,
		Settings: settingsInput{d.Settings.Temperature, d.Settings.TopP, number(d.Settings.MaxOutputTokens),
			d.Settings.Stop, d.Settings.ResponseFormat},
		Context: contextBody{d.Context.Strategy, number(d.Context.ReserveOutput)}}
	for _, v := range d.Variables {
		in.Variables = append(in.Variables, variableBody{Name: v.Name, Type: v.Type, Required: v.Required,
			Default: v.Default, Description: text(v.Description)})
	}
	return in
}

type createPresetIn struct {
	Command
	IfNoneMatch string `header:"If-None-Match" doc:"*: refuse a name that is taken, as is done anyway"`
	Body        struct {
		presetInput
		Scope string  `json:"scope,omitempty" enum:"user,org" doc:"the default is user"`
		Team  *string `json:"team,omitempty" doc:"null: there are no teams yet"`
	}
	RawBody []byte
}

func (s *Server) createPreset(ctx context.Context, in *createPresetIn) (*created[presetBody], error) {
	if in.Body.Team != nil {
		return nil, bad("team", "unknown_team", "must be null: there are no teams")
	}
	scope := preset.Scope(in.Body.Scope)
	if scope == "" {
		scope = preset.UserScope
	}
	left, err := s.Presets.Create(ctx, commands.CreatePreset{Scope: scope, Slug: in.Body.Slug,
		Draft: in.Body.draft()}, in.meta(in.RawBody))
	if err != nil {
		return nil, err
	}
	out := s.presetLeft(in.Who, left)
	return &created[presetBody]{Answered: out.Answered, Body: out.Body,
		Location: "/v1/presets/" + string(left.State.ID)}, nil
}

type presetIn struct {
	Query
	AsOfQuery
	ID string `path:"id" doc:"a prs_… id, or a name" example:"support-tone"`
}

func (s *Server) getPreset(ctx context.Context, in *presetIn) (*resource[presetBody], error) {
	stale, err := s.wait(ctx, in.Query, viewsReader)
	if err != nil {
		return nil, err
	}
	id, err := s.Presets.ResolvePreset(ctx, in.Who, in.ID)
	if err != nil {
		return nil, err
	}
	as, err := s.asOf(in.AsOfQuery)
	if err != nil {
		return nil, err
	}
	var p readmodels.Preset
	if as == nil {
		p, err = s.Read.Preset(ctx, in.Who, id)
	} else {
		p, err = s.Read.PresetAsOf(ctx, in.Who, id, *as)
	}
	if err != nil {
		return nil, err
	}
	body := presetOf(p.Preset)
	body.AsOf, body.Stale = s.asOfBody(p.AsOf), stale
	out := &resource[presetBody]{Body: body}
	if as == nil {
		out.ETag = quoted(p.ETag())
	}
	return out, nil
}

type listPresetsIn struct {
	Query
	Paging
	Scope    string `query:"scope" enum:"user,org"`
	Team     string `query:"team"`
	Owner    string `query:"owner"`
	Tag      string `query:"tag"`
	Language string `query:"language"`
	Status   string `query:"status" enum:"draft,published"`
	Label    string `query:"label"`
	Origin   string `query:"origin"`
}

func (s *Server) listPresets(ctx context.Context, in *listPresetsIn) (*listed[presetBody], error) {
	stale, err := s.wait(ctx, in.Query, viewsReader)
	if err != nil {
		return nil, err
	}
	if in.Team != "" || in.Origin != "" {
		return page([]presetBody{}, false, "", stale), nil // no preset has one yet
	}
	l, err := s.Read.Presets(ctx, in.Who, readmodels.PresetFilter{Scope: in.Scope, Owner: in.Owner,
		Tag: in.Tag, Language: in.Language, Status: in.Status, Label: in.Label}, in.page(false))
	if err != nil {
		return nil, err
	}
	bodies := make([]presetBody, len(l.Data))
	for i, p := range l.Data {
		bodies[i] = presetOf(p)
		bodies[i].Draft = nil
	}
	return page(bodies, l.HasMore, l.Next, stale), nil
}

type editPresetIn struct {
	Command
	ID      string      `path:"id"`
	Body    presetInput `contentType:"application/merge-patch+json"`
	RawBody []byte
}

// editPreset puts what was sent over what there is, at the top level; null resets to the default.
func (s *Server) editPreset(ctx context.Context, in *editPresetIn) (*resource[presetBody], error) {
	if in.IfMatch == "" {
		return nil, errNoIfMatch
	}
	id, err := s.Presets.ResolvePreset(ctx, in.Who, in.ID)
	if err != nil {
		return nil, err
	}
	left, err := s.Presets.Edit(ctx, commands.EditPreset{Preset: id,
		Change: func(slug string, d preset.Draft) (string, preset.Draft, error) {
			now := inputOf(slug, d)
			if err := patch(&now, in.RawBody); err != nil {
				return "", d, err
			}
			return now.Slug, now.draft(), nil
		}}, in.meta(in.RawBody))
	if err != nil {
		return nil, err
	}
	return s.presetLeft(in.Who, left), nil
}

var errNoIfMatch = &domain.Error{Kind: domain.Required, Code: "precondition_required",
	Detail: "Send the ETag that you read in If-Match.", Fields: []domain.Field{
		{Name: "header.If-Match", Code: "required", Detail: "is needed"}}}

type publishIn struct {
	Command
	ID   string       `path:"id"`
	Body *publishBody // none: a version without a note
}

type publishBody struct {
	Note        string   `json:"note,omitempty"`
	Labels      []string `json:"labels,omitempty" example:"[\"production\"]"`
	ContentHash string   `json:"content_hash,omitempty" doc:"what the draft must be"`
}

const publishedKind = "preset.published"

// published answers with a version: 201 where it is new, 200 where the draft was one already.
type published struct {
	Status int
	Answered
	Location string `header:"Location"`
	Body     versionBody
}

func (s *Server) publishPreset(ctx context.Context, in *publishIn) (*published, error) {
	id, err := s.Presets.ResolvePreset(ctx, in.Who, in.ID)
	if err != nil {
		return nil, err
	}
	if in.Body == nil {
		in.Body = &publishBody{}
	}
	body, err := json.Marshal(in.Body)
	if err != nil {
		return nil, err
	}
	left, err := s.Presets.Publish(ctx, commands.PublishPreset{Preset: id, Note: in.Body.Note,
		Labels: in.Body.Labels, Hash: domain.Hash(in.Body.ContentHash)}, in.meta(body))
	if err != nil {
		return nil, err
	}
	p := left.State
	out := &published{Status: http.StatusOK, Answered: s.presetLeft(in.Who, left).Answered,
		Body: versionOf(readmodels.VersionOf(p, p.Version()))}
	if left.Began == publishedKind {
		out.Status = http.StatusCreated
		out.Location = "/v1/presets/" + string(p.ID) + "/versions/" + strconv.Itoa(p.Version())
	}
	return out, nil
}

type presetCommandIn struct {
	Command
	ID string `path:"id"`
}

func (s *Server) deletePreset(ctx context.Context, in *presetCommandIn) (*resource[presetBody], error) {
	return s.onPreset(ctx, in, s.Presets.Delete)
}

func (s *Server) restorePreset(ctx context.Context, in *presetCommandIn) (*resource[presetBody], error) {
	return s.onPreset(ctx, in, s.Presets.Restore)
}

func (s *Server) onPreset(ctx context.Context, in *presetCommandIn,
	do func(context.Context, domain.PresetID, commands.Meta) (commands.Preset, error),
) (*resource[presetBody], error) {
	id, err := s.Presets.ResolvePreset(ctx, in.Who, in.ID)
	if err != nil {
		return nil, err
	}
	left, err := do(ctx, id, in.meta(nil))
	if err != nil {
		return nil, err
	}
	return s.presetLeft(in.Who, left), nil
}

// presetLeft answers with what a command left.
func (s *Server) presetLeft(who domain.Principal, left commands.Preset) *resource[presetBody] {
	out := &resource[presetBody]{Body: presetOf(left.State)}
	out.ETag = quoted(left.State.ETag())
	out.Position, out.Replayed = s.noted(who, left.Position), replayed(left.Replayed)
	return out
}

type renderIn struct {
	Caller
	ID   string      `path:"id"`
	Body *valuesBody // none: no values, of the draft
}

type valuesBody struct {
	Variables preset.Values `json:"variables,omitempty" example:"{\"product\":\"Prelude\"}"`
	Selector  string        `json:"selector,omitempty" doc:"v<number>, a label, or draft; the default is draft"`
}

type renderBody struct {
	Text      string `json:"text"`
	Tokens    int    `json:"tokens"`
	Tokenizer string `json:"tokenizer"`
	Version   *int   `json:"version" doc:"null: the draft"`
}

func (s *Server) renderPreset(ctx context.Context, in *renderIn) (*bodyOnly[renderBody], error) {
	id, err := s.Presets.ResolvePreset(ctx, in.Who, in.ID)
	if err != nil {
		return nil, err
	}
	if in.Body == nil {
		in.Body = &valuesBody{}
	}
	r, err := s.Presets.Render(ctx, in.Who, id, in.Body.Selector, in.Body.Variables)
	if err != nil {
		return nil, err
	}
	return &bodyOnly[renderBody]{Body: renderBody{Text: r.Text, Tokens: r.Tokens, Tokenizer: r.Tokenizer,
		Version: number(r.Version)}}, nil
}
