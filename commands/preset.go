package commands

import (
	"context"
	"strconv"

	"prelude/domain"
	"prelude/domain/preset"
	"prelude/internal/authz"
	"prelude/internal/eventlog"
)

// Presets handles the commands about presets.
type Presets struct{ *Engine }

// Preset is what a command about a preset leaves.
type Preset = Left[preset.Preset]

// CreatePreset asks for a preset.
type CreatePreset struct {
	Scope preset.Scope
	Slug  string
	Draft preset.Draft
}

// Create handles [CreatePreset]: it claims the slug, then creates the preset. A repeat completes a half.
func (h Presets) Create(ctx context.Context, cmd CreatePreset, meta Meta) (Preset, error) {
	id := domain.PresetID(meta.derive(domain.PresetPrefix, 0))
	n := preset.New{ID: id, Org: meta.By.Org, Scope: cmd.Scope, Owner: meta.By.User,
		Slug: cmd.Slug, Draft: cmd.Draft}
	thing := authz.Thing{Org: n.Org, Owner: n.Owner, Scope: string(n.Scope)}
	stream := eventlog.PresetStream(n.Org, id)
	meta = meta.Step("create").creating()
	return transact(ctx, h.Engine, stream, meta, func(p preset.Preset, m *Meta) ([]preset.Event, error) {
		if n.Scope != preset.UserScope && n.Scope != preset.OrgScope {
			return p.Create(n, h.window(n.Draft.Model), h.Now()) // which refuses it
		}
		var err error
		if m.rule, err = authz.May(m.By, authz.CreatePreset, thing); err != nil {
			return nil, err
		}
		events, err := p.Create(n, h.window(n.Draft.Model), h.Now())
		if err != nil || len(events) == 0 {
			return nil, err
		}
		return events, h.take(ctx, presetClaim(n.Org, n.Scope, n.Owner, n.Slug), string(id), meta)
	})
}

// window is that of a model in tokens; 0: there is no such model.
func (e *Engine) window(model string) int {
	route, ok := e.Models.Route(model)
	if !ok {
		return 0
	}
	return route.WindowTokens
}

// EditPreset asks for another draft, or another slug. Change is given what there is.
type EditPreset struct {
	Preset domain.PresetID
	Change func(slug string, d preset.Draft) (string, preset.Draft, error)
}

// Edit handles [EditPreset]. A new slug is claimed first; the old one leads to the preset until another
// claims it.
func (h Presets) Edit(ctx context.Context, cmd EditPreset, meta Meta) (Preset, error) {
	var from, to eventlog.Stream
	left, err := h.change(ctx, cmd.Preset, authz.ChangePreset, meta.Step("edit"),
		func(p preset.Preset, m *Meta) ([]preset.Event, error) {
			from = presetClaim(p.Org, p.Scope, p.Owner, p.Slug)
			if err := m.MatchETag(p.ETag()); err != nil {
				return nil, err
			}
			slug, draft, err := cmd.Change(p.Slug, p.Draft)
			if err != nil {
				return nil, err
			}
			events, err := p.Edit(slug, draft, h.window(draft.Model), m.By.User, h.Now())
			if err != nil {
				return nil, err
			}
			if to = presetClaim(p.Org, p.Scope, p.Owner, slug); to != from {
				err = h.take(ctx, to, string(cmd.Preset), *m)
			}
			return events, err
		})
	if err == nil && left.Replayed {
		err = eventlog.Unchanged(ctx, func(bool) (err error) {
			from, to, err = h.moved(ctx, left.State, meta.Step("edit"))
			return err
		})
	}
	if err == nil && to != from {
		err = h.release(ctx, from, string(cmd.Preset), 0, meta)
	}
	return left, err
}

// moved finds the slug that a step let go of, when it was done before: a crash may lie between that and the
// release. Both are the same where the step moved none, or where the preset has come back to it.
func (h Presets) moved(ctx context.Context, p preset.Preset, step Meta) (from, to eventlog.Stream, err error) {
	to = presetClaim(p.Org, p.Scope, p.Owner, p.Slug)
	stream, found := eventlog.PresetStream(p.Org, p.ID), false
	for rec, err := range h.Log.Read(ctx, stream, eventlog.Last, eventlog.Backwards) {
		if err != nil {
			return to, to, err
		}
		if rec.Meta.Step != step.stepID() {
			if found {
				break // a step's events are one append
			}
			continue
		}
		found = true
		if e, ok := rec.Event.(preset.Renamed); ok {
			return presetClaim(p.Org, p.Scope, p.Owner, e.From), to, nil
		}
	}
	return to, to, nil
}

// change runs a decision on a preset that the caller may see, if verb is allowed.
func (h Presets) change(ctx context.Context, id domain.PresetID, verb authz.Verb, meta Meta,
	decide func(preset.Preset, *Meta) ([]preset.Event, error)) (Preset, error) {
	stream := eventlog.PresetStream(meta.By.Org, id)
	return transact(ctx, h.Engine, stream, meta, func(p preset.Preset, m *Meta) ([]preset.Event, error) {
		if !p.Exists() {
			return nil, domain.ErrNotFound
		}
		var err error
		if m.rule, err = authz.May(m.By, verb, presetThing(p)); err != nil {
			return nil, err
		}
		return decide(p, m)
	})
}

