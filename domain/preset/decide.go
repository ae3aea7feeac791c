package preset

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"prelude/domain"
)

// The refusals of presets.
var (
	ErrNotPublished = &domain.Error{Kind: domain.Invalid, Code: "not_published",
		Detail: "The preset has no version yet: publish it first."}
	ErrNoVersion = &domain.Error{Kind: domain.Invalid, Code: "unknown_version",
		Detail: "The preset has no such version."}
	ErrNoLabel = &domain.Error{Kind: domain.NotFound, Code: "not_found",
		Detail: "The preset has no such label."}
	ErrHash = &domain.Error{Kind: domain.Conflict, Code: "content_changed",
		Detail: "The draft is not the one whose content hash was sent."}
)

// New is what a preset is to be.
type New struct {
	ID    domain.PresetID
	Org   domain.OrgID
	Scope Scope
	Owner domain.UserID
	Slug  string
	Draft Draft
}

// Create decides that the preset exists. Window is that of its model in tokens; 0: no such model.
func (p Preset) Create(n New, window int, at time.Time) ([]Event, error) {
	if p.Exists() {
		return nil, nil
	}
	if err := n.check(window); err != nil {
		return nil, err
	}
	return []Event{Created{
		Preset: n.ID, Org: n.Org, Scope: n.Scope, Owner: n.Owner, Slug: n.Slug,
		Content: n.Draft.content(n.Org), Hash: n.Draft.Hash(), At: at,
	}}, nil
}

func (n New) check(window int) error {
	var f domain.Faults
	checkSlug(&f, n.Slug)
	if n.Scope != UserScope && n.Scope != OrgScope {
		f.Add("scope", "enum", "must be user or org")
	}
	n.Draft.check(&f, window)
	return f.Err()
}

func checkSlug(f *domain.Faults, slug string) {
	if !domain.ValidSlug(slug) {
		f.Add("slug", "pattern", "must be "+domain.SlugRule)
	}
}

// Edit decides that the draft and the slug are to be these.
func (p Preset) Edit(slug string, d Draft, window int, by domain.UserID, at time.Time,
) ([]Event, error) {
	if err := p.writable(); err != nil {
		return nil, err
	}
	var f domain.Faults
	checkSlug(&f, slug)
	d.check(&f, window)
	if err := f.Err(); err != nil {
		return nil, err
	}
	var events []Event
	if fields := d.differs(p.Draft); len(fields) > 0 {
		events = append(events, Edited{
			Fields: fields, Content: d.content(p.Org), Hash: d.Hash(), By: by, At: at,
		})
	}
	if slug != p.Slug {
		events = append(events, Renamed{From: p.Slug, To: slug, By: by, At: at})
	}
	return events, nil
}

func (p Preset) writable() error {
	switch {
	case !p.Exists():
		return domain.ErrNotFound
	case p.DeletedAt != nil:
		return domain.ErrDeleted
	}
	return nil
}

// Publish decides to make the draft a version and to point labels at it. Hash, where it is not
// empty, is what the draft must be. A draft that is the newest version already makes no new one.
func (p Preset) Publish(note string, labels []string, hash domain.Hash, by domain.UserID,
	at time.Time) ([]Event, error) {
	if err := p.writable(); err != nil {
		return nil, err
	}
	if err := checkLabels(note, labels); err != nil {
		return nil, err
	}
	if hash != "" && hash != p.DraftHash {
		return nil, ErrHash
	}
	var events []Event
	version := p.Version()
	if version == 0 || p.Versions[version-1].Hash != p.DraftHash {
		version++
		events = append(events, Published{
			Version: version, Hash: p.DraftHash, Note: p.note(note), By: by, At: at,
		})
	}
	for _, l := range slices.Compact(slices.Sorted(slices.Values(labels))) {
		if p.Labels[l] != version {
			events = append(events, Labeled{
				Label: l, Version: version, From: p.Labels[l], Note: p.note(note), By: by, At: at,
			})
		}
	}
	return events, nil
}

