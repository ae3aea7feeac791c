// Package session is a conversation: a line of messages and replies, one reply under way at a time.
// Its state holds no texts, so it does not grow with what was said.
package session

import (
	"time"

	"prelude/domain"
)

// Session is what a session's events leave. Its zero value does not exist yet.
type Session struct {
	ID        domain.SessionID
	Org       domain.OrgID
	Owner     domain.UserID
	Title     domain.Secret
	Preset    *PresetRef
	Variables domain.Secret
	Model     string
	Messages  int       // messages and replies
	Events    int       // all there were
	UnderWay  *UnderWay // the reply that has not ended
	CreatedAt time.Time
	UpdatedAt time.Time
	DeletedAt *time.Time
	ExpiredAt *time.Time // its texts are destroyed
}

// UnderWay is a reply that has not ended.
type UnderWay struct {
	Reply    domain.ReplyID
	Message  domain.MessageID
	Preset   *PresetVersion
	Model    string
	Producer Producer
	Until    time.Time
}

// Evolve returns s as e left it. It cannot refuse: e has happened.
func (s Session) Evolve(e Event) Session {
	s.Events++
	switch e := e.(type) {
	case Branched:
		s.ID, s.Org, s.Owner, s.Title, s.CreatedAt = e.Session, e.Org, e.Owner, e.Title, e.At
		s.Preset, s.Variables, s.Model = e.Preset, e.Variables, e.Model
		s.Messages = len(e.Carried)
		return s.touched(e.At)
	case Started:
		s.ID, s.Org, s.Owner, s.Title, s.CreatedAt = e.Session, e.Org, e.Owner, e.Title, e.At
		s.Preset, s.Variables, s.Model = e.Preset, e.Variables, e.Model
		return s.touched(e.At)
	case PresetApplied:
		s.Preset, s.Variables, s.Model = e.Preset, e.Variables, e.Model
		return s.touched(e.At)
	case MessagePosted:
		s.Messages++
		return s.touched(e.At)
	case ReplyStarted:
		s.Messages++
		s.UnderWay = &UnderWay{Reply: e.Reply, Message: e.Message, Preset: e.Preset, Model: e.Model,
			Producer: e.Producer, Until: e.Until}
		return s.touched(e.At)
	case ContextAssembled:
		return s
	case ReplyCompleted:
		return s.ended(e.Reply, e.At)
	case ReplyFailed:
		return s.ended(e.Reply, e.At)
	case ReplyCancelled:
		return s.ended(e.Reply, e.At)
	case Renamed:
		s.Title = e.Title
		return s.touched(e.At)
	case Expired: // its last activity stays what it was
		at := e.At
		s.ExpiredAt = &at
	case Deleted:
		at := e.At
		s.DeletedAt = &at
		return s.touched(e.At)
	case Restored:
		s.DeletedAt = nil
		return s.touched(e.At)
	}
	return s
}

func (s Session) touched(at time.Time) Session {
	s.UpdatedAt = at
	return s
}

func (s Session) ended(reply domain.ReplyID, at time.Time) Session {
	if s.UnderWay != nil && s.UnderWay.Reply == reply {
		s.UnderWay = nil
	}
	return s.touched(at)
}

// Exists says whether the session was ever started.
func (s Session) Exists() bool { return s.ID != "" }

// Status is active or deleted.
func (s Session) Status() string {
	if s.DeletedAt != nil {
		return "deleted"
	}
	return "active"
}

// ETag names the editable content: the title, by its sealed bytes.
func (s Session) ETag() string { return domain.HashOf(s.Title.Sealed).ETag() }
