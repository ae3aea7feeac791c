package preset_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"prelude/domain"
	"prelude/domain/domaintest"
	"prelude/domain/preset"
)

func publish(note string, hash domain.Hash, labels ...string) decision {
	return func(p preset.Preset) ([]preset.Event, error) {
		return p.Publish(note, labels, hash, bob, at(2))
	}
}

func TestPublish(t *testing.T) {
	t.Parallel()
	one, two := draft(nil), instructions("Be brief.")
	renamed := draft(func(d *preset.Draft) { d.Name, d.Tags = "Voice", []string{"x"} })
	edit := edited(two, "instructions")
	long := strings.Repeat("é", 2000)
	many := make([]string, 21)
	for i := range many {
		many[i] = fmt.Sprintf("l-%d", i)
	}
	domaintest.Run(t,
		is{Name: "a draft becomes version 1", Given: given(), When: publish("", ""),
			Then: []preset.Event{published(1, one)}},
		is{Name: "an edited one becomes version 2", Given: given(published(1, one), edit),
			When: publish("", ""), Then: []preset.Event{published(2, two)}},
		is{Name: "a draft that is the newest version makes none", Given: given(published(1, one)),
			When: publish("", "")},
		is{Name: "another name or tag makes no version",
			Given: given(published(1, one), edited(renamed, "name", "tags")), When: publish("", "")},
		is{Name: "going back to an older content makes a new version",
			Given: given(published(1, one), edit, published(2, two), edited(one, "instructions")),
			When:  publish("", ""), Then: []preset.Event{published(3, one)}},
		is{Name: "labels are pointed at it, each once and in order", Given: given(),
			When: publish("", "", "production", "beta", "production"),
			Then: []preset.Event{published(1, one), labeled("beta", 1, 0), labeled("production", 1, 0)}},
		is{Name: "without a new version labels still move",
			Given: given(published(1, one), edit, published(2, two), labeled("beta", 1, 0)),
			When:  publish("", "", "beta"), Then: []preset.Event{labeled("beta", 2, 1)}},
		is{Name: "a note is kept under the org's key", Given: given(), When: publish("why", "", "beta"),
			Then: []preset.Event{
				preset.Published{Version: 1, Hash: one.Hash(), Note: sealed("why"), By: bob, At: at(2)},
				preset.Labeled{Label: "beta", Version: 1, Note: sealed("why"), By: bob, At: at(2)},
			}},
		is{Name: "the content that was looked at is published", Given: given(),
			When: publish("", one.Hash()), Then: []preset.Event{published(1, one)}},
		is{Name: "another content than was looked at is not", Given: given(edit),
			When: publish("", one.Hash()), Refused: preset.ErrHash},
		is{Name: "a note of 2000 characters is taken", Given: given(published(1, one)),
			When: publish(long, "")},
		is{Name: "a note of 2001 is not", Given: given(), When: publish(long+"x", ""),
			Faults: []string{"note: too_long"}},
		is{Name: "a note has no NUL", Given: given(), When: publish("\x00", ""),
			Faults: []string{"note: nul"}},
		is{Name: "a note is UTF-8", Given: given(), When: publish("\xff", ""),
			Faults: []string{"note: encoding"}},
		is{Name: "21 labels are too many", Given: given(), When: publish("", "", many...),
			Faults: []string{"labels: too_many"}},
		is{Name: "labels that are none are told by their place", Given: given(),
			When: publish("", "", "beta", "latest", "v3", "draft", "Beta"), Faults: []string{
				"labels[1]: pattern", "labels[2]: pattern", "labels[3]: pattern", "labels[4]: pattern"}},
		is{Name: "a deleted preset is not published", Given: given(deleted), When: publish("", ""),
			Refused: domain.ErrDeleted},
		is{Name: "one that is not there is not found", When: publish("", ""), Refused: domain.ErrNotFound},
	)
}

func TestLabel(t *testing.T) {
	t.Parallel()
	label := func(label string, version int, note string) decision {
		return func(p preset.Preset) ([]preset.Event, error) {
			return p.Label(label, version, note, bob, at(2))
		}
	}
	two := instructions("Be brief.")
	versions := given(published(1, draft(nil)), edited(two, "instructions"), published(2, two))
	domaintest.Run(t,
		is{Name: "a label is pointed at a version", Given: versions, When: label("beta", 1, ""),
			Then: []preset.Event{labeled("beta", 1, 0)}},
		is{Name: "it moves, and says from where", Given: append(versions, labeled("beta", 1, 0)),
			When: label("beta", 2, ""), Then: []preset.Event{labeled("beta", 2, 1)}},
		is{Name: "one that points there already stays", Given: append(versions, labeled("beta", 1, 0)),
			When: label("beta", 1, "why")},
		is{Name: "version 0 is none", Given: versions, When: label("beta", 0, ""),
			Refused: preset.ErrNoVersion},
		is{Name: "a version that is not there is refused", Given: versions, When: label("beta", 3, ""),
			Refused: preset.ErrNoVersion},
		is{Name: "latest moves by itself", Given: versions, When: label("latest", 1, ""),
			Faults: []string{"path.label: pattern"}},
		is{Name: "a label is not a version's name", Given: versions, When: label("v3", 1, ""),
			Faults: []string{"path.label: pattern"}},
		is{Name: "a note of 2001 characters is too long", Given: versions,
			When:   label("beta", 1, strings.Repeat("x", 2001)),
			Faults: []string{"note: too_long"}},
		is{Name: "a deleted preset takes no label", Given: append(versions, deleted),
			When: label("beta", 1, ""), Refused: domain.ErrDeleted},
		is{Name: "one that is not there is not found", When: label("beta", 1, ""),
			Refused: domain.ErrNotFound},
	)
}

