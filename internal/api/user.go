package api

import (
	"context"
	"time"

	"prelude/commands"
	"prelude/domain"
	"prelude/domain/user"
	"prelude/readmodels"
)

// userBody is a person of the org.
type userBody struct {
	ID        string  `json:"id"`
	Handle    *string `json:"handle"`
	Name      *string `json:"name"`
	Role      string  `json:"role"`
	CreatedAt Time    `json:"created_at"`
	Withheld  string  `json:"withheld,omitempty"`
	Stale     bool    `json:"stale,omitempty"`
}

func userOf(u user.User) userBody {
	b := userBody{ID: string(u.ID), Handle: text(u.Handle.Text), Name: text(u.Name.Text),
		Role: string(u.Role), CreatedAt: Time{u.JoinedAt}}
	if u.Name.Gone || u.ErasedAt != nil {
		b.Withheld, b.Handle, b.Name = erased, nil, nil
	}
	return b
}

type meIn struct{ Query }

type meBody struct {
	User  userBody `json:"user"`
	Org   orgBody  `json:"org"`
	Role  string   `json:"role"`
	Key   string   `json:"key"`
	Stale bool     `json:"stale,omitempty"`
}

type orgBody struct {
	ID   string `json:"id"`
	Slug string `json:"slug"`
	Name string `json:"name"`
}

func (s *Server) me(ctx context.Context, in *meIn) (*bodyOnly[meBody], error) {
	stale, err := s.wait(ctx, in.Query, rightsReader)
	if err != nil {
		return nil, err
	}
	u, org, err := s.Read.Me(ctx, in.Who)
	if err != nil {
		return nil, err
	}
	return &bodyOnly[meBody]{meBody{User: userOf(u), Org: orgBody{string(org.Org), org.Slug, org.Name},
		Role: string(in.Who.Role), Key: string(in.Who.Key), Stale: stale}}, nil
}

type listUsersIn struct {
	Query
	Paging
}

func (s *Server) listUsers(ctx context.Context, in *listUsersIn) (*listed[userBody], error) {
	stale, err := s.wait(ctx, in.Query, rightsReader)
	if err != nil {
		return nil, err
	}
	l, err := s.Read.Users(ctx, in.Who, in.page(true))
	if err != nil {
		return nil, err
	}
	bodies := make([]userBody, len(l.Data))
	for i, u := range l.Data {
		bodies[i] = userOf(u)
	}
	return page(bodies, l.HasMore, l.Next, stale), nil
}

type userIn struct {
	Query
	ID string `path:"id" doc:"usr_…"`
}

func (s *Server) getUser(ctx context.Context, in *userIn) (*bodyOnly[userBody], error) {
	stale, err := s.wait(ctx, in.Query, rightsReader)
	if err != nil {
		return nil, err
	}
	u, err := s.Read.User(ctx, in.Who, domain.UserID(in.ID))
	if err != nil {
		return nil, err
	}
	body := userOf(u)
	body.Stale = stale
	return &bodyOnly[userBody]{body}, nil
}

type addUserIn struct {
	Command
	Body struct {
		Handle string `json:"handle" example:"ada"`
		Name   string `json:"name" maxLength:"200" example:"Ada"`
		Role   string `json:"role" enum:"owner,admin,reviewer,member,auditor"`
	}
	RawBody []byte
}

func (s *Server) addUser(ctx context.Context, in *addUserIn) (*created[userBody], error) {
	left, err := s.Users.Add(ctx, commands.AddUser{Handle: in.Body.Handle, Name: in.Body.Name,
		Role: domain.Role(in.Body.Role)}, in.meta(in.RawBody))
	if err != nil {
		return nil, err
	}
	opened, err := s.Read.OpenUsers(ctx, []user.User{left.State})
	if err != nil {
		return nil, err
	}
	out := &created[userBody]{Body: userOf(opened[0]), Location: "/v1/users/" + string(left.State.ID)}
	out.Position, out.Replayed = s.noted(in.Who, left.Position), replayed(left.Replayed)
	return out, nil
}

// keyBody is an API key; the secret is there only when it was issued by this request.
type keyBody struct {
	ID        string  `json:"id"`
	Name      string  `json:"name"`
	User      string  `json:"user"`
	CreatedAt Time    `json:"created_at"`
	ExpiresAt *Time   `json:"expires_at"`
	RevokedAt *Time   `json:"revoked_at"`
	Secret    *string `json:"secret,omitempty"`
}

type listKeysIn struct {
	Query
	Paging
}

func (s *Server) listKeys(ctx context.Context, in *listKeysIn) (*listed[keyBody], error) {
	stale, err := s.wait(ctx, in.Query, rightsReader)
	if err != nil {
		return nil, err
	}
	l, err := s.Read.Keys(ctx, in.Who, in.page(true))
	if err != nil {
		return nil, err
	}
	bodies := make([]keyBody, len(l.Data))
	for i, k := range l.Data {
		bodies[i] = keyOf(k)
	}
	return page(bodies, l.HasMore, l.Next, stale), nil
}

func keyOf(k readmodels.Key) keyBody {
	return keyBody{ID: string(k.ID), Name: k.Name, User: string(k.UserID), CreatedAt: Time{k.CreatedAt},
		ExpiresAt: timeOf(k.ExpiresAt), RevokedAt: timeOf(k.RevokedAt)}
}

type issueKeyIn struct {
	Command
	Body struct {
		Name      string     `json:"name" maxLength:"200" example:"ci"`
		User      string     `json:"user,omitempty" doc:"usr_…; the default is the caller"`
		ExpiresAt *time.Time `json:"expires_at,omitempty"`
	}
	RawBody []byte
}

func (s *Server) issueKey(ctx context.Context, in *issueKeyIn) (*created[keyBody], error) {
	left, secret, err := s.APIKeys.Issue(ctx, commands.IssueKey{User: domain.UserID(in.Body.User),
		Name: in.Body.Name, ExpiresAt: in.Body.ExpiresAt}, in.meta(in.RawBody))
	if err != nil {
		return nil, err
	}
	k := left.State
	out := &created[keyBody]{Location: "/v1/api-keys/" + string(k.ID), Body: keyBody{ID: string(k.ID),
		Name: k.Name.Text, User: string(k.User), CreatedAt: Time{k.IssuedAt}, ExpiresAt: timeOf(k.ExpiresAt),
		Secret: &secret}}
	out.Position = s.noted(in.Who, left.Position)
	return out, nil
}

type revokeKeyIn struct {
	Command
	ID string `path:"id" doc:"key_…"`
}

func (s *Server) revokeKey(ctx context.Context, in *revokeKeyIn) (*resource[keyBody], error) {
	left, err := s.APIKeys.Revoke(ctx, domain.APIKeyID(in.ID), in.meta(nil))
	if err != nil {
		return nil, err
	}
	// From the answer on nobody may be taken for who has this key.
	s.Authn.Revoke(left.State.ID)
	k := left.State
	out := &resource[keyBody]{Body: keyBody{ID: string(k.ID), Name: k.Name.Text, User: string(k.User),
		CreatedAt: Time{k.IssuedAt}, ExpiresAt: timeOf(k.ExpiresAt), RevokedAt: timeOf(k.RevokedAt)}}
	out.Position, out.Replayed = s.noted(in.Who, left.Position), replayed(left.Replayed)
	return out, nil
}
