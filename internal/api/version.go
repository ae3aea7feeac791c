package api

import (
	"context"
	"strconv"

	"prelude/commands"
	"prelude/domain"
	"prelude/readmodels"
)

// versionBody is an immutable version of a preset; by number it carries the content.
type versionBody struct {
	Version     int        `json:"version"`
	ContentHash string     `json:"content_hash"`
	Note        *string    `json:"note"`
	Labels      []string   `json:"labels"`
	PublishedBy string     `json:"published_by"`
	PublishedAt Time       `json:"published_at"`
	Content     *draftBody `json:"content,omitempty"`
	Stale       bool       `json:"stale,omitempty"`
}

func versionOf(v readmodels.Version) versionBody {
	return versionBody{Version: v.Version, ContentHash: v.Hash, Note: text(v.Note), Labels: v.Labels,
		PublishedBy: v.By, PublishedAt: Time{v.At}}
}

type listVersionsIn struct {
	Query
	Paging
	ID string `path:"id"`
}

func (s *Server) listVersions(ctx context.Context, in *listVersionsIn) (*listed[versionBody], error) {
	stale, err := s.wait(ctx, in.Query, viewsReader)
	if err != nil {
		return nil, err
	}
	id, err := s.Presets.ResolvePreset(ctx, in.Who, in.ID)
	if err != nil {
		return nil, err
	}
	l, err := s.Read.Versions(ctx, in.Who, id, 0, in.page(false))
	if err != nil {
		return nil, err
	}
	bodies := make([]versionBody, len(l.Data))
	for i, v := range l.Data {
		bodies[i] = versionOf(v)
	}
	return page(bodies, l.HasMore, l.Next, stale), nil
}

type versionIn struct {
	Query
	ID     string `path:"id"`
	Number string `path:"n" doc:"a version's number" example:"1"`
}

func (s *Server) getVersion(ctx context.Context, in *versionIn) (*bodyOnly[versionBody], error) {
	stale, err := s.wait(ctx, in.Query, viewsReader)
	if err != nil {
		return nil, err
	}
	id, err := s.Presets.ResolvePreset(ctx, in.Who, in.ID)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseInt(in.Number, 10, 31)
	if err != nil || n < 1 {
		return nil, domain.ErrNotFound
	}
	l, err := s.Read.Versions(ctx, in.Who, id, int(n), readmodels.Page{Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(l.Data) == 0 {
		return nil, domain.ErrNotFound
	}
	body, content := versionOf(l.Data[0]), draftOf(l.Data[0].Content)
	body.Content, body.Stale = &content, stale
	return &bodyOnly[versionBody]{body}, nil
}

// labelBody is a label of a preset.
type labelBody struct {
	Label   string  `json:"label"`
	Version int     `json:"version"`
	Note    *string `json:"note"`
	MovedBy string  `json:"moved_by"`
	MovedAt Time    `json:"moved_at"`
}

type labelsBody struct {
	Data    []labelBody `json:"data"`
	HasMore bool        `json:"has_more"`
	Next    *string     `json:"next_cursor"`
	AsOf    *asOfBody   `json:"as_of,omitempty"`
	Stale   bool        `json:"stale,omitempty"`
}

// LabelsIn asks for a preset's labels.
type LabelsIn struct {
	Query
	AsOfQuery
	ID string `path:"id"`
}

func (s *Server) getLabels(ctx context.Context, in *LabelsIn) (*bodyOnly[labelsBody], error) {
	labels, at, stale, err := s.labels(ctx, in)
	if err != nil {
		return nil, err
	}
	body := labelsBody{Data: []labelBody{}, AsOf: s.asOfBody(at), Stale: stale}
	for _, l := range labels {
		body.Data = append(body.Data, labelOf(l))
	}
	return &bodyOnly[labelsBody]{body}, nil
}

func labelOf(l readmodels.Label) labelBody {
	return labelBody{l.Label, l.Version, text(l.Note), l.MovedBy, Time{l.MovedAt}}
}

func (s *Server) labels(ctx context.Context, in *LabelsIn,
) ([]readmodels.Label, *readmodels.Point, bool, error) {
	stale, err := s.wait(ctx, in.Query, viewsReader)
	if err != nil {
		return nil, nil, false, err
	}
	id, err := s.Presets.ResolvePreset(ctx, in.Who, in.ID)
	if err != nil {
		return nil, nil, false, err
	}
	as, err := s.asOf(in.AsOfQuery)
	if err != nil {
		return nil, nil, false, err
	}
	if as == nil {
		labels, err := s.Read.Labels(ctx, in.Who, id)
		return labels, nil, stale, err
	}
	labels, at, err := s.Read.LabelsAsOf(ctx, in.Who, id, *as)
	return labels, &at, stale, err
}

type labelIn struct {
	LabelsIn
	Label string `path:"label" example:"production"`
}

func (s *Server) getLabel(ctx context.Context, in *labelIn) (*resource[labelBody], error) {
	labels, _, _, err := s.labels(ctx, &in.LabelsIn)
	if err != nil {
		return nil, err
	}
	for _, l := range labels {
		if l.Label == in.Label {
			out := &resource[labelBody]{Body: labelOf(l)}
			if in.AsOf == "" {
				out.ETag = quoted(commands.LabelETag(l.Version))
			}
			return out, nil
		}
	}
	return nil, domain.ErrNotFound
}

type putLabelIn struct {
	Command
	ID    string `path:"id"`
	Label string `path:"label"`
	Body  struct {
		Version int    `json:"version" example:"1"`
		Note    string `json:"note,omitempty"`
	}
	RawBody []byte
}

func (s *Server) putLabel(ctx context.Context, in *putLabelIn) (*resource[labelBody], error) {
	if in.Body.Version < 1 {
		return nil, bad("version", "range", "must be the number of a version")
	}
	left, err := s.moveLabel(ctx, in.Command, in.ID, commands.LabelPreset{Label: in.Label,
		Version: in.Body.Version, Note: in.Body.Note}, in.RawBody)
	if err != nil {
		return nil, err
	}
	p := left.State
	if p.Labels[in.Label] == 0 {
		return nil, domain.ErrNotFound // a repeat, and it was taken away since
	}
	at := p.LabelMoves[in.Label]
	out := &resource[labelBody]{Body: labelBody{in.Label, p.Labels[in.Label], text(at.Note),
		string(at.By), Time{at.At}}}
	out.ETag = quoted(commands.LabelETag(p.Labels[in.Label]))
	out.Position, out.Replayed = s.noted(in.Who, left.Position), replayed(left.Replayed)
	return out, nil
}

type deleteLabelIn struct {
	Command
	ID    string `path:"id"`
	Label string `path:"label"`
}

// deleteLabel answers with the preset as it is then.
func (s *Server) deleteLabel(ctx context.Context, in *deleteLabelIn) (*resource[presetBody], error) {
	left, err := s.moveLabel(ctx, in.Command, in.ID, commands.LabelPreset{Label: in.Label}, nil)
	if err != nil {
		return nil, err
	}
	return s.presetLeft(in.Who, left), nil
}

func (s *Server) moveLabel(ctx context.Context, c Command, ref string, cmd commands.LabelPreset, body []byte,
) (commands.Preset, error) {
	var err error
	if cmd.Preset, err = s.Presets.ResolvePreset(ctx, c.Who, ref); err != nil {
		return commands.Preset{}, err
	}
	return s.Presets.Label(ctx, cmd, c.meta(body))
}
