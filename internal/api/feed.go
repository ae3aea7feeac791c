package api

import (
	"context"
	"errors"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"prelude/domain"
	"prelude/internal/eventlog"
)

type feedIn struct {
	Caller
	After       string `query:"after" doc:"a position, or start; the default is from now on"`
	LastEventID string `header:"Last-Event-ID" doc:"a position; it wins over after"`
}

// feed streams what happens in the caller's org from a position on: ids, types and numbers, no texts.
func (s *Server) feed(ctx context.Context, in *feedIn) (*streamed, error) {
	if err := s.Read.MayFollow(in.Who); err != nil {
		return nil, err
	}
	after, err := s.feedFrom(in)
	if err != nil {
		return nil, err
	}
	if after == eventlog.End {
		// Fixed now, so that nothing is missed between this answer and the subscription.
		if after, err = s.Log.Head(ctx); err != nil {
			return nil, err
		}
	}
	return &streamed{Body: func(hc huma.Context) {
		ctx, done := s.Authn.While(hc.Context(), in.Who.Key)
		defer done()
		w := s.eventStream(hc)
		defer w.close()
		s.followFeed(ctx, w, in.Who.Org, after)
	}}, nil
}

func (s *Server) feedFrom(in *feedIn) (eventlog.Position, error) {
	switch {
	case in.LastEventID != "":
		return s.position("header.Last-Event-ID", in.LastEventID)
	case in.After == "start":
		return 0, nil
	case in.After != "":
		return s.position("query.after", in.After)
	}
	return eventlog.End, nil
}

// orgPrefixes are the beginnings of the names of an org's streams.
func orgPrefixes(org domain.OrgID) []string {
	bare := domain.Bare(org)
	prefixes := []string{eventlog.OrgCategory + "-" + bare}
	for _, c := range []string{eventlog.UserCategory, eventlog.APIKeyCategory, eventlog.PresetCategory,
		eventlog.SessionCategory, eventlog.CompletionCategory} {
		prefixes = append(prefixes, c+"-"+bare+"_")
	}
	return prefixes
}

func (s *Server) followFeed(ctx context.Context, w *events, org domain.OrgID, after eventlog.Position) {
	ctx, cancel := context.WithCancel(ctx)
	items := make(chan eventlog.CloudEvent)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(items)
		s.readFeed(ctx, org, after, items)
	}()
	defer func() {
		cancel()
		<-done
	}()
	for !w.gone {
		select {
		case e, ok := <-items:
			if !ok {
				return
			}
			w.send(s.token(e.Position), e.Type, feedEvent{e, e.Time.UTC().Format(timeForm)})
		case <-w.beat.C:
			w.comment(keepAlive)
		case <-ctx.Done():
			return
		case <-s.Stopping:
			return
		}
	}
}

// feedEvent is a CloudEvent whose time has milliseconds.
type feedEvent struct {
	eventlog.CloudEvent
	Time string `json:"time"`
}

func (s *Server) readFeed(ctx context.Context, org domain.OrgID, after eventlog.Position,
	items chan<- eventlog.CloudEvent) {
	unread := map[string]bool{} // streams of which it was said
	for signal, err := range s.Log.Store.Subscribe(ctx, after, eventlog.Filter{Prefixes: orgPrefixes(org)}) {
		if err != nil {
			if ctx.Err() == nil {
				s.Logger.Warn("a feed ends, for the event store is not followed any more", "error", err)
			}
			return
		}
		if signal.Kind != eventlog.Event {
			continue
		}
		rec, err := eventlog.Decode(signal.Raw)
		if errors.Is(err, eventlog.ErrForeign) {
			continue // its name begins as those of the org's streams do
		}
		if err != nil {
			// To end here were to end there again at each resumption.
			if !unread[signal.Raw.Stream] {
				unread[signal.Raw.Stream] = true
				s.Logger.Error("a feed passes over what cannot be read of a stream", "stream", signal.Raw.Stream,
					"position", signal.Position)
			}
			continue
		}
		if rec.Event == nil || "org_"+rec.Stream.Org != string(org) || strings.HasPrefix(rec.Name, "$") {
			continue
		}
		select {
		case items <- rec.CloudEvent():
		case <-ctx.Done():
			return
		}
	}
}
