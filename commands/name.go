package commands

import (
	"context"
	"strings"

	"prelude/domain"
	"prelude/domain/claim"
	"prelude/domain/preset"
	"prelude/internal/eventlog"
)

// ErrUnknownPreset is the refusal of a name that leads to no preset that the caller may see.
var ErrUnknownPreset = &domain.Error{Kind: domain.Invalid, Code: "unknown_preset",
	Detail: "There is no such preset, or it is not yours to see."}

// Name is a preset as people name it: [namespace/]slug[@selector].
type Name struct {
	Own      bool // ~/: the caller's
	Slug     string
	Selector string
}

// ParseName reads a name. The namespaces of teams, of other users and of other orgs lead nowhere.
func ParseName(s string) (Name, bool) {
	base, selector, has := strings.Cut(s, "@")
	if has && selector == "" || has && strings.HasPrefix(s, "@") {
		return Name{}, false
	}
	n := Name{Slug: base, Selector: selector}
	if rest, own := strings.CutPrefix(base, "~/"); own {
		n.Own, n.Slug = true, rest
	}
	return n, domain.ValidSlug(n.Slug) && (!has || validSelector(selector))
}

func validSelector(s string) bool {
	digits, v := strings.CutPrefix(s, "v")
	if v && digits != "" && strings.Trim(digits, "0123456789") == "" {
		return true
	}
	return preset.ValidLabel(s)
}

// String is the name without its selector.
func (n Name) String() string {
	if n.Own {
		return "~/" + n.Slug
	}
	return n.Slug
}

// Resolve finds the preset that has a name now. A slug that was renamed away still leads to its preset until
// another claims it. It reads the claim itself, so it sees a preset as soon as it is there.
func (e *Engine) Resolve(ctx context.Context, who domain.Principal, n Name) (domain.PresetID, error) {
	scope := preset.OrgScope
	if n.Own {
		scope = preset.UserScope
	}
	f, err := load[claim.Claim, claim.Event](ctx, e, presetClaim(who.Org, scope, who.User, n.Slug), false)
	if err == nil && f.State.Thing == "" && f.cached {
		f, err = load[claim.Claim, claim.Event](ctx, e, presetClaim(who.Org, scope, who.User, n.Slug), true)
	}
	if err != nil {
		return "", err
	}
	if f.State.Thing == "" {
		return "", domain.ErrNotFound
	}
	return domain.PresetID(f.State.Thing), nil
}

// preset loads a preset that the caller names by its id.
func (e *Engine) preset(ctx context.Context, o domain.OrgID, id domain.PresetID) (preset.Preset, error) {
	f, err := load[preset.Preset, preset.Event](ctx, e, eventlog.PresetStream(o, id), false)
	return f.State, err
}
