package session

import (
	"fmt"
	"time"
	"unicode/utf8"

	"prelude/domain"
	"prelude/domain/receipt"
)

// MaxContent is the most bytes of one message.
const MaxContent = 256 << 10

// MaxReply is the most bytes of one reply; a longer one is cut there.
const MaxReply = 512 << 10

const maxTitle = 200

// The refusals of sessions.
var (
	ErrUnderWay = &domain.Error{Kind: domain.Conflict, Code: "reply_under_way",
		Detail: "A reply is under way: wait for its end, or cancel it."}
	ErrNoTarget = &domain.Error{Kind: domain.Invalid, Code: "invalid",
		Detail: "The request breaks a rule.", Fields: []domain.Field{{
			Name: "preset", Code: "required", Detail: "preset or model is needed"}}}
)

// New is what a session is to be.
type New struct {
	ID        domain.SessionID
	Org       domain.OrgID
	Owner     domain.UserID
	Title     string
	Preset    *PresetRef
	Variables string // a JSON object; empty: none
	Model     string
}

// Start decides that the session exists.
func (s Session) Start(n New, at time.Time) ([]Event, error) {
	if s.Exists() {
		return nil, nil
	}
	if n.Preset == nil && n.Model == "" {
		return nil, ErrNoTarget
	}
	if err := checkTitle(n.Title); err != nil {
		return nil, err
	}
	return []Event{Started{
		Session: n.ID, Org: n.Org, Owner: n.Owner, Title: title(n.Org, n.ID, n.Title),
		Preset: n.Preset, Model: n.Model, At: at,
		Variables: variables(n.Org, n.ID, n.Owner, n.Variables),
	}}, nil
}

func checkTitle(t string) error {
	var f domain.Faults
	f.Text("title", t, maxTitle)
	return f.Err()
}

func title(org domain.OrgID, s domain.SessionID, text string) domain.Secret {
	if text == "" {
		return domain.Secret{}
	}
	return domain.Seal(domain.SessionKey(org, s), text)
}

func variables(org domain.OrgID, s domain.SessionID, by domain.UserID, values string,
) domain.Secret {
	if values == "" {
		return domain.Secret{}
	}
	return domain.Seal(domain.AuthorKey(org, s, by), values)
}

// Apply decides which preset or model answers from the next message on. Values are a JSON object,
// and are compared with the session's own if those were opened.
func (s Session) Apply(preset *PresetRef, values, model string, by domain.UserID, at time.Time,
) ([]Event, error) {
	if err := s.writable(); err != nil {
		return nil, err
	}
	if preset == nil && model == "" {
		return nil, ErrNoTarget
	}
	if model == s.Model && s.answers(preset) && s.filled(values) {
		return nil, nil
	}
	return []Event{PresetApplied{
		Preset: preset, Variables: variables(s.Org, s.ID, by, values), Model: model, By: by, At: at,
	}}, nil
}

// answers says whether preset is the session's.
func (s Session) answers(preset *PresetRef) bool {
	if preset == nil || s.Preset == nil {
		return preset == s.Preset
	}
	return *preset == *s.Preset
}

// filled says whether values are the session's.
func (s Session) filled(values string) bool {
	return values == s.Variables.Text && (values == "") == s.Variables.IsZero()
}

func (s Session) writable() error {
	switch {
	case !s.Exists():
		return domain.ErrNotFound
	case s.ExpiredAt != nil:
		return domain.ErrErased
	case s.DeletedAt != nil:
		return domain.ErrDeleted
	}
	return nil
}

// Post is a message with the reply that is to be made to it.
type Post struct {
	Message   domain.MessageID
	Reply     domain.ReplyID
	Author    domain.UserID
	Content   string
	Preset    *PresetVersion
	Variables string // JSON of the values that filled the instructions
	Manifest  receipt.Manifest
	Producer  Producer
	Until     time.Time
}

// CheckContent tells what is wrong with a message's content.
func CheckContent(field, content string) error {
	var f domain.Faults
	f.Required(field, content)
	if len(content) > MaxContent {
		f.Add(field, "too_long", fmt.Sprintf("must be at most %d bytes", MaxContent))
		return f.Err()
	}
	f.Text(field, content, MaxContent)
	return f.Err()
}

// MayPost says why no message can be posted now, if so.
func (s Session) MayPost() error {
	if err := s.writable(); err != nil {
		return err
	}
	if s.UnderWay != nil {
		return ErrUnderWay.About(string(s.UnderWay.Reply))
	}
	if s.Events >= MaxEvents {
		return ErrFull
	}
	return nil
}

