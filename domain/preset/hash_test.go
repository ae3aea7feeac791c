package preset_test

import (
	"encoding/json"
	"strings"
	"testing"

	"prelude/domain/domaintest"
	"prelude/domain/preset"
)

// whole is a draft in which every field is set.
func whole(change func(*preset.Draft)) preset.Draft {
	warm, all := 0.5, 0.9
	d := preset.Draft{
		Name: "Tone", Description: "How we speak", Instructions: "Be {{how}}.",
		Variables: []preset.Variable{{Name: "how", Type: "string", Required: true,
			Default: json.RawMessage(`"kind"`), Description: "how to be"}},
		Tags: []string{"support"}, Language: "en", Model: "demo",
		Settings: preset.Settings{Temperature: &warm, TopP: &all, MaxOutputTokens: 100,
			Stop: []string{"END"}, ResponseFormat: "text"},
		Context: preset.Context{Strategy: preset.Refuse, ReserveOutput: 200}, Locked: true,
	}
	if change != nil {
		change(&d)
	}
	return d
}

// TestContentHash: approvals and versions rest on these bytes: a content keeps its hash for ever.
func TestContentHash(t *testing.T) {
	t.Parallel()
	const bare = "sha256:b576c87f669bcbe23cb46ffb8cdd698f7ebc9f7359bd9d43ddaa8162bbdae0b7"
	const full = "sha256:107e05f5a8c6fd4aa68432417aee3615a5d431736ee8f482953cde13e454100c"
	if got := draft(nil).Hash(); got != bare {
		t.Errorf("a bare draft has the hash %s", got)
	}
	if got := whole(nil).Hash(); got != full {
		t.Errorf("a whole draft has the hash %s", got)
	}
}

func TestWhatTheContentHashCovers(t *testing.T) {
	t.Parallel()
	cold := 0.1
	for _, c := range []struct {
		name   string
		covers bool
		change func(*preset.Draft)
	}{
		{"name", false, func(d *preset.Draft) { d.Name = "Voice" }},
		{"description", false, func(d *preset.Draft) { d.Description = "" }},
		{"tags", false, func(d *preset.Draft) { d.Tags = nil }},
		{"language", false, func(d *preset.Draft) { d.Language = "de" }},
		{"white space in a default's JSON", false, func(d *preset.Draft) {
			d.Variables[0].Default = json.RawMessage(` "kind" `)
		}},
		{"instructions", true, func(d *preset.Draft) { d.Instructions += " " }},
		{"a variable's name", true, func(d *preset.Draft) { d.Variables[0].Name = "who" }},
		{"a variable's type", true, func(d *preset.Draft) { d.Variables[0].Type = "number" }},
		{"a variable's default", true, func(d *preset.Draft) { d.Variables[0].Default = nil }},
		{"that a variable is required", true, func(d *preset.Draft) { d.Variables[0].Required = false }},
		{"a variable more", true, named("x")},
		{"model", true, func(d *preset.Draft) { d.Model = "other" }},
		{"temperature", true, func(d *preset.Draft) { d.Settings.Temperature = &cold }},
		{"no temperature", true, func(d *preset.Draft) { d.Settings.Temperature = nil }},
		{"top_p", true, func(d *preset.Draft) { d.Settings.TopP = nil }},
		{"max_output_tokens", true, func(d *preset.Draft) { d.Settings.MaxOutputTokens = 1 }},
		{"stop", true, func(d *preset.Draft) { d.Settings.Stop = nil }},
		{"response_format", true, func(d *preset.Draft) { d.Settings.ResponseFormat = "json" }},
		{"strategy", true, func(d *preset.Draft) { d.Context.Strategy = preset.TruncateOldest }},
		{"what is reserved", true, func(d *preset.Draft) { d.Context.ReserveOutput = 1 }},
		{"locked", true, func(d *preset.Draft) { d.Locked = false }},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			if changed := whole(c.change).Hash() != whole(nil).Hash(); changed != c.covers {
				t.Errorf("the hash changed: %t", changed)
			}
		})
	}
	empty := draft(func(d *preset.Draft) {
		d.Variables, d.Settings.Stop = []preset.Variable{}, []string{}
	})
	if empty.Hash() != draft(nil).Hash() {
		t.Error("an empty list and none have different hashes")
	}
}

func TestADraftSurvivesItsEvents(t *testing.T) {
	t.Parallel()
	p := preset.Preset{}
	events, err := p.Create(preset.New{ID: "prs_1", Org: "org_1", Scope: preset.OrgScope, Owner: ann,
		Slug: "tone", Draft: whole(nil)}, window, noon)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	p = domaintest.From(p, events...)
	again, err := p.Edit("tone", whole(nil), window, bob, at(1))
	if err != nil || len(again) > 0 {
		t.Errorf("the same draft is an edit: %+v, %v", again, err)
	}
	if p.DraftHash != p.Draft.Hash() {
		t.Error("the draft's hash is not the one that was recorded")
	}
}

func TestETag(t *testing.T) {
	t.Parallel()
	p := domaintest.Fold[preset.Preset](given(published(1, draft(nil)))...)
	for name, c := range map[string]struct {
		event   preset.Event
		changes bool
	}{
		"an edit changes it":                     {edited(whole(nil), "name"), true},
		"a tag changes it":                       {edited(draft(tags("x")), "tags"), true},
		"another slug changes it":                {preset.Renamed{From: "tone", To: "voice"}, true},
		"an edit that leaves all as it was, not": {edited(draft(tags()), "tags"), false},
		"a version, not":                         {published(2, draft(nil)), false},
		"a label, not":                           {labeled("beta", 1, 0), false},
		"a deletion, not":                        {deleted, false},
	} {
		if changed := p.Evolve(c.event).ETag() != p.ETag(); changed != c.changes {
			t.Errorf("%s: it changed: %t", name, changed)
		}
	}
}
