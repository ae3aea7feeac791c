package readmodels

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"prelude/domain"
	"prelude/domain/completion"
	"prelude/domain/preset"
	"prelude/domain/receipt"
	"prelude/domain/session"
	"prelude/internal/eventlog"
)

// Receipt is what a model saw for a reply, rebuilt from its sources and held against its proof.
type Receipt struct {
	Reply      domain.ReplyID
	Preset     *session.PresetVersion
	Variables  map[string]json.RawMessage // nil: withheld
	Manifest   receipt.Manifest
	Parameters *receipt.Parameters // nil: erased
	Parts      []ReceiptPart
	Complete   bool             // every part could be rebuilt
	Verified   bool             // it is complete, and every HMAC was made again from the rebuilt bytes
	Request    *receipt.Request // nil where it is not complete
}

// ReceiptPart is a part with its text, or why it is withheld.
type ReceiptPart struct {
	receipt.Part
	Text     string
	Raw      json.RawMessage
	Key      domain.KeyID
	Withheld string // erased, rights, unstored, deleted; empty: the text is there
}

// assembled is the start of a reply as the log has it, of a session or of a completion.
type assembled struct {
	preset    *session.PresetVersion
	variables domain.Secret
	manifest  receipt.Manifest
	texts     []completion.Text
	whole     domain.KeyID
}

// Receipt rebuilds what the model saw for a reply that the caller was given by [Reader.Reply].
func (r *Reader) Receipt(ctx context.Context, who domain.Principal, m Message) (Receipt, error) {
	if m.Origin != "" { // a branch took it: the model saw what it saw for the reply that was taken
		taken, err := r.Reply(ctx, who, domain.ReplyID(m.Origin))
		if err != nil {
			return Receipt{}, err
		}
		return r.Receipt(ctx, who, taken)
	}
	a, err := r.assembled(ctx, m)
	if err != nil {
		return Receipt{}, err
	}
	rc := Receipt{Reply: domain.ReplyID(m.ID), Preset: a.preset, Manifest: a.manifest}
	if p, ok := a.manifest.Asked(); ok {
		rc.Parameters = &p
	}
	if !a.variables.Gone {
		rc.Variables = map[string]json.RawMessage{}
		if a.variables.Text != "" {
			if err := json.Unmarshal([]byte(a.variables.Text), &rc.Variables); err != nil {
				return rc, wrap("read a receipt's variables", err)
			}
		}
	}
	if rc.Parts, err = r.parts(ctx, who, m, a, rc.Variables); err != nil {
		return rc, err
	}
	return rc, r.verify(ctx, &rc, a)
}

func (r *Reader) assembled(ctx context.Context, m Message) (assembled, error) {
	at := eventlog.Revision(m.Seq)
	if m.Session != "" {
		at++ // the receipt follows the start of the reply, in the same append
	}
	var rec eventlog.Record
	err := eventlog.Unchanged(ctx, func(bool) (err error) {
		rec, err = r.Log.One(ctx, m.stream(), at)
		return err
	})
	if err != nil {
		return assembled{}, wrap("read a receipt", err)
	}
	one := []eventlog.Record{rec}
	if err := r.Log.Open(ctx, one); err != nil {
		return assembled{}, err
	}
	switch e := one[0].Event.(type) {
	case session.ContextAssembled:
		return assembled{preset: m.Preset, variables: e.Variables, manifest: e.Manifest,
			whole: domain.SessionKey(m.org, m.Session)}, nil
	case completion.Started:
		return assembled{preset: e.Preset, variables: e.Variables, manifest: e.Manifest, texts: e.Texts,
			whole: e.Key}, nil
	}
	return assembled{}, fmt.Errorf("a receipt is expected where %s is", rec.Name)
}

