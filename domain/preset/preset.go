// Package preset is a named, versioned system prompt with model settings. It decides what a draft
// may be, when it becomes a version, and where labels point.
package preset

import (
	"maps"
	"slices"
	"time"

	"prelude/domain"
)

// Preset is what a preset's events leave. Its zero value does not exist yet. Events must be opened
// before they are folded: the draft holds texts.
type Preset struct {
	ID         domain.PresetID
	Org        domain.OrgID
	Scope      Scope
	Owner      domain.UserID
	Slug       string
	Draft      Draft
	DraftHash  domain.Hash
	Versions   []Version       // by number, from 1
	Labels     map[string]int  // without latest
	LabelMoves map[string]Move // how each label came to where it is
	CreatedAt  time.Time
	UpdatedBy  domain.UserID
	UpdatedAt  time.Time
	DeletedAt  *time.Time
}

// Version is an immutable draft. Its content is not part of the JSON of a preset.
type Version struct {
	Number  int
	Hash    domain.Hash
	Content *Draft `json:"-"`
	Note    string
	By      domain.UserID
	At      time.Time
}

// Move says who pointed a label where it points, and why.
type Move struct {
	Note string
	By   domain.UserID
	At   time.Time
}

// Evolve returns p as e left it. It cannot refuse: e has happened.
func (p Preset) Evolve(e Event) Preset {
	switch e := e.(type) {
	case Created:
		p.ID, p.Org, p.Scope, p.Owner, p.Slug = e.Preset, e.Org, e.Scope, e.Owner, e.Slug
		p.Draft, p.DraftHash, p.CreatedAt = e.Content.draft(), e.Hash, e.At
		return p.touched(e.Owner, e.At)
	case Edited:
		p.Draft, p.DraftHash = e.Content.draft(), e.Hash
		return p.touched(e.By, e.At)
	case Renamed:
		p.Slug = e.To
		return p.touched(e.By, e.At)
	case Published:
		draft := p.Draft
		p.Versions = append(slices.Clip(p.Versions),
			Version{Number: e.Version, Hash: e.Hash, Content: &draft, Note: e.Note.Text, By: e.By, At: e.At})
		return p.touched(e.By, e.At)
	case Labeled:
		p.Labels = with(p.Labels, e.Label, e.Version)
		p.LabelMoves = with(p.LabelMoves, e.Label, Move{e.Note.Text, e.By, e.At})
	case Unlabeled:
		p.Labels = with(p.Labels, e.Label, 0)
		p.LabelMoves = with(p.LabelMoves, e.Label, Move{})
	case Deleted:
		at := e.At
		p.DeletedAt = &at
		return p.touched(e.By, e.At)
	case Restored:
		p.DeletedAt = nil
		return p.touched(e.By, e.At)
	}
	return p
}

func (p Preset) touched(by domain.UserID, at time.Time) Preset {
	p.UpdatedBy, p.UpdatedAt = by, at
	return p
}

// with is a copy of a map with one value set, or taken away where it is zero.
func with[V comparable](values map[string]V, key string, value V) map[string]V {
	out := maps.Clone(values)
	if out == nil {
		out = map[string]V{}
	}
	var zero V
	if out[key] = value; value == zero {
		delete(out, key)
	}
	return out
}

// Exists says whether the preset was ever created.
func (p Preset) Exists() bool { return p.ID != "" }

// Version is the highest version; 0: none.
func (p Preset) Version() int { return len(p.Versions) }

// Status is draft, published or deleted.
func (p Preset) Status() string {
	switch {
	case p.DeletedAt != nil:
		return "deleted"
	case p.Version() > 0:
		return "published"
	}
	return "draft"
}

// Content is version n; nil: there is none.
func (p Preset) Content(n int) *Version {
	if n < 1 || n > len(p.Versions) {
		return nil
	}
	return &p.Versions[n-1]
}

// Size is about how many bytes the preset takes in memory.
func (p Preset) Size() int {
	n := p.Draft.size()
	for _, v := range p.Versions {
		n += v.Content.size()
	}
	return n
}

func (d *Draft) size() int {
	n := 256
	if d != nil {
		n += len(d.Name) + len(d.Description) + len(d.Instructions)
		for _, v := range d.Variables {
			n += len(v.Default) + len(v.Description) + 128
		}
	}
	return n
}

// ETag names the editable content: all that a patch can change.
func (p Preset) ETag() string {
	return domain.HashOf(struct {
		Slug  string
		Draft Draft
	}{p.Slug, p.Draft}).ETag()
}