func presetThing(p preset.Preset) authz.Thing {
	return authz.Thing{Org: p.Org, Owner: p.Owner, Scope: string(p.Scope)}
}

// PublishPreset asks to make the draft a version.
type PublishPreset struct {
	Preset domain.PresetID
	Note   string
	Labels []string
	Hash   domain.Hash // what the draft must be; empty: any
}

// Publish handles [PublishPreset]. What is left began with preset.published where there is a version more.
func (h Presets) Publish(ctx context.Context, cmd PublishPreset, meta Meta) (Preset, error) {
	return h.change(ctx, cmd.Preset, authz.ChangePreset, meta.Step("publish"),
		func(p preset.Preset, m *Meta) ([]preset.Event, error) {
			if err := m.MatchETag(p.ETag()); err != nil {
				return nil, err
			}
			change, protected := m.rule, ""
			for _, l := range cmd.Labels {
				if err := mayMove(m, l, p); err != nil {
					return nil, err
				}
				if m.rule != change {
					protected = "+" + m.rule // both rules were needed
				}
			}
			m.rule = change + protected
			return p.Publish(cmd.Note, cmd.Labels, cmd.Hash, m.By.User, h.Now())
		})
}

// mayMove asks for the right to move a label: a protected one by its own rule, any other by the right to
// change the preset.
func mayMove(m *Meta, label string, p preset.Preset) error {
	verb := authz.ChangePreset
	if label == preset.Production {
		verb = authz.ProtectLabel
	}
	var err error
	m.rule, err = authz.May(m.By, verb, presetThing(p))
	return err
}

// LabelPreset asks to point a label at a version; 0: nowhere.
type LabelPreset struct {
	Preset  domain.PresetID
	Label   string
	Version int
	Note    string
}

// Label handles [LabelPreset]. The label's ETag is the version that it points at.
func (h Presets) Label(ctx context.Context, cmd LabelPreset, meta Meta) (Preset, error) {
	return h.change(ctx, cmd.Preset, authz.SeePreset, meta.Step("label"),
		func(p preset.Preset, m *Meta) ([]preset.Event, error) {
			if err := mayMove(m, cmd.Label, p); err != nil {
				return nil, err
			}
			if err := m.MatchETag(LabelETag(p.Labels[cmd.Label])); err != nil {
				return nil, err
			}
			if cmd.Version == 0 {
				return p.Unlabel(cmd.Label, m.By.User, h.Now())
			}
			return p.Label(cmd.Label, cmd.Version, cmd.Note, m.By.User, h.Now())
		})
}

// Delete takes a preset out of use; its slug is free for others after 30 days.
func (h Presets) Delete(ctx context.Context, id domain.PresetID, meta Meta) (Preset, error) {
	left, err := h.change(ctx, id, authz.ChangePreset, meta.Step("delete"),
		func(p preset.Preset, m *Meta) ([]preset.Event, error) {
			if err := m.MatchETag(p.ETag()); err != nil {
				return nil, err
			}
			return p.Delete(m.By.User, h.Now())
		})
	// A repeat releases too: a crash may lie between the two.
	if p := left.State; err == nil && p.DeletedAt != nil {
		err = h.release(ctx, presetClaim(p.Org, p.Scope, p.Owner, p.Slug), string(id), freeAfter, meta)
	}
	return left, err
}

// Restore puts a preset back in use, if its slug is still its own.
func (h Presets) Restore(ctx context.Context, id domain.PresetID, meta Meta) (Preset, error) {
	return h.change(ctx, id, authz.ChangePreset, meta.Step("restore"),
		func(p preset.Preset, m *Meta) ([]preset.Event, error) {
			events, err := p.Restore(m.By.User, h.Now())
			if err == nil && len(events) > 0 {
				err = h.take(ctx, presetClaim(p.Org, p.Scope, p.Owner, p.Slug), string(id), *m)
			}
			return events, err
		})
}

// LabelETag is the ETag of a label that points at a version.
func LabelETag(version int) string {
	if version == 0 {
		return ""
	}
	return "v" + strconv.Itoa(version)
}

// ResolvePreset finds the preset that a path or a body names: by id, or by a name without a selector.
func (h Presets) ResolvePreset(ctx context.Context, who domain.Principal, ref string,
) (domain.PresetID, error) {
	if domain.ValidID(domain.PresetPrefix, ref) {
		return domain.PresetID(ref), nil
	}
	n, ok := ParseName(ref)
	switch {
	case !ok:
		return "", domain.ErrNotFound
	case n.Selector != "":
		return "", errSelector
	}
	return h.Resolve(ctx, who, n)
}

var errSelector = (&domain.Error{Kind: domain.Invalid, Code: "selector_not_allowed",
	Detail: "A name in a path has no selector."}).With("path.id")
