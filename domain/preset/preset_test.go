package preset_test

import (
	"encoding/json"
	"testing"
	"time"

	"prelude/domain"
	"prelude/domain/domaintest"
	"prelude/domain/preset"
)

const (
	ann, bob = domain.UserID("usr_ann"), domain.UserID("usr_bob")
	window   = 8192
	orgKey   = domain.KeyID("o.1")
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }

type (
	decision = domaintest.Decision[preset.Preset, preset.Event]
	is       = domaintest.Case[preset.Preset, preset.Event]
)

// draft is a draft that nothing is wrong with, but for the change.
func draft(change func(*preset.Draft)) preset.Draft {
	d := preset.Draft{Name: "Tone", Instructions: "Be kind.", Model: "demo",
		Context: preset.Context{Strategy: preset.TruncateOldest}}
	if change != nil {
		change(&d)
	}
	return d
}

func instructions(s string) preset.Draft {
	return draft(func(d *preset.Draft) { d.Instructions = s })
}

func sealed(s string) domain.Secret { return domain.Secret{Key: orgKey, Text: s} }

// content is a draft without variables as events keep it.
func content(d preset.Draft) preset.Content {
	c := preset.Content{Name: sealed(d.Name), Description: sealed(d.Description),
		Instructions: sealed(d.Instructions), Tags: sealedList(d.Tags), Language: d.Language,
		Model: d.Model, Settings: d.Settings, Stop: sealedList(d.Settings.Stop), Context: d.Context,
		Locked: d.Locked}
	c.Settings.Stop = nil
	return c
}

func sealedList(texts []string) domain.Secret {
	if len(texts) == 0 {
		return domain.Secret{}
	}
	b, err := json.Marshal(texts)
	if err != nil {
		panic(err)
	}
	return sealed(string(b))
}

func created(d preset.Draft) preset.Event {
	return preset.Created{Preset: "prs_1", Org: "org_1", Scope: preset.OrgScope, Owner: ann,
		Slug: "tone", Content: content(d), Hash: d.Hash(), At: noon}
}

func edited(d preset.Draft, fields ...string) preset.Event {
	return preset.Edited{Fields: fields, Content: content(d), Hash: d.Hash(), By: bob, At: at(1)}
}

func published(n int, d preset.Draft) preset.Event {
	return preset.Published{Version: n, Hash: d.Hash(), By: bob, At: at(2)}
}

func labeled(label string, version, from int) preset.Event {
	return preset.Labeled{Label: label, Version: version, From: from, By: bob, At: at(2)}
}

func given(more ...preset.Event) []preset.Event {
	return append([]preset.Event{created(draft(nil))}, more...)
}

var deleted = preset.Deleted{By: bob, At: at(3)}

func create(slug string, scope preset.Scope, d preset.Draft) decision {
	return func(p preset.Preset) ([]preset.Event, error) {
		return p.Create(preset.New{ID: "prs_1", Org: "org_1", Scope: scope, Owner: ann, Slug: slug,
			Draft: d}, window, noon)
	}
}

func edit(slug string, d preset.Draft) decision {
	return func(p preset.Preset) ([]preset.Event, error) { return p.Edit(slug, d, window, bob, at(1)) }
}

func TestCreate(t *testing.T) {
	t.Parallel()
	d := draft(nil)
	domaintest.Run(t,
		is{Name: "a preset is created with its texts under the org's key",
			When: create("tone", preset.OrgScope, d), Then: given()},
		is{Name: "one that is there is not created again", Given: given(),
			When: create("other", preset.UserScope, instructions("Other."))},
		is{Name: "a deleted one is not created again", Given: given(deleted),
			When: create("tone", preset.OrgScope, d)},
		is{Name: "a slug must be one", When: create("Tone", preset.OrgScope, d),
			Faults: []string{"slug: pattern"}},
		is{Name: "a scope must be one", When: create("tone", "team", d), Faults: []string{"scope: enum"}},
		is{Name: "the faults of slug, scope and draft are told at once",
			When:   create("", "", instructions(" ")),
			Faults: []string{"slug: pattern", "scope: enum", "instructions: required"}},
	)
}

