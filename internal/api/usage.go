package api

import (
	"context"
	"slices"
	"strings"
	"time"

	"prelude/readmodels"
)

type usageIn struct {
	Query
	From  string `query:"from" doc:"a day, 2006-01-02; the default is 30 days ago"`
	To    string `query:"to" doc:"a day, included; the default is today"`
	Group string `query:"group" doc:"some of day, preset, model, with commas; the default is all"`
}

type usageBody struct {
	Day          *string `json:"day"`
	Preset       *string `json:"preset"`
	Version      *int    `json:"version"`
	Model        *string `json:"model"`
	Messages     int64   `json:"messages"`
	InputTokens  int64   `json:"input_tokens"`
	OutputTokens int64   `json:"output_tokens"`
	Failures     int64   `json:"failures"`
	CostMicros   int64   `json:"cost_micros"`
}

type usageList struct {
	Data []usageBody `json:"data"`
}

const dayForm = "2006-01-02"

func (s *Server) usage(ctx context.Context, in *usageIn) (*bodyOnly[usageList], error) {
	today := time.Now().UTC()
	from, err := dayIn("query.from", in.From, today.AddDate(0, 0, -30))
	if err != nil {
		return nil, err
	}
	to, err := dayIn("query.to", in.To, today)
	if err != nil {
		return nil, err
	}
	group := []string{"day", "preset", "model"}
	if in.Group != "" {
		group = strings.Split(in.Group, ",")
	}
	for i, g := range group {
		if !slices.Contains([]string{"day", "preset", "model"}, g) || slices.Contains(group[:i], g) {
			return nil, bad("query.group", "enum", "must be some of day, preset and model, each once")
		}
	}
	rows, err := s.Read.Usage(ctx, in.Who, readmodels.UsageFilter{From: from, To: to, Group: group})
	if err != nil {
		return nil, err
	}
	out := &bodyOnly[usageList]{usageList{[]usageBody{}}}
	for _, u := range rows {
		out.Body.Data = append(out.Body.Data, usageOf(u))
	}
	return out, nil
}

func usageOf(u readmodels.Usage) usageBody {
	b := usageBody{Preset: u.Preset, Version: u.Version, Model: u.Model, Messages: u.Messages,
		InputTokens: u.InputTokens, OutputTokens: u.OutputTokens, Failures: u.Failures, CostMicros: u.CostMicros}
	if u.Day != nil {
		b.Day = text(u.Day.Format(dayForm))
	}
	return b
}

// dayIn reads a day; a time of RFC 3339 stands for its day.
func dayIn(field, s string, otherwise time.Time) (time.Time, error) {
	if s == "" {
		return otherwise, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t.UTC(), nil
	}
	t, err := time.Parse(dayForm, s)
	if err != nil {
		return t, bad(field, "day", "must be a day such as 2006-01-02")
	}
	return t, nil
}
