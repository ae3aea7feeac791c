// Package completion is one stateless call of an OpenAI client: a session of one turn that nobody
// lists.
package completion

import (
	"time"

	"prelude/domain"
	"prelude/domain/receipt"
	"prelude/domain/session"
)

// Event is something that happened to one completion.
//
//sumtype:decl
type Event interface{ completionEvent() }

// Started is the call as it came: the receipt, and the texts that are new, those after the last
// message of the assistant. What was said before is known by its HMACs.
type Started struct {
	Reply     domain.ReplyID         `json:"reply"`
	Org       domain.OrgID           `json:"org"`
	User      domain.UserID          `json:"user"`
	Key       domain.KeyID           `json:"key"` // that its texts are kept under
	Asked     string                 `json:"asked"`
	Preset    *session.PresetVersion `json:"preset,omitempty"`
	Variables domain.Secret          `json:"variables"`
	Texts     []Text                 `json:"texts"`
	Manifest  receipt.Manifest       `json:"manifest" audit:"-"`
	Producer  session.Producer       `json:"producer"`
	Until     time.Time              `json:"until"`
	At        time.Time              `json:"at"`
}

// Text is one new text of a call: the part of the manifest that it is, by its place from 0.
type Text struct {
	Part    int           `json:"part"`
	Content domain.Secret `json:"content"`
	Raw     bool          `json:"raw,omitempty"` // it is the whole message, as JSON
}

// Ended is the reply.
type Ended struct {
	Status     string                 `json:"status"` // completed, failed, cancelled
	Text       domain.Secret          `json:"text"`
	Parts      domain.Secret          `json:"parts,omitzero"` // what was said besides the text, as answer.Encode writes it
	Tools      domain.Secret          `json:"tool_calls"`     // a JSON list: of older events, which have no parts
	Length     int                    `json:"length_bytes"`
	Finish     string                 `json:"finish_reason,omitempty"`
	Usage      receipt.Usage          `json:"usage"`
	Cost       int64                  `json:"cost_micros"`
	Code       string                 `json:"code,omitempty"`
	Detail     string                 `json:"detail,omitempty"`
	Retryable  bool                   `json:"retryable,omitempty"`
	Upstream   int                    `json:"upstream_status,omitempty"` // with which the model's server refused
	RetryAfter int                    `json:"retry_after_seconds,omitempty"`
	By         domain.UserID          `json:"by,omitempty"` // who cancelled it
	Preset     *session.PresetVersion `json:"preset,omitempty"`
	Model      string                 `json:"model"`
	At         time.Time              `json:"at"`
}

func (Started) completionEvent() {}
func (Ended) completionEvent()   {}

// Completion is what a completion's events leave.
type Completion struct {
	Reply    domain.ReplyID
	Org      domain.OrgID
	User     domain.UserID
	Key      domain.KeyID
	Preset   *session.PresetVersion
	Model    string
	Producer session.Producer
	Until    time.Time
	Ended    bool
	Passed   bool // it failed before a word was said, in a way that may pass
}

// Evolve returns c as e left it.
func (c Completion) Evolve(e Event) Completion {
	switch e := e.(type) {
	case Started:
		c.Reply, c.Org, c.User, c.Key = e.Reply, e.Org, e.User, e.Key
		c.Preset, c.Model, c.Producer, c.Until = e.Preset, e.Manifest.Model, e.Producer, e.Until
	case Ended:
		c.Ended = true
		c.Passed = e.Status == "failed" && e.Retryable && e.Length == 0 && e.Parts.IsZero() && e.Tools.IsZero()
	}
	return c
}

// Start decides that the call is under way. The texts in s are open.
func (c Completion) Start(s Started) ([]Event, error) {
	if c.Reply != "" {
		return nil, nil
	}
	return []Event{s}, nil
}

// End decides that the reply has ended so. The first ending wins.
func (c Completion) End(e session.End, at time.Time) ([]Event, error) {
	switch {
	case c.Reply == "":
		return nil, domain.ErrNotFound
	case c.Ended:
		return nil, nil
	}
	ended := Ended{
		Status: "completed", Length: len(e.Text), Finish: e.Finish, Usage: e.Usage, Code: e.Code,
		Detail: e.Detail, Retryable: e.Retryable, Upstream: e.Upstream, RetryAfter: e.RetryAfter, By: e.By,
		Preset: c.Preset, Model: c.Model, At: at,
	}
	switch {
	case e.Cancelled:
		ended.Status = "cancelled"
	case e.Code != "":
		ended.Status = "failed"
	}
	if e.Text != "" {
		ended.Text = domain.Seal(c.Key, e.Text)
	}
	if e.Parts != "" {
		ended.Parts = domain.Seal(c.Key, e.Parts)
	}
	return []Event{ended}, nil
}
