package api

import (
	"context"
	"encoding/json"

	"prelude/commands"
	"prelude/domain"
)

type branchIn struct {
	Command
	ID   string      `path:"id"`
	Body *branchBody // none: from the newest message
}

type branchBody struct {
	Message string  `json:"message,omitempty" doc:"the last message or reply to take; none: the newest"`
	Title   *string `json:"title,omitempty" maxLength:"200" doc:"none: that of the session"`
}

// branchSession starts a session that goes on where another stands, or stood.
func (s *Server) branchSession(ctx context.Context, in *branchIn) (*created[sessionBody], error) {
	if in.Body == nil {
		in.Body = &branchBody{}
	}
	body, err := json.Marshal(in.Body)
	if err != nil {
		return nil, err
	}
	left, err := s.Sessions.Branch(ctx, commands.BranchSession{Session: domain.SessionID(in.ID),
		Through: in.Body.Message, Title: in.Body.Title}, in.meta(body))
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