// Post decides that a message is there and a reply to it is under way. While that reply is, the
// same post decides nothing.
func (s Session) Post(p Post, at time.Time) ([]Event, error) {
	if err := CheckContent("content", p.Content); err != nil {
		return nil, err
	}
	if s.UnderWay != nil && s.UnderWay.Reply == p.Reply && s.UnderWay.Message == p.Message {
		return nil, nil
	}
	if err := s.MayPost(); err != nil {
		return nil, err
	}
	author := domain.AuthorKey(s.Org, s.ID, p.Author)
	return []Event{
		MessagePosted{
			Message: p.Message, Reply: p.Reply, Author: p.Author,
			Content: domain.Seal(author, p.Content), Length: len(p.Content), At: at,
		},
		ReplyStarted{
			Reply: p.Reply, Message: p.Message, Preset: p.Preset, Model: p.Manifest.Model,
			Producer: p.Producer, Until: p.Until, At: at,
		},
		ContextAssembled{
			Reply: p.Reply, Manifest: p.Manifest,
			Variables: variables(s.Org, s.ID, p.Author, p.Variables),
		},
	}, nil
}

// End is how a reply ended: cancelled, by somebody where By says who; else failed where it has a
// code; else completed.
type End struct {
	Reply     domain.ReplyID
	Text      string
	Parts     string // what was said besides the text, as answer.Encode writes it; empty: nothing
	Finish    string
	Usage     receipt.Usage
	Code      string
	Detail    string
	Retryable bool
	// Upstream is the HTTP status with which the model's server refused; 0: it did not. RetryAfter are the seconds after
	// which it wants to be asked again; 0: it did not say.
	Upstream   int
	RetryAfter int
	By         domain.UserID
	Cancelled  bool
}

// End decides that the reply has ended so. The first ending wins: a later one decides nothing.
func (s Session) End(e End, at time.Time) ([]Event, error) {
	if s.UnderWay == nil || s.UnderWay.Reply != e.Reply {
		return nil, nil
	}
	u, key := s.UnderWay, domain.SessionKey(s.Org, s.ID)
	text, parts := secret(key, e.Text), secret(key, e.Parts)
	switch {
	case e.Cancelled:
		return []Event{ReplyCancelled{Reply: e.Reply, Text: text, Parts: parts, Length: len(e.Text),
			Usage: e.Usage, Preset: u.Preset, Model: u.Model, By: e.By, At: at}}, nil
	case e.Code != "":
		return []Event{ReplyFailed{Reply: e.Reply, Code: e.Code, Detail: e.Detail,
			Retryable: e.Retryable, Upstream: e.Upstream, RetryAfter: e.RetryAfter,
			Text: text, Parts: parts, Length: len(e.Text), Usage: e.Usage,
			Preset: u.Preset, Model: u.Model, At: at}}, nil
	}
	return []Event{ReplyCompleted{Reply: e.Reply, Text: text, Parts: parts,
		Length: len(e.Text), Finish: e.Finish, Usage: e.Usage, Preset: u.Preset, Model: u.Model, At: at}}, nil
}

// secret is a text to be kept under key; none where it is empty.
func secret(key domain.KeyID, text string) domain.Secret {
	if text == "" {
		return domain.Secret{}
	}
	return domain.Seal(key, text)
}

// Lost is the end of a reply whose producer is gone, or is cut off: what it had made is not known.
func Lost(reply domain.ReplyID) End {
	return End{Reply: reply, Code: "lost", Retryable: true,
		Detail: "The process that began the reply did not record its end: it was stopped, or cut off."}
}

// Rename decides the title.
func (s Session) Rename(text, current string, by domain.UserID, at time.Time) ([]Event, error) {
	if err := s.writable(); err != nil {
		return nil, err
	}
	if err := checkTitle(text); err != nil {
		return nil, err
	}
	if text == current {
		return nil, nil
	}
	return []Event{Renamed{Title: title(s.Org, s.ID, text), By: by, At: at}}, nil
}

// Delete decides that the session is out of sight.
func (s Session) Delete(by domain.UserID, at time.Time) ([]Event, error) {
	switch {
	case !s.Exists():
		return nil, domain.ErrNotFound
	case s.DeletedAt != nil:
		return nil, nil
	}
	return []Event{Deleted{By: by, At: at}}, nil
}

// Restore decides that the session is in use again.
func (s Session) Restore(by domain.UserID, at time.Time) ([]Event, error) {
	switch {
	case !s.Exists():
		return nil, domain.ErrNotFound
	case s.DeletedAt == nil:
		return nil, nil
	}
	return []Event{Restored{By: by, At: at}}, nil
}

// Cut shortens a text to at most limit bytes, at a character.
func Cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}
