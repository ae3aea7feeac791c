package api

import (
	"context"

	"prelude/commands"
	"prelude/domain"
	"prelude/domain/user"
)

// erased is why a text is withheld whose key is destroyed.
const erased = "erased"

type eraseUserIn struct {
	Command
	ID   string `path:"id" doc:"usr_…"`
	Body struct {
		Confirm string `json:"confirm" doc:"the user's id once more" example:"usr_3n86fhcwk7b8k8ev1bag4tw7e5"`
	}
	RawBody []byte
}

// eraseUser answers when the keys are destroyed, for here and now; other instances follow within a second.
func (s *Server) eraseUser(ctx context.Context, in *eraseUserIn) (*resource[userBody], error) {
	left, err := s.Users.Erase(ctx, commands.EraseUser{User: domain.UserID(in.ID), Confirm: in.Body.Confirm},
		s.Vault, in.meta(in.RawBody))
	if err != nil {
		return nil, err
	}
	s.Authn.Erase(left.State.ID)
	s.Sessions.Hub.Erased(left.State.Org, left.State.ID)
	opened, err := s.Read.OpenUsers(ctx, []user.User{left.State})
	if err != nil {
		return nil, err
	}
	out := &resource[userBody]{Body: userOf(opened[0])}
	out.Position, out.Replayed = s.noted(in.Who, left.Position), replayed(left.Replayed)
	return out, nil
}
