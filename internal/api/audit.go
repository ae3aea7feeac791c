package api

import (
	"context"
	"time"

	"prelude/internal/eventlog"
	"prelude/readmodels"
)

// entryBody is what happened, as an auditor reads it.
type entryBody struct {
	ID       string         `json:"id"`
	Kind     string         `json:"kind" example:"preset.published"`
	Object   string         `json:"object"`
	Revision int64          `json:"revision"`
	Position string         `json:"position"`
	At       Time           `json:"at"`
	Actor    actorBody      `json:"actor"`
	Rule     *string        `json:"rule"`
	Command  string         `json:"command"`
	Fields   []string       `json:"fields"`
	Data     map[string]any `json:"data"`
}

type actorBody struct {
	User *string `json:"user"`
	Key  *string `json:"key"`
	Job  *string `json:"job"`
}

func (s *Server) entryOf(e eventlog.Entry) entryBody {
	return entryBody{ID: e.ID, Kind: e.Kind, Object: e.Object, Revision: int64(e.Revision),
		Position: s.token(e.Position), At: Time{e.At}, Rule: text(e.Rule), Command: e.Command,
		Actor: actorBody{text(e.User), text(e.Key), text(e.Job)}, Fields: some(e.Fields), Data: e.Data}
}

type auditIn struct {
	Query
	Paging
	Actor  string `query:"actor" doc:"usr_…"`
	Object string `query:"object" doc:"the id of a thing"`
	Kind   string `query:"kind" example:"preset.published"`
	From   string `query:"from" doc:"RFC 3339, included"`
	To     string `query:"to" doc:"RFC 3339, not included"`
}

func (s *Server) listAudit(ctx context.Context, in *auditIn) (*listed[entryBody], error) {
	stale, err := s.wait(ctx, in.Query, viewsReader)
	if err != nil {
		return nil, err
	}
	from, err := timeIn("query.from", in.From)
	if err != nil {
		return nil, err
	}
	to, err := timeIn("query.to", in.To)
	if err != nil {
		return nil, err
	}
	l, err := s.Read.Audit(ctx, in.Who, readmodels.AuditFilter{Actor: in.Actor, Object: in.Object,
		Kind: in.Kind, From: from, To: to}, in.page(false))
	if err != nil {
		return nil, err
	}
	return s.entries(l, stale), nil
}

func (s *Server) entries(l readmodels.List[eventlog.Entry], stale bool) *listed[entryBody] {
	bodies := make([]entryBody, len(l.Data))
	for i, e := range l.Data {
		bodies[i] = s.entryOf(e)
	}
	return page(bodies, l.HasMore, l.Next, stale)
}

// timeIn reads a time of a query; nil: none was sent.
func timeIn(field, text string) (*time.Time, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // not asking is an answer
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return nil, bad(field, "time", "must be a time in RFC 3339")
	}
	t = t.UTC()
	return &t, nil
}

type historyIn struct {
	Query
	Paging
	ID string `path:"id"`
}

func (s *Server) presetHistory(ctx context.Context, in *historyIn) (*listed[entryBody], error) {
	stale, err := s.wait(ctx, in.Query, viewsReader)
	if err != nil {
		return nil, err
	}
	id, err := s.Presets.ResolvePreset(ctx, in.Who, in.ID)
	if err != nil {
		return nil, err
	}
	l, err := s.Read.History(ctx, in.Who, id, in.page(true))
	if err != nil {
		return nil, err
	}
	return s.entries(l, stale), nil
}
