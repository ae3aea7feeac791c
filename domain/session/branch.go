package session

import (
	"time"

	"prelude/domain"
)

// MaxEvents is how many events a session takes before it is full: then a branch goes on.
const MaxEvents = 20_000

// MaxCarried is the most bytes of texts that a branch takes with it: they lie in one event.
const MaxCarried = 512 << 10

// The refusals of long sessions.
var (
	ErrFull = &domain.Error{Kind: domain.Conflict, Code: "session_full",
		Detail: "The session is full: branch it, and go on in the branch."}
	ErrNoMessage = &domain.Error{Kind: domain.Invalid, Code: "invalid",
		Detail: "The request breaks a rule.", Fields: []domain.Field{{
			Name: "message", Code: "unknown", Detail: "must be a message or an ended reply of the session"}}}
)

// Branched opened the session as a continuation of another, with the newest of its messages.
type Branched struct {
	Session   domain.SessionID `json:"session"`
	Org       domain.OrgID     `json:"org"`
	Owner     domain.UserID    `json:"owner"`
	Title     domain.Secret    `json:"title"`
	Preset    *PresetRef       `json:"preset,omitempty"`
	Variables domain.Secret    `json:"variables"` // a JSON object
	Model     string           `json:"model,omitempty"`
	From      domain.SessionID `json:"from"`
	Through   int64            `json:"through"`  // the other's revision up to which it was taken
	Carried   []Carried        `json:"carried"`  // the oldest first
	LeftOut   bool             `json:"left_out"` // older messages did not fit
	At        time.Time        `json:"at"`
}

// Carried is a message, or what there is of a reply, that a branch took with it. It has an id and a
// key of its own: what is erased in one session is not thereby erased in the other.
type Carried struct {
	Message domain.MessageID `json:"message,omitempty"` // of a message
	Reply   domain.ReplyID   `json:"reply,omitempty"`   // of a reply
	Origin  string           `json:"origin"`            // its id there
	Author  domain.UserID    `json:"author,omitempty"`  // of a message
	Model   string           `json:"model,omitempty"`   // of a reply
	Text    domain.Secret    `json:"text"`
	Length  int              `json:"length_bytes"`
	At      time.Time        `json:"at"` // when it was written there
}

// Said is a text that a branch is to take with it.
type Said struct {
	ID      string // its new one: a message's of a person, else a reply's
	Origin  string
	Author  domain.UserID // empty: it is a reply
	Model   string
	Text    string
	Written time.Time
}

// Branch is where a branch comes from.
type Branch struct {
	New
	From    domain.SessionID
	Through int64
	Said    []Said // the oldest first
	LeftOut bool
}

// Branch decides that the session exists, as a continuation of another.
func (s Session) Branch(b Branch, at time.Time) ([]Event, error) {
	if s.Exists() {
		return nil, nil
	}
	if err := checkTitle(b.Title); err != nil {
		return nil, err
	}
	e := Branched{
		Session: b.ID, Org: b.Org, Owner: b.Owner, Title: title(b.Org, b.ID, b.Title),
		Preset: b.Preset, Model: b.Model, Variables: variables(b.Org, b.ID, b.Owner, b.Variables),
		From: b.From, Through: b.Through, LeftOut: b.LeftOut, At: at,
		Carried: make([]Carried, len(b.Said)),
	}
	for i, t := range b.Said {
		c := Carried{Origin: t.Origin, Author: t.Author, Model: t.Model, Length: len(t.Text), At: t.Written}
		key := domain.SessionKey(b.Org, b.ID)
		if t.Author == "" {
			c.Reply = domain.ReplyID(t.ID)
		} else {
			c.Message = domain.MessageID(t.ID)
			key = domain.AuthorKey(b.Org, b.ID, t.Author)
		}
		c.Text = secret(key, t.Text)
		e.Carried[i] = c
	}
	return []Event{e}, nil
}

func (Branched) sessionEvent() {}