func TestUnlabel(t *testing.T) {
	t.Parallel()
	unlabel := func(p preset.Preset) ([]preset.Event, error) { return p.Unlabel("beta", bob, at(4)) }
	with := given(published(1, draft(nil)), labeled("beta", 1, 0))
	unlabeled := preset.Unlabeled{Label: "beta", From: 1, By: bob, At: at(4)}
	domaintest.Run(t,
		is{Name: "a label is taken away", Given: with, When: unlabel, Then: []preset.Event{unlabeled}},
		is{Name: "one that is not there stays so", Given: given(), When: unlabel},
		is{Name: "a deleted preset keeps its labels", Given: append(with, deleted), When: unlabel,
			Refused: domain.ErrDeleted},
		is{Name: "of what is not there none is found", When: unlabel, Refused: domain.ErrNotFound},
	)
	p := domaintest.Fold[preset.Preset](append(with, unlabeled)...)
	if len(p.Labels) > 0 || len(p.LabelMoves) > 0 {
		t.Errorf("labels are %v, their moves %v", p.Labels, p.LabelMoves)
	}
}

func TestValidLabel(t *testing.T) {
	t.Parallel()
	for label, want := range map[string]bool{
		"production": true, "latest": true, "a": true, "v": true, "v-3": true, "v3a": true, "vnext": true,
		strings.Repeat("a", 63): true, strings.Repeat("a", 64): false, "": false, "v3": false,
		"v0": false, "v01": false, "draft": false, "Beta": false, "2nd": false, "-a": false, "a.b": false,
		"a b": false, "a\x00": false, "é": false, "a\xff": false,
	} {
		if got := preset.ValidLabel(label); got != want {
			t.Errorf("ValidLabel(%q) is %t", label, got)
		}
	}
}

func TestSelect(t *testing.T) {
	t.Parallel()
	events := given()
	for n := 1; n <= 12; n++ {
		d := instructions(fmt.Sprintf("Version %d.", n))
		events = append(events, edited(d, "instructions"), published(n, d))
	}
	plain := domaintest.Fold[preset.Preset](events...)
	pinned := domaintest.From(plain, labeled("beta", 3, 0), labeled("production", 2, 0))
	for _, c := range []struct {
		name, selector string
		of             preset.Preset
		want           int // 0: there is none
	}{
		{"none is the highest", "", plain, 12},
		{"none is production where that is", "", pinned, 2},
		{"latest is the highest", "latest", pinned, 12},
		{"a label is where it points", "beta", pinned, 3},
		{"an unknown label is none", "gamma", pinned, 0},
		{"draft is none", "draft", pinned, 0},
		{"a number is that version", "v10", plain, 10},
		{"a number is decimal", "v012", plain, 12},
		{"version 0 is none", "v0", plain, 0},
		{"beyond the highest is none", "v13", plain, 0},
		{"a number beyond all is none", "v" + strings.Repeat("9", 30), plain, 0},
		{"v alone is a label", "v", plain, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v, err := c.of.Select(c.selector)
			if c.want == 0 {
				domaintest.Refused(t, err, preset.ErrNoVersion)
				return
			}
			if err != nil || v.Number != c.want {
				t.Fatalf("got %+v, %v", v, err)
			}
			if want := fmt.Sprintf("Version %d.", c.want); v.Content.Instructions != want {
				t.Errorf("it holds %q", v.Content.Instructions)
			}
		})
	}
	_, err := domaintest.Fold[preset.Preset](given()...).Select("")
	if !errors.Is(err, preset.ErrNotPublished) {
		t.Errorf("a preset without a version gives %v", err)
	}
}

func TestAllLabels(t *testing.T) {
	t.Parallel()
	if got := domaintest.Fold[preset.Preset](given()...).AllLabels(); len(got) > 0 {
		t.Errorf("a draft has %v", got)
	}
	p := domaintest.Fold[preset.Preset](given(published(1, draft(nil)), labeled("beta", 1, 0))...)
	if diff := cmp.Diff(map[string]int{"beta": 1, "latest": 1}, p.AllLabels()); diff != "" {
		t.Error(diff)
	}
	if len(p.Labels) != 1 {
		t.Error("latest became a label of the state")
	}
}
