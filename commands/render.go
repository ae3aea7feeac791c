package commands

import (
	"context"

	"prelude/domain"
	"prelude/domain/preset"
	"prelude/domain/receipt"
	"prelude/domain/session"
	"prelude/internal/authz"
)

// Rendered is a preset's instructions with the variables filled in.
type Rendered struct {
	Text      string
	Tokens    int
	Tokenizer string
	Version   int // 0: the draft
}

// Render fills a preset's variables in: of the draft, or of the version that a selector means.
func (h Presets) Render(ctx context.Context, who domain.Principal, id domain.PresetID, selector string,
	values preset.Values) (Rendered, error) {
	p, err := h.preset(ctx, who.Org, id)
	if err != nil {
		return Rendered{}, err
	}
	if !p.Exists() {
		return Rendered{}, domain.ErrNotFound
	}
	if _, err := authz.May(who, authz.UsePreset, presetThing(p)); err != nil {
		return Rendered{}, err
	}
	draft, number := p.Draft, 0
	if selector != "" && selector != "draft" {
		v, err := p.Select(selector)
		if err != nil {
			return Rendered{}, with(err, "selector")
		}
		draft, number = *v.Content, v.Number
	}
	text, err := draft.Render(values, "variables")
	return Rendered{Text: text, Tokens: receipt.Tokens(len(text)), Tokenizer: receipt.Tokenizer,
		Version: number}, err
}

// Preview is what the next request of a session would hold, but for the message that is not there yet.
type Preview struct {
	Assembly receipt.Assembly
	Plan     receipt.Plan
	Preset   *session.PresetVersion
	Values   preset.Values
	Erased   bool // there is no next request: the session's texts are destroyed
}

// Preview assembles the next request of a session of the caller's.
func (h Sessions) Preview(ctx context.Context, who domain.Principal, id domain.SessionID) (Preview, error) {
	s, err := h.mine(ctx, who, id)
	if err != nil {
		return Preview{}, err
	}
	if erased, err := h.erased(ctx, s); err != nil || erased {
		return Preview{Erased: erased}, err
	}
	t, err := h.resolve(ctx, s, PostMessage{}, who)
	if err != nil {
		return Preview{}, err
	}
	b, err := h.history(ctx, s, t.plan)
	if err != nil {
		return Preview{}, err
	}
	return Preview{Assembly: b.Done(), Plan: t.plan, Preset: t.preset, Values: t.values}, nil
}

// erased says whether a session's own key, or its owner's in it, is gone: they are made with the session.
func (h Sessions) erased(ctx context.Context, s session.Session) (bool, error) {
	if s.ExpiredAt != nil {
		return true, nil
	}
	whole, owners := domain.SessionKey(s.Org, s.ID), domain.AuthorKey(s.Org, s.ID, s.Owner)
	keys, err := h.Log.Keys.Find(ctx, whole, owners)
	return err == nil && (keys[whole] == nil || keys[owners] == nil), err
}