// parts rebuilds each part: messages and replies with one statement for all.
func (r *Reader) parts(ctx context.Context, who domain.Principal, m Message, a assembled,
	values preset.Values) ([]ReceiptPart, error) {
	texts, err := r.partTexts(ctx, m.org, a.manifest.Parts)
	if err != nil {
		return nil, err
	}
	parts := make([]ReceiptPart, len(a.manifest.Parts))
	for i, p := range a.manifest.Parts {
		part := ReceiptPart{Part: p}
		switch p.Source.Kind {
		case receipt.FromPreset:
			if part, err = r.presetPart(ctx, who, p, values); err != nil {
				return nil, err
			}
		case receipt.FromMessage, receipt.FromReply:
			part.fill(texts[p.Source.ID])
		default:
			part.literal(i, a)
		}
		parts[i] = part
	}
	return parts, nil
}

func (r *Reader) partTexts(ctx context.Context, org domain.OrgID, parts []receipt.Part,
) (map[string]domain.Secret, error) {
	var ids []string
	for _, p := range parts {
		if p.Source.Kind == receipt.FromMessage || p.Source.Kind == receipt.FromReply {
			ids = append(ids, p.Source.ID)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	messages, err := r.messages(ctx, org, ids)
	texts := make(map[string]domain.Secret, len(messages))
	for _, m := range messages {
		texts[m.ID] = m.Text
	}
	return texts, err
}

func (p *ReceiptPart) fill(s domain.Secret) {
	p.Key, p.Text = s.Key, s.Text
	if s.Gone || s.IsZero() {
		p.Withheld = "erased"
	}
}

// literal finds a text that came with a completion. What was resent was not stored again.
func (p *ReceiptPart) literal(i int, a assembled) {
	p.Withheld = "unstored"
	for _, t := range a.texts {
		if t.Part != i {
			continue
		}
		p.Withheld, p.Key = "", t.Content.Key
		if t.Content.Gone {
			p.Withheld = "erased"
		}
		if p.Text = t.Content.Text; t.Raw {
			p.Text, p.Raw = "", json.RawMessage(t.Content.Text)
		}
	}
}

// presetPart renders the version's instructions again, for who may see the preset today.
func (r *Reader) presetPart(ctx context.Context, who domain.Principal, p receipt.Part, values preset.Values,
) (ReceiptPart, error) {
	part := ReceiptPart{Part: p, Key: domain.OrgKey(who.Org)}
	id := domain.PresetID(p.Source.ID)
	records, _, err := r.prefix(ctx, eventlog.PresetStream(who.Org, id), AsOf{Position: eventlog.End})
	if err != nil {
		return part, err
	}
	of := fold[preset.Preset, preset.Event](records)
	if errors.Is(seePreset(who, of), domain.ErrNotFound) {
		part.Withheld = "rights"
		return part, nil
	}
	version := of.Content(p.Source.Version)
	if version == nil || values == nil {
		part.Withheld = "erased"
		return part, nil
	}
	part.Text, err = version.Content.Render(values, "variables")
	return part, wrap("render a preset again", err)
}

// verify makes every HMAC again. The request is only there where no part is withheld.
func (r *Reader) verify(ctx context.Context, rc *Receipt, a assembled) error {
	ids := []domain.KeyID{a.whole}
	rc.Complete = rc.Parameters != nil
	pieces := make([]receipt.Piece, len(rc.Parts))
	for i, p := range rc.Parts {
		rc.Complete = rc.Complete && p.Withheld == ""
		ids = append(ids, p.Key)
		pieces[i] = receipt.Piece{Role: p.Role, Text: p.Text, Raw: p.Raw}
	}
	keys, err := r.Log.Keys.Find(ctx, ids...)
	if err != nil {
		return wrap("keys of a receipt", err)
	}
	same := func(id domain.KeyID, text, mac []byte) bool {
		return keys[id] != nil && bytes.Equal(keys[id].MAC(receipt.Format, text), mac)
	}
	if !rc.Complete {
		return nil
	}
	rc.Verified = true
	for i, p := range rc.Parts {
		rc.Verified = rc.Verified && same(p.Key, pieces[i].Bytes(), p.MAC)
	}
	request := receipt.Render(a.manifest.Model, rc.Parameters.Settings, rc.Parameters.Extra, pieces)
	rc.Request = &request
	rc.Verified = rc.Verified && same(a.whole, request.Bytes(), a.manifest.MAC)
	return nil
}
