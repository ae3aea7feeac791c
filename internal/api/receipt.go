package api

import (
	"encoding/base64"
	"encoding/json"

	"prelude/commands"
	"prelude/domain/preset"
	"prelude/domain/receipt"
	"prelude/domain/session"
	"prelude/readmodels"
)

// receiptBody says what a model saw, or would see.
type receiptBody struct {
	Reply      *string           `json:"reply,omitempty"`
	Format     string            `json:"format"`
	Renderer   int               `json:"renderer"`
	Preset     *receiptPreset    `json:"preset"`
	Variables  preset.Values     `json:"variables"`
	Model      string            `json:"model"`
	Target     string            `json:"target"`
	Tokenizer  string            `json:"tokenizer"`
	Parameters *settingsBody     `json:"parameters"`
	Window     receipt.Window    `json:"window"`
	Parts      []receiptPart     `json:"parts"`
	LeftOut    []receipt.LeftOut `json:"left_out"`
	HMAC       *string           `json:"hmac,omitempty"`
	Complete   bool              `json:"complete"`
	Verified   *bool             `json:"verified,omitempty"`
	Withheld   string            `json:"withheld,omitempty"`
	Request    *requestBody      `json:"request,omitempty"`
}

type receiptPreset struct {
	ID          string  `json:"id"`
	Version     int     `json:"version"`
	ContentHash string  `json:"content_hash"`
	Selector    *string `json:"selector"`
}

type receiptPart struct {
	Role        string        `json:"role"`
	Source      receiptSource `json:"source"`
	LengthBytes int           `json:"length_bytes"`
	Tokens      int           `json:"tokens"`
	HMAC        *string       `json:"hmac"`
	Withheld    *string       `json:"withheld"`
}

type receiptSource struct {
	Kind    string  `json:"kind"`
	ID      *string `json:"id"`
	Version *int    `json:"version"`
}

// requestBody is the request, rebuilt; a message that is withheld says why and how long it is.
type requestBody struct {
	Model    string                     `json:"model"`
	Messages []requestMessage           `json:"messages"`
	Settings *settingsBody              `json:"settings"`
	Extra    map[string]json.RawMessage `json:"extra,omitempty"`
}

type requestMessage struct {
	Role        string  `json:"role"`
	Content     *string `json:"content"`
	Withheld    string  `json:"withheld,omitempty"`
	LengthBytes int     `json:"length_bytes,omitempty"`
}

func receiptOf(r readmodels.Receipt, include bool) receiptBody {
	b := manifestOf(r.Manifest, r.Preset)
	id, mac, verified := string(r.Reply), encode(r.Manifest.MAC), r.Verified
	b.Reply, b.HMAC, b.Verified, b.Complete = &id, &mac, &verified, r.Complete
	b.Variables = r.Variables
	if r.Parameters != nil {
		settings := settingsOf(r.Parameters.Settings)
		b.Parameters = &settings
	}
	if r.Variables == nil || r.Parameters == nil {
		b.Withheld = erased
	}
	for i, p := range r.Parts {
		b.Parts[i].Withheld = text(p.Withheld)
	}
	if include {
		b.Request = requestOf(r)
	}
	return b
}

func manifestOf(m receipt.Manifest, p *session.PresetVersion) receiptBody {
	b := receiptBody{Format: m.Format, Renderer: m.Renderer, Model: m.Model, Target: m.Target,
		Tokenizer: m.Tokenizer, Window: m.Window,
		LeftOut: some(m.LeftOut), Parts: []receiptPart{}}
	if p != nil {
		b.Preset = &receiptPreset{string(p.ID), p.Version, string(p.Hash), text(p.Selector)}
	}
	for _, part := range m.Parts {
		mac := encode(part.MAC)
		b.Parts = append(b.Parts, receiptPart{Role: part.Role, LengthBytes: part.Length, Tokens: part.Tokens,
			Source: receiptSource{part.Source.Kind, text(part.Source.ID), number(part.Source.Version)},
			HMAC:   text(mac)})
	}
	return b
}

func encode(mac []byte) string { return base64.StdEncoding.EncodeToString(mac) }

func requestOf(r readmodels.Receipt) *requestBody {
	b := &requestBody{Model: r.Manifest.Model, Messages: []requestMessage{}}
	if p := r.Parameters; p != nil {
		settings := settingsOf(p.Settings)
		b.Settings, b.Extra = &settings, p.Extra
	}
	for _, p := range r.Parts {
		m := requestMessage{Role: p.Role, Withheld: p.Withheld}
		if p.Withheld == "" {
			content := p.Text
			if p.Raw != nil {
				content = string(p.Raw)
			}
			m.Content = &content
		} else {
			m.LengthBytes = p.Length
		}
		b.Messages = append(b.Messages, m)
	}
	return b
}

// previewOf is the receipt that the next request would have, without the proof.
func previewOf(p commands.Preview) receiptBody {
	m := receipt.Manifest{Format: receipt.Format, Renderer: receipt.Renderer, Tokenizer: receipt.Tokenizer,
		Model: p.Plan.Model, Target: p.Plan.Target, Window: p.Assembly.Window, LeftOut: p.Assembly.LeftOut}
	for _, piece := range p.Assembly.Pieces {
		n := len(piece.Bytes())
		m.Parts = append(m.Parts, receipt.Part{Role: piece.Role, Source: piece.Source, Length: n,
			Tokens: receipt.Tokens(n)})
	}
	b := manifestOf(m, p.Preset)
	if p.Erased {
		b.Withheld = erased
		return b
	}
	settings := settingsOf(p.Plan.Settings)
	b.Variables, b.Parameters, b.Complete = p.Values, &settings, true
	if b.Variables == nil {
		b.Variables = preset.Values{}
	}
	return b
}
