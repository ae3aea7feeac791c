package authz_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"prelude/domain"
	"prelude/internal/authz"
)

const (
	acme, other = domain.OrgID("org_acme"), domain.OrgID("org_other")
	me, them    = domain.UserID("usr_me"), domain.UserID("usr_them")
)

// roles in the order of the columns below.
var roles = []domain.Role{domain.Owner, domain.Admin, domain.Reviewer, domain.Member, domain.Auditor}

var verbs = []authz.Verb{
	authz.SeePreset, authz.UsePreset, authz.CreatePreset, authz.ChangePreset, authz.ProtectLabel,
	authz.StartSession, authz.UseSession, authz.SeeUsers, authz.AddUser, authz.AddOwner, authz.EraseUser,
	authz.EraseOwner, authz.OwnKey, authz.OthersKey, authz.OwnersKey, authz.SeeAudit, authz.SeeReaders, authz.Unpark,
}

func orgPreset(owner domain.UserID) authz.Thing {
	return authz.Thing{Org: acme, Owner: owner, Scope: "org"}
}

func userPreset(owner domain.UserID) authz.Thing {
	return authz.Thing{Org: acme, Owner: owner, Scope: "user"}
}

func owned(owner domain.UserID) authz.Thing { return authz.Thing{Org: acme, Owner: owner} }

// may is the table: for each line the answer to owner, admin, reviewer, member and auditor. y is yes,
// - is forbidden, and . says that it does not exist.
var may = []struct {
	what  string
	verb  authz.Verb
	thing authz.Thing
	want  string
}{
	{"see an org preset", authz.SeePreset, orgPreset(them), "yyyyy"},
	{"see an own org preset", authz.SeePreset, orgPreset(me), "yyyyy"},
	{"use an org preset", authz.UsePreset, orgPreset(them), "yyyy-"},
	{"use an own org preset", authz.UsePreset, orgPreset(me), "yyyy-"},
	{"create an org preset", authz.CreatePreset, orgPreset(me), "yyyy-"},
	{"create an org preset in another's name", authz.CreatePreset, orgPreset(them), "-----"},
	{"change an org preset", authz.ChangePreset, orgPreset(them), "yy---"},
	{"change an own org preset", authz.ChangePreset, orgPreset(me), "yyyy-"},
	{"move an org preset's protected label", authz.ProtectLabel, orgPreset(them), "yyy--"},
	{"move an own org preset's protected label", authz.ProtectLabel, orgPreset(me), "yyy--"},

	{"see an own user preset", authz.SeePreset, userPreset(me), "yyyyy"},
	{"use an own user preset", authz.UsePreset, userPreset(me), "yyyyy"},
	{"create a user preset", authz.CreatePreset, userPreset(me), "yyyyy"},
	{"change an own user preset", authz.ChangePreset, userPreset(me), "yyyyy"},
	{"move an own user preset's protected label", authz.ProtectLabel, userPreset(me), "yyyyy"},
	{"see another's user preset", authz.SeePreset, userPreset(them), "....."},
	{"use another's user preset", authz.UsePreset, userPreset(them), "....."},
	{"create another's user preset", authz.CreatePreset, userPreset(them), "....."},
	{"change another's user preset", authz.ChangePreset, userPreset(them), "....."},
	{"move the protected label of another's", authz.ProtectLabel, userPreset(them), "....."},

	{"start a session", authz.StartSession, owned(""), "yyyy-"},
	{"use an own session", authz.UseSession, owned(me), "yyyy-"},
	{"use another's session", authz.UseSession, owned(them), "....."},

	{"see users", authz.SeeUsers, owned(""), "yy---"},
	{"add a user", authz.AddUser, owned(""), "yy---"},
	{"add an owner", authz.AddOwner, owned(""), "y----"},
	{"erase another user", authz.EraseUser, owned(them), "yy---"},
	{"erase oneself", authz.EraseUser, owned(me), "-----"},
	{"erase another owner", authz.EraseOwner, owned(them), "y----"},
	{"erase oneself, an owner", authz.EraseOwner, owned(me), "-----"},
	{"issue and revoke an own key", authz.OwnKey, owned(me), "yyyyy"},
	{"issue and revoke an own key that is another's", authz.OwnKey, owned(them), "-----"},
	{"issue and revoke another's key", authz.OthersKey, owned(them), "yy---"},
	{"issue and revoke any key", authz.OthersKey, owned(me), "yy---"},
	{"issue and revoke another owner's key", authz.OwnersKey, owned(them), "y----"},
	{"read audit, feed and usage", authz.SeeAudit, owned(""), "yy--y"},
	{"see the readers of the log", authz.SeeReaders, owned(""), "yy---"},
	{"have a parked stream applied again", authz.Unpark, owned(""), "yy---"},
}

func who(role domain.Role) domain.Principal {
	return domain.Principal{Org: acme, User: me, Key: "key_1", Role: role}
}

