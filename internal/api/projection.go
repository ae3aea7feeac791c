package api

import (
	"context"
	"time"

	"prelude/internal/eventlog"
	"prelude/readmodels"
)

// Readers is the port to the readers of the log.
type Readers interface {
	// Lag is how many events a reader of this program's version has not applied, and since when the first of them
	// waits; false: this program has no such reader.
	Lag(ctx context.Context, p readmodels.Projection) (events int, since time.Time, ours bool, err error)
	// Unpark applies a parked stream again; false: it was not parked. Errors: not found where there is no such reader,
	// a conflict where the stream still cannot be applied.
	Unpark(ctx context.Context, reader string, stream eventlog.Stream) (applied bool, err error)
}

type projectionBody struct {
	Reader       string       `json:"reader" example:"views"`
	Version      int          `json:"version"`
	Owner        *string      `json:"owner" doc:"the instance that feeds it"`
	Position     string       `json:"position"`
	LagSeconds   *float64     `json:"lag_seconds" doc:"null: of a version that this program does not feed"`
	LagPositions *int         `json:"lag_positions" doc:"events that it has not applied; at most 10,000 are counted"`
	State        string       `json:"state" enum:"following,waiting,stopped"`
	Error        *string      `json:"error"`
	Parked       []parkedBody `json:"parked" doc:"streams of your org that could not be applied"`
	Gaps         int64        `json:"gaps" doc:"must be 0"`
	Skipped      int64        `json:"skipped" doc:"events of names that the program did not know"`
}

type parkedBody struct {
	Stream   string `json:"stream"`
	Position string `json:"position"`
	Error    string `json:"error"`
	Since    Time   `json:"since"`
}

type projectionsOut struct {
	Data []projectionBody `json:"data"`
}

type projectionsIn struct{ Caller }

func (s *Server) listProjections(ctx context.Context, in *projectionsIn) (*bodyOnly[projectionsOut], error) {
	all, err := s.Read.Projections(ctx, in.Who)
	if err != nil {
		return nil, err
	}
	out := &bodyOnly[projectionsOut]{projectionsOut{[]projectionBody{}}}
	for _, p := range all {
		body, err := s.projectionOf(ctx, p)
		if err != nil {
			return nil, err
		}
		out.Body.Data = append(out.Body.Data, body)
	}
	return out, nil
}

func (s *Server) projectionOf(ctx context.Context, p readmodels.Projection) (projectionBody, error) {
	b := projectionBody{Reader: p.Reader, Version: p.Version, Owner: text(p.Owner), Position: s.token(p.Position),
		State: p.State(), Error: text(p.Error), Parked: []parkedBody{}, Gaps: p.Gaps, Skipped: p.Skipped}
	for _, stream := range p.Parked {
		b.Parked = append(b.Parked, parkedBody{stream.Stream, s.token(stream.Position), stream.Error, Time{stream.Since}})
	}
	events, since, ours, err := s.Readers.Lag(ctx, p)
	if err != nil || !ours {
		return b, err
	}
	seconds := 0.0
	if events > 0 {
		seconds = max(0, time.Since(since).Seconds())
	}
	b.LagPositions, b.LagSeconds = &events, &seconds
	return b, nil
}

type unparkIn struct {
	Caller
	Reader string `path:"reader" example:"views"`
	Body   struct {
		Stream string `json:"stream" doc:"as GET /v1/projections names it, or the id of the thing"`
	}
	RawBody []byte
}

type unparkedBody struct {
	Reader  string `json:"reader"`
	Stream  string `json:"stream"`
	Applied bool   `json:"applied" doc:"false: it was not parked"`
}

// unpark has a parked stream of the caller's org applied again.
func (s *Server) unpark(ctx context.Context, in *unparkIn) (*bodyOnly[unparkedBody], error) {
	stream, named := eventlog.ObjectStream(in.Who.Org, in.Body.Stream)
	if !named {
		// Another application's stream is of no org, and so not found by whoever may ask.
		stream, _ = eventlog.ParseStream(in.Body.Stream)
	}
	if err := s.Read.MayUnpark(in.Who, stream); err != nil {
		return nil, err
	}
	applied, err := s.Readers.Unpark(ctx, in.Reader, stream)
	if err != nil {
		return nil, err
	}
	return &bodyOnly[unparkedBody]{unparkedBody{in.Reader, stream.String(), applied}}, nil
}
