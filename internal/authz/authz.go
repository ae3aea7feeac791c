// Package authz says who may do what: one table of role × verb, where each line has a name. What no
// line allows is denied. What is consistent is not decided here, but by the aggregates.
package authz

import (
	"slices"

	"prelude/domain"
)

// Verb is something that somebody may be allowed to do.
type Verb string

// The verbs.
const (
	SeePreset    Verb = "see_preset"
	UsePreset    Verb = "use_preset" // in a session or a completion; render
	CreatePreset Verb = "create_preset"
	ChangePreset Verb = "change_preset" // edit, publish, label, delete, restore
	ProtectLabel Verb = "move_protected_label"
	StartSession Verb = "start_session" // and call a model without one
	UseSession   Verb = "use_session"   // see, post, apply, rename, delete, restore, cancel
	SeeUsers     Verb = "see_users"
	AddUser      Verb = "add_user"
	AddOwner     Verb = "add_owner"
	EraseUser    Verb = "erase_user"
	EraseOwner   Verb = "erase_owner"
	OwnKey       Verb = "own_key"
	OthersKey    Verb = "others_key"
	OwnersKey    Verb = "owners_key" // others' keys, where they are an owner's
	SeeAudit     Verb = "see_audit"  // audit, feed, usage
	SeeReaders   Verb = "see_readers"
	Unpark       Verb = "unpark" // a stream of the org
)

// Thing is what the verb is about, as far as rules ask.
type Thing struct {
	Org   domain.OrgID
	Owner domain.UserID
	Scope string // of a preset: user or org
}

const userScope = "user"

type line struct {
	rule  string
	verb  Verb
	roles []domain.Role
	own   bool   // only the thing's owner
	other bool   // anyone but the thing's owner
	scope string // of a preset; empty: any
}

var (
	all     = []domain.Role{domain.Owner, domain.Admin, domain.Reviewer, domain.Member, domain.Auditor}
	workers = []domain.Role{domain.Owner, domain.Admin, domain.Reviewer, domain.Member}
	heads   = []domain.Role{domain.Owner, domain.Admin}
)

// table is the whole of who may do what.
var table = []line{
	{rule: "org_preset_seen_by_org", verb: SeePreset, roles: all, scope: "org"},
	{rule: "org_preset_used_by_org", verb: UsePreset, roles: workers, scope: "org"},
	{rule: "org_preset_created", verb: CreatePreset, roles: workers, own: true, scope: "org"},
	{rule: "org_preset_changed_by_heads", verb: ChangePreset, roles: heads, scope: "org"},
	{rule: "org_preset_changed_by_owner", verb: ChangePreset, roles: workers, own: true, scope: "org"},
	{rule: "protected_label_moved", verb: ProtectLabel, scope: "org",
		roles: []domain.Role{domain.Owner, domain.Admin, domain.Reviewer}},
	{rule: "user_preset_is_its_owners", verb: SeePreset, roles: all, own: true, scope: userScope},
	{rule: "user_preset_is_its_owners", verb: UsePreset, roles: all, own: true, scope: userScope},
	{rule: "user_preset_is_its_owners", verb: CreatePreset, roles: all, own: true, scope: userScope},
	{rule: "user_preset_is_its_owners", verb: ChangePreset, roles: all, own: true, scope: userScope},
	{rule: "user_preset_is_its_owners", verb: ProtectLabel, roles: all, own: true, scope: userScope},
	{rule: "session_started", verb: StartSession, roles: workers},
	{rule: "session_is_its_starters", verb: UseSession, roles: workers, own: true},
	{rule: "users_seen_by_heads", verb: SeeUsers, roles: heads},
	{rule: "users_added_by_heads", verb: AddUser, roles: heads},
	{rule: "owners_made_by_owners", verb: AddOwner, roles: []domain.Role{domain.Owner}},
	// Who erases another stays: the last owner, whom only another owner could erase, cannot be erased.
	{rule: "users_erased_by_heads", verb: EraseUser, roles: heads, other: true},
	{rule: "owners_erased_by_owners", verb: EraseOwner, roles: []domain.Role{domain.Owner}, other: true},
	{rule: "keys_of_ones_own", verb: OwnKey, roles: all, own: true},
	{rule: "keys_of_others", verb: OthersKey, roles: heads},
	{rule: "owners_keys_by_owners", verb: OwnersKey, roles: []domain.Role{domain.Owner}},
	{rule: "audit_read", verb: SeeAudit,
		roles: []domain.Role{domain.Owner, domain.Admin, domain.Auditor}},
	{rule: "readers_seen_by_heads", verb: SeeReaders, roles: heads},
	{rule: "streams_unparked_by_heads", verb: Unpark, roles: heads},
}

// May says which rule lets who do verb to thing. Otherwise the refusal is "forbidden", or "not
// found" where who may not know that thing exists.
func May(who domain.Principal, verb Verb, thing Thing) (rule string, err error) {
	if who.Org != thing.Org || hidden(who, verb, thing) {
		return "", domain.ErrNotFound
	}
	for _, l := range table {
		if l.verb == verb && l.allows(who, thing) {
			return l.rule, nil
		}
	}
	return "", forbidden(verb, thing)
}

func (l line) allows(who domain.Principal, thing Thing) bool {
	return slices.Contains(l.roles, who.Role) &&
		(!l.own || thing.Owner == who.User) &&
		(!l.other || thing.Owner != who.User) &&
		(l.scope == "" || l.scope == thing.Scope)
}

// hidden: others' own presets and sessions do not exist.
func hidden(who domain.Principal, verb Verb, thing Thing) bool {
	mine := thing.Owner == who.User
	return !mine && (thing.Scope == userScope || verb == UseSession)
}

// forbidden names the line that would have allowed it.
func forbidden(verb Verb, thing Thing) error {
	rule := string(verb)
	for _, l := range table {
		if l.verb == verb && (l.scope == "" || l.scope == thing.Scope) {
			rule = l.rule
		}
	}
	return &domain.Error{Kind: domain.Forbidden, Code: "forbidden", Rule: rule,
		Detail: "Your role does not allow this."}
}