func checkLabels(note string, labels []string) error {
	var f domain.Faults
	f.Text("note", note, maxNote)
	if len(labels) > maxTags {
		f.Add("labels", "too_many", fmt.Sprintf("must be at most %d", maxTags))
	}
	for i, l := range labels {
		if !ValidLabel(l) || l == Latest {
			f.Add(fmt.Sprintf("labels[%d]", i), "pattern", labelRule)
		}
	}
	return f.Err()
}

func (p Preset) note(s string) domain.Secret {
	if s == "" {
		return domain.Secret{}
	}
	return domain.Seal(domain.OrgKey(p.Org), s)
}

// Label decides that a label points at a version.
func (p Preset) Label(label string, version int, note string, by domain.UserID, at time.Time,
) ([]Event, error) {
	if err := p.writable(); err != nil {
		return nil, err
	}
	var f domain.Faults
	if !ValidLabel(label) || label == Latest {
		f.Add("path.label", "pattern", labelRule)
	}
	f.Text("note", note, maxNote)
	if err := f.Err(); err != nil {
		return nil, err
	}
	if p.Content(version) == nil {
		return nil, ErrNoVersion.With("version")
	}
	if p.Labels[label] == version {
		return nil, nil
	}
	return []Event{Labeled{
		Label: label, Version: version, From: p.Labels[label], Note: p.note(note), By: by, At: at,
	}}, nil
}

// Unlabel decides that a label points nowhere.
func (p Preset) Unlabel(label string, by domain.UserID, at time.Time) ([]Event, error) {
	if err := p.writable(); err != nil {
		return nil, err
	}
	if !ValidLabel(label) || label == Latest {
		var f domain.Faults
		f.Add("path.label", "pattern", labelRule)
		return nil, f.Err()
	}
	from := p.Labels[label]
	if from == 0 {
		return nil, nil
	}
	return []Event{Unlabeled{Label: label, From: from, By: by, At: at}}, nil
}

// Delete decides that the preset is out of use.
func (p Preset) Delete(by domain.UserID, at time.Time) ([]Event, error) {
	switch {
	case !p.Exists():
		return nil, domain.ErrNotFound
	case p.DeletedAt != nil:
		return nil, nil
	}
	return []Event{Deleted{By: by, At: at}}, nil
}

// Restore decides that the preset is in use again.
func (p Preset) Restore(by domain.UserID, at time.Time) ([]Event, error) {
	switch {
	case !p.Exists():
		return nil, domain.ErrNotFound
	case p.DeletedAt == nil:
		return nil, nil
	}
	return []Event{Restored{By: by, At: at}}, nil
}

// Latest is the label that always points at the highest version and cannot be set.
const Latest = "latest"

// Production is the label that a name without a selector means, where it exists.
const Production = "production"

const labelRule = "must begin with a–z, then a–z, 0–9 and -, at most 63, and not be latest, " +
	"draft or v<digits>"

// ValidLabel says whether l can be a label's name; latest is one.
func ValidLabel(l string) bool {
	if !domain.ValidSlug(l) || l[0] < 'a' || l == "draft" {
		return false
	}
	digits, v := strings.CutPrefix(l, "v")
	return !v || digits == "" || strings.Trim(digits, "0123456789") != ""
}

// AllLabels are the labels with their versions, latest among them.
func (p Preset) AllLabels() map[string]int {
	all := maps.Clone(p.Labels)
	if all == nil {
		all = map[string]int{}
	}
	if v := p.Version(); v > 0 {
		all[Latest] = v
	}
	return all
}

// Select finds the version that a selector means: v<number>, a label, or none, which is production
// where that label exists and else the highest version.
func (p Preset) Select(selector string) (*Version, error) {
	if p.Version() == 0 {
		return nil, ErrNotPublished
	}
	labels := p.AllLabels()
	n := labels[Latest]
	switch digits, v := strings.CutPrefix(selector, "v"); {
	case selector == "":
		if pinned := labels[Production]; pinned > 0 {
			n = pinned
		}
	case v && digits != "" && strings.Trim(digits, "0123456789") == "":
		n, _ = strconv.Atoi(digits) // a number too large to read is no version either
	default:
		n = labels[selector]
	}
	if version := p.Content(n); version != nil {
		return version, nil
	}
	return nil, ErrNoVersion
}
