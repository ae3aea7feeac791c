package api

import (
	"context"
	"encoding/json"

	"prelude/commands"
	"prelude/domain"
	"prelude/domain/preset"
	"prelude/domain/session"
	"prelude/readmodels"

	"github.com/danielgtaylor/huma/v2"
)

// presetRefIn is a preset as a body names it: a name with a selector, or an id with a version or a label.
type presetRefIn struct {
	Name    string
	ID      string `json:"id"`
	Version *int   `json:"version"`
	Label   string `json:"label"`
}

// UnmarshalJSON reads either form.
func (p *presetRefIn) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &p.Name)
	}
	type object struct {
		ID      string `json:"id"`
		Version *int   `json:"version"`
		Label   string `json:"label"`
	}
	var o object
	if err := format.Unmarshal(b, &o); err != nil {
		return err
	}
	p.ID, p.Version, p.Label = o.ID, o.Version, o.Label
	return nil
}

// Schema tells of both forms.
func (presetRefIn) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{
		{Type: "string", Description: "a name: [~/]slug[@v<number>|@<label>]"},
		{Type: "object", Required: []string{"id"}, AdditionalProperties: false,
			Properties: map[string]*huma.Schema{"id": {Type: "string"}, "version": {Type: "integer"},
				"label": {Type: "string"}}},
		{Type: "null"},
	}}
}

// arg is the preset that is named; nil: none is.
func (p *presetRefIn) arg() (*commands.PresetArg, error) {
	switch {
	case p == nil:
		return nil, nil //nolint:nilnil // naming none is an answer
	case p.ID == "" && p.Name == "":
		return nil, bad("preset", "required", "must be a name, or an object with an id")
	case p.ID != "" && p.Version != nil && p.Label != "":
		return nil, bad("preset", "exclusive", "takes a version or a label, not both")
	case p.ID != "" && !domain.ValidID(domain.PresetPrefix, p.ID):
		return nil, commands.ErrUnknownPreset.With("preset")
	case p.ID != "":
		a := &commands.PresetArg{ID: domain.PresetID(p.ID), Selector: p.Label}
		if p.Version != nil {
			a.Selector = commands.LabelETag(*p.Version)
		}
		return a, nil
	}
	if domain.ValidID(domain.PresetPrefix, p.Name) {
		return &commands.PresetArg{ID: domain.PresetID(p.Name)}, nil
	}
	n, ok := commands.ParseName(p.Name)
	if !ok {
		return nil, commands.ErrUnknownPreset.With("preset")
	}
	return &commands.PresetArg{Name: n}, nil
}

// sessionBody is a session as it is answered.
type sessionBody struct {
	ID            string        `json:"id"`
	Title         *string       `json:"title"`
	Preset        *presetRef    `json:"preset"`
	Variables     preset.Values `json:"variables"`
	Model         *string       `json:"model"`
	Owner         string        `json:"owner"`
	Status        string        `json:"status"`
	Messages      int           `json:"messages"`
	ReplyUnderWay *string       `json:"reply_under_way"`
	CreatedAt     Time          `json:"created_at"`
	UpdatedAt     Time          `json:"updated_at"`
	DeletedAt     *Time         `json:"deleted_at"`
	Withheld      string        `json:"withheld,omitempty"`
	AsOf          *asOfBody     `json:"as_of,omitempty"`
	Stale         bool          `json:"stale,omitempty"`
}

type presetRef struct {
	ID       string  `json:"id"`
	Name     string  `json:"name"`
	Selector *string `json:"selector"`
	Version  int     `json:"version"`
}

// sessionOf answers with a session whose secrets are open.
func sessionOf(s session.Session) sessionBody {
	b := sessionBody{ID: string(s.ID), Title: text(s.Title.Text), Variables: preset.Values{},
		Model: text(s.Model), Owner: string(s.Owner), Status: s.Status(), Messages: s.Messages,
		CreatedAt: Time{s.CreatedAt}, UpdatedAt: Time{s.UpdatedAt}, DeletedAt: timeOf(s.DeletedAt)}
	if s.Preset != nil {
		b.Preset = &presetRef{string(s.Preset.ID), s.Preset.Name, text(s.Preset.Selector), s.Preset.Version}
	}
	if s.UnderWay != nil {
		b.ReplyUnderWay = text(string(s.UnderWay.Reply))
	}
	if s.Title.Gone || s.Variables.Gone || s.ExpiredAt != nil {
		b.Withheld = erased
	}
	if s.Variables.Gone {
		b.Variables = nil
	}
	if s.Variables.Text != "" && json.Unmarshal([]byte(s.Variables.Text), &b.Variables) != nil {
		b.Variables = preset.Values{}
	}
	return b
}

type targetIn struct {
	Preset    *presetRefIn  `json:"preset,omitempty"`
	Variables preset.Values `json:"variables,omitempty"`
	Model     string        `json:"model,omitempty"`
}

type startSessionIn struct {
	Command
	Body struct {
		targetIn
		Title   string   `json:"title,omitempty" maxLength:"200"`
		Members []string `json:"members,omitempty" doc:"none yet: a session is its starter's alone"`
	}
	RawBody []byte
}

