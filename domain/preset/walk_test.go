package preset_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"prelude/domain"
	"prelude/domain/domaintest"
	"prelude/domain/preset"
)

// drafts are few, so that they recur, and some are invalid.
// The generators are made anew for each use: rapid's are not safe for tests that run at once.
func drafts() *rapid.Generator[preset.Draft] {
	return rapid.Custom(anyDraft)
}

func anyDraft(t *rapid.T) preset.Draft {
	d := draft(func(d *preset.Draft) {
		d.Name = rapid.SampledFrom([]string{"Tone", "Voice", ""}).Draw(t, "name")
		d.Instructions = rapid.SampledFrom([]string{"Be kind.", "Be {{how}}.", "{{", ""}).Draw(t, "text")
		d.Tags = rapid.SampledFrom([][]string{nil, {}, {"a"}, {"a", "b"}}).Draw(t, "tags")
		d.Locked = rapid.Bool().Draw(t, "locked")
		d.Settings.Stop = rapid.SampledFrom([][]string{nil, {}, {"."}}).Draw(t, "stop")
		d.Settings.Temperature = rapid.SampledFrom([]*float64{nil, new(0.5), new(2.1)}).Draw(t, "heat")
		d.Variables = rapid.SampledFrom([][]preset.Variable{
			nil, {}, {{Name: "how", Type: "string"}},
			{{Name: "how", Type: "string", Default: json.RawMessage(`"so"`)}}, {{Name: "How"}},
		}).Draw(t, "variables")
	})
	return d
}

func slugs() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{"tone", "voice", "Voice", ""})
}

func labels() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{"production", "beta", "latest", "v1", "draft"})
}

func notes() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{"", "why", "\x00"})
}

func anyDecision(t *rapid.T, step int) decision {
	when := at(step)
	switch rapid.IntRange(0, 8).Draw(t, "command") {
	case 0, 1:
		slug, d := slugs().Draw(t, "slug"), drafts().Draw(t, "draft")
		return func(p preset.Preset) ([]preset.Event, error) { return p.Edit(slug, d, window, bob, when) }
	case 2, 3:
		note, all := notes().Draw(t, "note"), rapid.SliceOfN(labels(), 0, 3).Draw(t, "labels")
		hash := rapid.SampledFrom([]domain.Hash{"", "", draft(nil).Hash()}).Draw(t, "hash")
		return func(p preset.Preset) ([]preset.Event, error) { return p.Publish(note, all, hash, bob, when) }
	case 4:
		label, note := labels().Draw(t, "label"), notes().Draw(t, "note")
		version := rapid.IntRange(-1, 4).Draw(t, "version")
		return func(p preset.Preset) ([]preset.Event, error) {
			return p.Label(label, version, note, bob, when)
		}
	case 5:
		label := labels().Draw(t, "label")
		return func(p preset.Preset) ([]preset.Event, error) { return p.Unlabel(label, bob, when) }
	case 6:
		return func(p preset.Preset) ([]preset.Event, error) { return p.Delete(bob, when) }
	case 7:
		return func(p preset.Preset) ([]preset.Event, error) { return p.Restore(ann, when) }
	}
	slug, d := slugs().Draw(t, "slug"), drafts().Draw(t, "draft")
	return create(slug, preset.OrgScope, d)
}

// invariants of a preset, whatever was decided:
//   - it exists from Created on, and id, org, scope, owner and birth never change;
//   - its draft has no faults, and the draft's hash is the recorded one;
//   - versions are 1 to n without a gap; each is the draft as it was when it was published, and none
//     changes afterwards;
//   - labels are valid, never latest, point at versions that exist, and each says who moved it last;
//   - a deleted preset takes no event but Restored;
//   - the ETag changes if slug or draft do, and only then.
func invariants(t *rapid.T, s domaintest.Step[preset.Preset, preset.Event]) {
	p := s.After
	if p.Exists() != (len(s.History) > 0) {
		t.Fatalf("it exists: %t, after %d events", p.Exists(), len(s.History))
	}
	if !p.Exists() {
		return
	}
	if p.ID != "prs_1" || p.Org != "org_1" || p.Owner != ann || p.Scope != preset.OrgScope ||
		!domain.ValidSlug(p.Slug) || s.Before.Exists() && !p.CreatedAt.Equal(s.Before.CreatedAt) {
		t.Fatalf("it became %+v", p)
	}
	if err := p.Draft.Check(window); err != nil {
		t.Fatalf("the draft has faults: %+v", err)
	}
	if p.DraftHash != p.Draft.Hash() {
		t.Fatalf("the draft's hash is %s, recorded is %s", p.Draft.Hash(), p.DraftHash)
	}
	versions(t, s)
	labelled(t, p)
	deletedTakesNoWrites(t, s)
	if same := equal(s.Before, p); s.Before.Exists() && (s.Before.ETag() == p.ETag()) != same {
		t.Fatalf("the editable content is the same: %t, its ETag: %t", same, !same)
	}
}

func versions(t *rapid.T, s domaintest.Step[preset.Preset, preset.Event]) {
	var p preset.Preset
	for i, v := range s.After.Versions {
		if v.Number != i+1 {
			t.Fatalf("version %d stands at place %d", v.Number, i+1)
		}
		if v.Content.Hash() != v.Hash {
			t.Fatalf("version %d is not what was published", v.Number)
		}
	}
	for _, e := range s.History {
		if pub, ok := e.(preset.Published); ok {
			if diff := cmp.Diff(&p.Draft, s.After.Content(pub.Version).Content); diff != "" {
				t.Fatalf("version %d (-as it was published +is):\n%s", pub.Version, diff)
			}
		}
		p = p.Evolve(e)
	}
}

func labelled(t *rapid.T, p preset.Preset) {
	for label, version := range p.Labels {
		if !preset.ValidLabel(label) || label == preset.Latest || p.Content(version) == nil {
			t.Fatalf("label %q points at %d of %d", label, version, p.Version())
		}
		if p.LabelMoves[label].By == "" {
			t.Fatalf("nobody moved the label %q", label)
		}
	}
	if len(p.LabelMoves) != len(p.Labels) {
		t.Fatalf("labels %v, moves %v", p.Labels, p.LabelMoves)
	}
}

func deletedTakesNoWrites(t *rapid.T, s domaintest.Step[preset.Preset, preset.Event]) {
	if s.Before.DeletedAt == nil {
		return
	}
	for _, e := range s.Events {
		if _, ok := e.(preset.Restored); !ok {
			t.Fatalf("a deleted preset took %T", e)
		}
	}
}

func equal(a, b preset.Preset) bool {
	return a.Slug == b.Slug && cmp.Equal(a.Draft, b.Draft, cmpopts.EquateEmpty())
}

func TestNoDecisionsBreakAPreset(t *testing.T) {
	t.Parallel()
	domaintest.Walk(t, func(t *rapid.T, step int) decision {
		if step == 1 {
			return create("tone", preset.OrgScope, draft(nil))
		}
		return anyDecision(t, step)
	}, invariants)
}

func TestNoDecisionMakesAPresetButItsCreation(t *testing.T) {
	t.Parallel()
	domaintest.Walk(t, anyDecision, func(t *rapid.T, s domaintest.Step[preset.Preset, preset.Event]) {
		if len(s.History) > 0 {
			if _, ok := s.History[0].(preset.Created); !ok {
				t.Fatalf("it began with %T", s.History[0])
			}
		}
		invariants(t, s)
	})
}
