package user_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"prelude/domain"
	"prelude/domain/domaintest"
	"prelude/domain/user"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newcomer(change func(*user.Newcomer)) user.Newcomer {
	n := user.Newcomer{ID: "usr_1", Org: "org_1", Handle: "ann", Name: "Ann", Role: domain.Member,
		By: "usr_0"}
	if change != nil {
		change(&n)
	}
	return n
}

func joined(n user.Newcomer) []user.Event {
	return []user.Event{user.Joined{
		User: n.ID, Org: n.Org, Handle: domain.Secret{Key: "u.1.1", Text: n.Handle},
		Name: domain.Secret{Key: "u.1.1", Text: n.Name}, Role: n.Role, By: n.By, At: noon,
	}}
}

func join(change func(*user.Newcomer)) domaintest.Decision[user.User, user.Event] {
	return func(u user.User) ([]user.Event, error) { return u.Join(newcomer(change), noon) }
}

func TestJoin(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 200)
	named := func(name string) func(*user.Newcomer) {
		return func(n *user.Newcomer) { n.Name = name }
	}
	handle := func(h string) func(*user.Newcomer) {
		return func(n *user.Newcomer) { n.Handle = h }
	}
	type is = domaintest.Case[user.User, user.Event]
	domaintest.Run(t,
		is{Name: "a person joins, with handle and name under a key of their own", When: join(nil),
			Then: joined(newcomer(nil))},
		is{Name: "who is there does not join again", Given: joined(newcomer(nil)),
			When: join(named("Another"))},
		is{Name: "a handle has no capitals", When: join(handle("Ann")),
			Faults: []string{"handle: pattern"}},
		is{Name: "a handle has no dots", When: join(handle("ann.b")), Faults: []string{"handle: pattern"}},
		is{Name: "a handle is needed", When: join(handle("")), Faults: []string{"handle: pattern"}},
		is{Name: "a handle of 63 characters is taken", When: join(handle(strings.Repeat("a", 63))),
			Then: joined(newcomer(handle(strings.Repeat("a", 63))))},
		is{Name: "a handle of 64 is not", When: join(handle(strings.Repeat("a", 64))),
			Faults: []string{"handle: pattern"}, Says: []string{domain.SlugRule}},
		is{Name: "a name is needed", When: join(named("")), Faults: []string{"name: required"}},
		is{Name: "a name of 200 characters is taken", When: join(named(long)),
			Then: joined(newcomer(named(long)))},
		is{Name: "a name of 201 is not", When: join(named(long + "x")),
			Faults: []string{"name: too_long"}},
		is{Name: "NUL is refused", When: join(named("A\x00")), Faults: []string{"name: nul"}},
		is{Name: "invalid UTF-8 is refused", When: join(named("A\xff")),
			Faults: []string{"name: encoding"}},
		is{Name: "a role must be one", When: join(func(n *user.Newcomer) { n.Role = "root" }),
			Faults: []string{"role: enum"}},
		is{Name: "all faults are told",
			When:   join(func(n *user.Newcomer) { n.Handle, n.Name, n.Role = "A", "", "" }),
			Faults: []string{"handle: pattern", "name: required", "role: enum"}},
	)
}

func erase(u user.User) ([]user.Event, error) { return u.Erase("usr_0", noon) }

func TestEraseAUser(t *testing.T) {
	t.Parallel()
	there := joined(newcomer(nil))
	erased := user.Erased{User: "usr_1", Org: "org_1", By: "usr_0", At: noon}
	type is = domaintest.Case[user.User, user.Event]
	domaintest.Run(t,
		is{Name: "a person is erased", Given: there, When: erase, Then: []user.Event{erased}},
		is{Name: "who was erased stays so", Given: append(there, erased), When: erase},
		is{Name: "and does not join again", Given: append(there, erased), When: join(nil)},
		is{Name: "nobody is erased who is not there", When: erase, Refused: domain.ErrNotFound},
	)
	if u := domaintest.Fold[user.User](there...); !u.Active() || u.Evolve(erased).Active() || (user.User{}).Active() {
		t.Error("only who is there and was not erased is active")
	}
}

// invariants of a user: they join once and are erased once, after that; handle and name are under the person's own
// key; the role is one.
func invariants(t *rapid.T, s domaintest.Step[user.User, user.Event]) {
	for i, e := range s.History {
		if _, joined := e.(user.Joined); joined != (i == 0) || i > 1 {
			t.Fatalf("event %d is %+v", i, e)
		}
	}
	u := s.After
	if u.ID == "" {
		return
	}
	own := domain.UserKey(u.Org, u.ID)
	if !domain.ValidRole(u.Role) || u.Handle.Key != own || u.Name.Key != own {
		t.Fatalf("the user is %+v", u)
	}
}

func TestNoDecisionsBreakAUser(t *testing.T) {
	t.Parallel()
	domaintest.Walk(t, func(t *rapid.T, _ int) domaintest.Decision[user.User, user.Event] {
		if rapid.Bool().Draw(t, "erase") {
			return erase
		}
		handle := rapid.SampledFrom([]string{"ann", "Ann", ""}).Draw(t, "handle")
		role := rapid.SampledFrom([]domain.Role{domain.Owner, domain.Auditor, "x"}).Draw(t, "role")
		return join(func(n *user.Newcomer) { n.Handle, n.Role = handle, role })
	}, invariants)
}