func answer(rule string, err error) byte {
	switch {
	case err == nil && rule != "":
		return 'y'
	case errors.Is(err, domain.ErrNotFound) && rule == "":
		return '.'
	case errors.Is(err, &domain.Error{Code: "forbidden"}) && rule == "":
		return '-'
	}
	return '?'
}

func TestMay(t *testing.T) {
	t.Parallel()
	for _, line := range may {
		for i, role := range roles {
			t.Run(fmt.Sprintf("%s as %s", line.what, role), func(t *testing.T) {
				t.Parallel()
				rule, err := authz.May(who(role), line.verb, line.thing)
				if got := answer(rule, err); got != line.want[i] {
					t.Errorf("the answer is %c, want %c (%s, %v)", got, line.want[i], rule, err)
				}
			})
		}
	}
}

// TestTheTableIsWhole: each verb that is declared has its lines above.
func TestTheTableIsWhole(t *testing.T) {
	t.Parallel()
	seen := map[authz.Verb]bool{}
	for _, line := range may {
		seen[line.verb] = true
	}
	declared := declaredVerbs(t)
	if len(declared) != len(verbs) {
		t.Errorf("%d verbs are declared, %d are tested", len(declared), len(verbs))
	}
	for _, v := range declared {
		if !seen[v] || !slices.Contains(verbs, v) {
			t.Errorf("%s is in no line", v)
		}
	}
}

// declaredVerbs reads the verbs from the source.
func declaredVerbs(t *testing.T) []authz.Verb {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "authz.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var all []authz.Verb
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		of, _ := spec.Type.(*ast.Ident)
		value, _ := spec.Values[0].(*ast.BasicLit)
		if of != nil && of.Name == "Verb" && value != nil {
			all = append(all, authz.Verb(strings.Trim(value.Value, `"`)))
		}
		return true
	})
	return all
}

func TestARefusalNamesItsRule(t *testing.T) {
	t.Parallel()
	_, err := authz.May(who(domain.Auditor), authz.StartSession, owned(""))
	var e *domain.Error
	if !errors.As(err, &e) || e.Kind != domain.Forbidden || e.Rule != "session_started" {
		t.Errorf("got %+v", e)
	}
	rule, err := authz.May(who(domain.Member), authz.ChangePreset, orgPreset(me))
	if err != nil || rule != "org_preset_changed_by_owner" {
		t.Errorf("it is allowed by %q, %v", rule, err)
	}
	rule, _ = authz.May(who(domain.Admin), authz.ChangePreset, orgPreset(me))
	if rule != "org_preset_changed_by_heads" {
		t.Errorf("an admin changes their own by %q", rule)
	}
}

// allowed is the table of may, asked for anything: what it does not list is denied.
func allowed(role domain.Role, verb authz.Verb, thing authz.Thing) bool {
	for _, line := range may {
		owner := line.thing.Owner == "" || (line.thing.Owner == me) == (thing.Owner == me)
		if line.verb != verb || !owner || line.thing.Scope != "" && line.thing.Scope != thing.Scope {
			continue
		}
		for i, r := range roles {
			if r == role {
				return line.want[i] == 'y'
			}
		}
	}
	return false
}

func TestWhatNoLineAllowsIsDenied(t *testing.T) {
	t.Parallel()
	anyRole := rapid.OneOf(rapid.SampledFrom(roles),
		rapid.SampledFrom([]domain.Role{"", "Owner", "root"}))
	anyVerb := rapid.OneOf(rapid.SampledFrom(verbs), rapid.SampledFrom([]authz.Verb{"", "rule"}))
	rapid.Check(t, func(t *rapid.T) {
		role, verb := anyRole.Draw(t, "role"), anyVerb.Draw(t, "verb")
		p := who(role)
		p.Org = rapid.SampledFrom([]domain.OrgID{acme, acme, acme, other, ""}).Draw(t, "org")
		thing := authz.Thing{Org: acme,
			Owner: rapid.SampledFrom([]domain.UserID{me, them, ""}).Draw(t, "owner"),
			Scope: rapid.SampledFrom([]string{"org", "user", "", "team"}).Draw(t, "scope")}
		got := answer(authz.May(p, verb, thing))
		want := byte('-')
		switch {
		case p.Org != acme, thing.Owner != me && (thing.Scope == "user" || verb == authz.UseSession):
			want = '.'
		case allowed(role, verb, thing):
			want = 'y'
		}
		if got != want {
			t.Fatalf("%s of %q may %s %+v: %c, want %c", role, p.Org, verb, thing, got, want)
		}
	})
}

func TestTheProgramItselfHasNoRole(t *testing.T) {
	t.Parallel()
	job := domain.Principal{Org: acme, Job: "lost"}
	for _, v := range verbs {
		if rule, err := authz.May(job, v, authz.Thing{Org: acme, Scope: "org"}); err == nil {
			t.Errorf("a job may %s by %s", v, rule)
		}
	}
}
