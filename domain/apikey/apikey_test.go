package apikey_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"prelude/domain"
	"prelude/domain/apikey"
	"prelude/domain/domaintest"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

type decision = domaintest.Decision[apikey.Key, apikey.Event]

func order(name string, expires *time.Time) apikey.Order {
	return apikey.Order{ID: "key_1", Org: "org_1", User: "usr_1", Name: name, Hash: []byte{1, 2},
		ExpiresAt: expires, By: "usr_2"}
}

func issue(name string, expires *time.Time) decision {
	return func(k apikey.Key) ([]apikey.Event, error) { return k.Issue(order(name, expires), noon) }
}

func issued(name string, expires *time.Time) []apikey.Event {
	return []apikey.Event{apikey.Issued{
		Key: "key_1", Org: "org_1", User: "usr_1", Name: domain.Secret{Key: "o.1", Text: name},
		Hash: []byte{1, 2}, ExpiresAt: expires, By: "usr_2", At: noon,
	}}
}

func revoke(k apikey.Key) ([]apikey.Event, error) { return k.Revoke("usr_2", noon) }

var revoked = apikey.Revoked{By: "usr_2", At: noon}

type is = domaintest.Case[apikey.Key, apikey.Event]

func TestIssue(t *testing.T) {
	t.Parallel()
	later, long := noon.Add(time.Millisecond), strings.Repeat("é", 200)
	past := noon.Add(-time.Millisecond)
	domaintest.Run(t,
		is{Name: "a key is issued", When: issue("ci", nil), Then: issued("ci", nil)},
		is{Name: "one that ends a moment later is issued", When: issue("ci", &later),
			Then: issued("ci", &later)},
		is{Name: "one that ends now is refused", When: issue("ci", &noon),
			Faults: []string{"expires_at: past"}},
		is{Name: "one that ended is refused", When: issue("ci", &past),
			Faults: []string{"expires_at: past"}},
		is{Name: "one that is there is not issued again", Given: issued("ci", nil),
			When: issue("other", nil)},
		is{Name: "one that was revoked is not issued again", Given: append(issued("ci", nil), revoked),
			When: issue("ci", nil)},
		is{Name: "a name is needed", When: issue("", nil), Faults: []string{"name: required"}},
		is{Name: "a name of 200 characters is taken", When: issue(long, nil), Then: issued(long, nil)},
		is{Name: "a name of 201 is not", When: issue(long+"x", nil), Faults: []string{"name: too_long"}},
		is{Name: "NUL is refused", When: issue("a\x00", nil), Faults: []string{"name: nul"}},
		is{Name: "invalid UTF-8 is refused", When: issue("a\xff", nil),
			Faults: []string{"name: encoding"}},
	)
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	domaintest.Run(t,
		is{Name: "a key is revoked", Given: issued("ci", nil), When: revoke,
			Then: []apikey.Event{revoked}},
		is{Name: "a revoked one stays revoked", Given: append(issued("ci", nil), revoked), When: revoke},
		is{Name: "one that is not there is not found", When: revoke, Refused: domain.ErrNotFound},
	)
}

// invariants of a key: it is issued once, before all else; it is revoked at most once and for good; its
// hash is nowhere in its state.
func invariants(t *rapid.T, s domaintest.Step[apikey.Key, apikey.Event]) {
	for i, e := range s.History {
		_, first := e.(apikey.Issued)
		if first != (i == 0) || i > 1 {
			t.Fatalf("the history is %+v", s.History)
		}
	}
	if s.Before.RevokedAt != nil && s.After.RevokedAt == nil {
		t.Fatal("a revocation was undone")
	}
	if (s.After.RevokedAt != nil) != (len(s.History) == 2) {
		t.Fatalf("the key is %+v after %d events", s.After, len(s.History))
	}
}

func TestNoDecisionsBreakAKey(t *testing.T) {
	t.Parallel()
	domaintest.Walk(t, func(t *rapid.T, _ int) decision {
		if rapid.Bool().Draw(t, "revoke") {
			return revoke
		}
		return issue(rapid.SampledFrom([]string{"ci", "", "\xff"}).Draw(t, "name"), nil)
	}, invariants)
}