func TestEdit(t *testing.T) {
	t.Parallel()
	d := draft(nil)
	other := draft(func(d *preset.Draft) { d.Instructions, d.Tags = "Be brief.", []string{"short"} })
	domaintest.Run(t,
		is{Name: "an edit names the fields that differ", Given: given(), When: edit("tone", other),
			Then: []preset.Event{edited(other, "instructions", "tags")}},
		is{Name: "an edit that changes nothing is none", Given: given(), When: edit("tone", d)},
		is{Name: "empty lists and absent ones are the same", Given: given(),
			When: edit("tone", draft(func(d *preset.Draft) {
				d.Variables, d.Tags, d.Settings.Stop = []preset.Variable{}, []string{}, []string{}
			}))},
		is{Name: "another slug renames", Given: given(), When: edit("voice", d),
			Then: []preset.Event{preset.Renamed{From: "tone", To: "voice", By: bob, At: at(1)}}},
		is{Name: "draft and slug change in one append", Given: given(), When: edit("voice", other),
			Then: []preset.Event{edited(other, "instructions", "tags"),
				preset.Renamed{From: "tone", To: "voice", By: bob, At: at(1)}}},
		is{Name: "a published preset is edited", Given: given(published(1, d)), When: edit("tone", other),
			Then: []preset.Event{edited(other, "instructions", "tags")}},
		is{Name: "a slug must be one", Given: given(), When: edit("a.b", d),
			Faults: []string{"slug: pattern"}},
		is{Name: "the faults of slug and draft are told at once", Given: given(),
			When: edit("-", instructions("")), Faults: []string{"slug: pattern", "instructions: required"}},
		is{Name: "a deleted preset takes no edit", Given: given(deleted), When: edit("tone", other),
			Refused: domain.ErrDeleted},
		is{Name: "one that is not there is not found", When: edit("tone", d), Refused: domain.ErrNotFound},
	)
}

func TestDelete(t *testing.T) {
	t.Parallel()
	remove := func(p preset.Preset) ([]preset.Event, error) { return p.Delete(bob, at(3)) }
	domaintest.Run(t,
		is{Name: "a preset is deleted", Given: given(), When: remove, Then: []preset.Event{deleted}},
		is{Name: "a deleted one stays deleted", Given: given(deleted), When: remove},
		is{Name: "one that is not there is not found", When: remove, Refused: domain.ErrNotFound},
	)
}

func TestRestore(t *testing.T) {
	t.Parallel()
	restored := preset.Restored{By: ann, At: at(4)}
	restore := func(p preset.Preset) ([]preset.Event, error) { return p.Restore(ann, at(4)) }
	domaintest.Run(t,
		is{Name: "a deleted preset is restored", Given: given(deleted), When: restore,
			Then: []preset.Event{restored}},
		is{Name: "one in use stays so", Given: given(), When: restore},
		is{Name: "a restored one stays restored", Given: given(deleted, restored), When: restore},
		is{Name: "one that is not there is not found", When: restore, Refused: domain.ErrNotFound},
	)
}

func TestStatus(t *testing.T) {
	t.Parallel()
	for want, events := range map[string][]preset.Event{
		"draft":     given(),
		"published": given(published(1, draft(nil))),
		"deleted":   given(published(1, draft(nil)), deleted),
	} {
		if got := domaintest.Fold[preset.Preset](events...).Status(); got != want {
			t.Errorf("it is %s, want %s", got, want)
		}
	}
}

// TestStatesDoNotShareVersions: two states that go on from the same one do not write into each other.
func TestStatesDoNotShareVersions(t *testing.T) {
	t.Parallel()
	p := domaintest.Fold[preset.Preset](given(published(1, draft(nil)))...)
	for n := 2; n < 10; n++ {
		one := p.Evolve(preset.Published{Version: n, Hash: "one"})
		other := p.Evolve(preset.Published{Version: n, Hash: "other"})
		if one.Content(n).Hash != "one" || other.Content(n).Hash != "other" {
			t.Fatalf("version %d is %s", n, one.Content(n).Hash)
		}
		p = one
	}
}

func TestWhoTouchedIt(t *testing.T) {
	t.Parallel()
	p := domaintest.Fold[preset.Preset](given(edited(instructions("Be brief."), "instructions"))...)
	if p.UpdatedBy != bob || !p.UpdatedAt.Equal(at(1)) || !p.CreatedAt.Equal(noon) {
		t.Errorf("updated by %s at %s", p.UpdatedBy, p.UpdatedAt)
	}
	p = p.Evolve(preset.Published{Version: 1, Hash: p.DraftHash, By: ann, At: at(2)})
	p = p.Evolve(preset.Labeled{Label: "beta", Version: 1, By: bob, At: at(5)})
	if p.UpdatedBy != ann || !p.UpdatedAt.Equal(at(2)) {
		t.Error("a label that moves is no update of the preset")
	}
}