func (s *Server) startSession(ctx context.Context, in *startSessionIn) (*created[sessionBody], error) {
	if len(in.Body.Members) > 0 {
		return nil, bad("members", "unsupported", "must be empty: a session is its starter's alone")
	}
	arg, err := in.Body.Preset.arg()
	if err != nil {
		return nil, err
	}
	left, err := s.Sessions.Start(ctx, commands.StartSession{Preset: arg, Variables: in.Body.Variables,
		Model: in.Body.Model, Title: in.Body.Title}, in.meta(in.RawBody))
	if err != nil {
		return nil, err
	}
	out, err := s.sessionLeft(ctx, in.Who, left)
	if err != nil {
		return nil, err
	}
	return &created[sessionBody]{Answered: out.Answered, Body: out.Body,
		Location: "/v1/sessions/" + string(left.State.ID)}, nil
}

// sessionLeft answers with what a command left.
func (s *Server) sessionLeft(ctx context.Context, who domain.Principal, left commands.Session,
) (*resource[sessionBody], error) {
	opened, err := s.Read.OpenSessions(ctx, []session.Session{left.State})
	if err != nil {
		return nil, err
	}
	out := &resource[sessionBody]{Body: sessionOf(opened[0])}
	out.ETag = quoted(left.State.ETag())
	out.Position, out.Replayed = s.noted(who, left.Position), replayed(left.Replayed)
	return out, nil
}

type sessionIn struct {
	Query
	AsOfQuery
	ID string `path:"id" doc:"ses_…"`
}

func (s *Server) getSession(ctx context.Context, in *sessionIn) (*resource[sessionBody], error) {
	stale, err := s.wait(ctx, in.Query, viewsReader)
	if err != nil {
		return nil, err
	}
	as, err := s.asOf(in.AsOfQuery)
	if err != nil {
		return nil, err
	}
	id := domain.SessionID(in.ID)
	var found readmodels.Session
	if as == nil {
		found, err = s.Read.Session(ctx, in.Who, id)
	} else {
		found, err = s.Read.SessionAsOf(ctx, in.Who, id, *as)
	}
	if err != nil {
		return nil, err
	}
	out := &resource[sessionBody]{Body: sessionOf(found.Session)}
	out.Body.AsOf, out.Body.Stale = s.asOfBody(found.AsOf), stale
	if as == nil {
		out.ETag = quoted(found.ETag())
	}
	return out, nil
}

type listSessionsIn struct {
	Query
	Paging
	Status string `query:"status" enum:"active,deleted"`
}

func (s *Server) listSessions(ctx context.Context, in *listSessionsIn) (*listed[sessionBody], error) {
	stale, err := s.wait(ctx, in.Query, viewsReader)
	if err != nil {
		return nil, err
	}
	l, err := s.Read.Sessions(ctx, in.Who, in.Status, in.page(false))
	if err != nil {
		return nil, err
	}
	bodies := make([]sessionBody, len(l.Data))
	for i, one := range l.Data {
		bodies[i] = sessionOf(one)
	}
	return page(bodies, l.HasMore, l.Next, stale), nil
}

type editSessionIn struct {
	Command
	ID   string `path:"id"`
	Body struct {
		Title *string `json:"title" maxLength:"200" example:"Refunds"`
	} `contentType:"application/merge-patch+json"`
	RawBody []byte
}

func (s *Server) editSession(ctx context.Context, in *editSessionIn) (*resource[sessionBody], error) {
	title := ""
	if in.Body.Title != nil {
		title = *in.Body.Title
	} else if !has(in.RawBody, "title") {
		return nil, bad("title", "required", "is the only field that can be changed")
	}
	left, err := s.Sessions.Rename(ctx, domain.SessionID(in.ID), title, in.meta(in.RawBody))
	if err != nil {
		return nil, err
	}
	return s.sessionLeft(ctx, in.Who, left)
}

type sessionCommandIn struct {
	Command
	ID string `path:"id"`
}

func (s *Server) deleteSession(ctx context.Context, in *sessionCommandIn) (*resource[sessionBody], error) {
	left, err := s.Sessions.Delete(ctx, domain.SessionID(in.ID), in.meta(nil))
	if err != nil {
		return nil, err
	}
	return s.sessionLeft(ctx, in.Who, left)
}

func (s *Server) restoreSession(ctx context.Context, in *sessionCommandIn) (*resource[sessionBody], error) {
	left, err := s.Sessions.Restore(ctx, domain.SessionID(in.ID), in.meta(nil))
	if err != nil {
		return nil, err
	}
	return s.sessionLeft(ctx, in.Who, left)
}

type applyIn struct {
	Command
	ID      string `path:"id"`
	Body    targetIn
	RawBody []byte
}

func (s *Server) applyPreset(ctx context.Context, in *applyIn) (*resource[sessionBody], error) {
	arg, err := in.Body.Preset.arg()
	if err != nil {
		return nil, err
	}
	left, err := s.Sessions.Apply(ctx, domain.SessionID(in.ID), commands.StartSession{Preset: arg,
		Variables: in.Body.Variables, Model: in.Body.Model}, in.meta(in.RawBody))
	if err != nil {
		return nil, err
	}
	return s.sessionLeft(ctx, in.Who, left)
}
