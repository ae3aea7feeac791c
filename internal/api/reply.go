package api

import (
	"context"

	"github.com/danielgtaylor/huma/v2"

	"prelude/domain"
)

type replyIn struct {
	Query
	ID string `path:"id" doc:"rpl_…"`
}

func (s *Server) getReply(ctx context.Context, in *replyIn) (*bodyOnly[messageBody], error) {
	stale, err := s.wait(ctx, in.Query, viewsReader)
	if err != nil {
		return nil, err
	}
	src, err := s.source(ctx, in.Who, domain.ReplyID(in.ID))
	if err != nil {
		return nil, err
	}
	body := src.body()
	body.Stale = stale
	return &bodyOnly[messageBody]{body}, nil
}

type streamReplyIn struct {
	Caller
	ID            string `path:"id" doc:"rpl_…"`
	LastEventID   string `header:"Last-Event-ID" doc:"resumes after that event"`
	StartingAfter int    `query:"starting_after" minimum:"0" doc:"resumes after so many bytes of text; 0 is after reply.started"`
	after         *int   // StartingAfter, where it was sent: after 0 bytes is after reply.started
}

// Resolve tells a starting_after of 0 from none.
func (in *streamReplyIn) Resolve(ctx huma.Context) []error {
	in.Caller.Resolve(ctx)
	if ctx.Query("starting_after") != "" {
		in.after = &in.StartingAfter
	}
	return nil
}

func (s *Server) streamReply(ctx context.Context, in *streamReplyIn) (*streamed, error) {
	src, err := s.source(ctx, in.Who, domain.ReplyID(in.ID))
	if err != nil {
		return nil, err
	}
	from, err := startAt(src, in.LastEventID, in.after)
	if err != nil {
		return nil, err
	}
	return &streamed{Body: s.follow(src, from)}, nil
}

type replyCommandIn struct {
	Command
	ID string `path:"id"`
}

// cancelReply ends a reply. One that has ended stays as it is.
func (s *Server) cancelReply(ctx context.Context, in *replyCommandIn) (*resource[messageBody], error) {
	src, err := s.source(ctx, in.Who, domain.ReplyID(in.ID))
	if err != nil {
		return nil, err
	}
	b := src.body()
	// Only its owner can have cancelled it, and with nothing else in the request.
	again := in.key != "" && b.Status == "cancelled"
	if b.Status == "running" {
		id := domain.SessionID("")
		if b.Session != nil {
			id = domain.SessionID(*b.Session)
		}
		if err := s.Sessions.Cancel(ctx, id, domain.ReplyID(in.ID), in.meta(nil)); err != nil {
			return nil, err
		}
	}
	if _, here := src.(local); !here && b.Status == "running" {
		s.reachEnd(ctx, viewsReader, waitAsked)
		m, err := s.Read.Reply(ctx, in.Who, domain.ReplyID(in.ID))
		if err != nil {
			return nil, err
		}
		src = stored{m}
	}
	out := &resource[messageBody]{Body: src.body()}
	out.Position, out.Replayed = s.noted(in.Who, src.endedAt()), replayed(again)
	return out, nil
}

type receiptIn struct {
	Query
	ID      string `path:"id"`
	Include string `query:"include" enum:"request" doc:"request: the request too, rebuilt"`
}

func (s *Server) getReceipt(ctx context.Context, in *receiptIn) (*bodyOnly[receiptBody], error) {
	if _, err := s.wait(ctx, in.Query, viewsReader); err != nil {
		return nil, err
	}
	m, err := s.replyAtEnd(ctx, in.Who, domain.ReplyID(in.ID))
	if err != nil {
		return nil, err
	}
	r, err := s.Read.Receipt(ctx, in.Who, m)
	if err != nil {
		return nil, err
	}
	return &bodyOnly[receiptBody]{receiptOf(r, in.Include == "request")}, nil
}
