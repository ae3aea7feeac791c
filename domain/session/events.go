package session

import (
	"time"

	"prelude/domain"
	"prelude/domain/receipt"
)

// Event is something that happened to one session.
//
//sumtype:decl
type Event interface{ sessionEvent() }

// PresetRef is a preset as a session refers to it: pinned to a version, by a label, or floating.
type PresetRef struct {
	ID       domain.PresetID `json:"id"`
	Name     string          `json:"name"`               // as it was asked for, without the selector
	Selector string          `json:"selector,omitempty"` // v<number>, a label, or empty: floating
	Version  int             `json:"version"`            // what that meant then
}

// PresetVersion is the version of a preset that a reply used.
type PresetVersion struct {
	ID       domain.PresetID `json:"id"`
	Name     string          `json:"name"` // its slug
	Selector string          `json:"selector,omitempty"`
	Version  int             `json:"version"`
	Hash     domain.Hash     `json:"hash"`
}

// Started opened the session.
type Started struct {
	Session   domain.SessionID `json:"session"`
	Org       domain.OrgID     `json:"org"`
	Owner     domain.UserID    `json:"owner"`
	Title     domain.Secret    `json:"title"`
	Preset    *PresetRef       `json:"preset,omitempty"`
	Variables domain.Secret    `json:"variables"` // a JSON object
	Model     string           `json:"model,omitempty"`
	At        time.Time        `json:"at"`
}

// PresetApplied changed the preset from the next message on.
type PresetApplied struct {
	Preset    *PresetRef    `json:"preset"`
	Variables domain.Secret `json:"variables"`
	Model     string        `json:"model,omitempty"`
	By        domain.UserID `json:"by"`
	At        time.Time     `json:"at"`
}

// MessagePosted added what a person wrote.
type MessagePosted struct {
	Message domain.MessageID `json:"message"`
	Reply   domain.ReplyID   `json:"reply"`
	Author  domain.UserID    `json:"author"`
	Content domain.Secret    `json:"content"`
	Length  int              `json:"length_bytes"`
	At      time.Time        `json:"at"`
}

// Producer says which process makes a reply.
type Producer struct {
	Instance string `json:"instance"`
	Boot     int64  `json:"boot"` // when it started, in milliseconds
}

// ReplyStarted began a reply to a message.
type ReplyStarted struct {
	Reply    domain.ReplyID   `json:"reply"`
	Message  domain.MessageID `json:"message"`
	Preset   *PresetVersion   `json:"preset,omitempty"`
	Model    string           `json:"model"`
	Producer Producer         `json:"producer"`
	Until    time.Time        `json:"until"` // when its producer gives up
	At       time.Time        `json:"at"`
}

// ContextAssembled is the receipt: what the model was sent, by reference, and the proof.
type ContextAssembled struct {
	Reply     domain.ReplyID   `json:"reply"`
	Variables domain.Secret    `json:"variables"` // the values that filled the instructions
	Manifest  receipt.Manifest `json:"manifest" audit:"-"`
}

// ReplyCompleted ended a reply with its whole text.
type ReplyCompleted struct {
	Reply  domain.ReplyID `json:"reply"`
	Text   domain.Secret  `json:"text"`
	Parts  domain.Secret  `json:"parts,omitzero"` // what was said besides the text, as answer.Encode writes it
	Tools  domain.Secret  `json:"tool_calls"`     // a JSON list: of older events, which have no parts
	Length int            `json:"length_bytes"`
	Finish string         `json:"finish_reason"`
	Usage  receipt.Usage  `json:"usage"`
	Cost   int64          `json:"cost_micros"`
	Preset *PresetVersion `json:"preset,omitempty"` // as its start says
	Model  string         `json:"model"`
	At     time.Time      `json:"at"`
}

// ReplyFailed ended a reply early; what came is kept.
type ReplyFailed struct {
	Reply      domain.ReplyID `json:"reply"`
	Code       string         `json:"code"`
	Detail     string         `json:"detail"`
	Retryable  bool           `json:"retryable"`
	Upstream   int            `json:"upstream_status,omitempty"` // with which the model's server refused
	RetryAfter int            `json:"retry_after_seconds,omitempty"`
	Text       domain.Secret  `json:"text"`
	Parts      domain.Secret  `json:"parts,omitzero"`
	Length     int            `json:"length_bytes"`
	Usage      receipt.Usage  `json:"usage"`
	Preset     *PresetVersion `json:"preset,omitempty"`
	Model      string         `json:"model"`
	At         time.Time      `json:"at"`
}

// ReplyCancelled ended a reply because somebody asked for it; what came is kept.
type ReplyCancelled struct {
	Reply  domain.ReplyID `json:"reply"`
	Text   domain.Secret  `json:"text"`
	Parts  domain.Secret  `json:"parts,omitzero"`
	Length int            `json:"length_bytes"`
	Usage  receipt.Usage  `json:"usage"`
	Preset *PresetVersion `json:"preset,omitempty"`
	Model  string         `json:"model"`
	By     domain.UserID  `json:"by"`
	At     time.Time      `json:"at"`
}

// Renamed gave the session another title.
type Renamed struct {
	Title domain.Secret `json:"title"`
	By    domain.UserID `json:"by"`
	At    time.Time     `json:"at"`
}

// Deleted took the session out of sight; it can be restored.
type Deleted struct {
	By domain.UserID `json:"by"`
	At time.Time     `json:"at"`
}

// Restored undid a deletion.
type Restored struct {
	By domain.UserID `json:"by"`
	At time.Time     `json:"at"`
}

func (Started) sessionEvent()          {}
func (PresetApplied) sessionEvent()    {}
func (MessagePosted) sessionEvent()    {}
func (ReplyStarted) sessionEvent()     {}
func (ContextAssembled) sessionEvent() {}
func (ReplyCompleted) sessionEvent()   {}
func (ReplyFailed) sessionEvent()      {}
func (ReplyCancelled) sessionEvent()   {}
func (Renamed) sessionEvent()          {}
func (Deleted) sessionEvent()          {}
func (Restored) sessionEvent()         {}
