package commands

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"prelude/domain"
	"prelude/domain/apikey"
	"prelude/internal/eventlog"
)

// The secret of a key is shown once: a process that was killed took it along, and the repeat says so.
func TestIssue_killed_before_the_secret_was_shown(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	f, err := Orgs{Engine: r.Engine, MAC: mac}.Create(t.Context(), "acme", "Acme")
	if err != nil {
		t.Fatal(err)
	}
	for _, after := range []bool{false, true} {
		m := repeatable(f.Owner, "body")
		m.By.Org = f.Org
		e, _ := r.mortal(0, after)
		_, _, err := APIKeys{e.Engine}.Issue(t.Context(), IssueKey{Name: "ci"}, m)
		if !errors.Is(err, eventlog.ErrUnavailable) {
			t.Fatalf("killed, it says %v", err)
		}
		left, secret, err := APIKeys{r.again().Engine}.Issue(t.Context(), IssueKey{Name: "ci"}, m)
		if after {
			refused(t, err, "secret_shown_once")
		} else if err != nil || left.Revision != 0 {
			t.Errorf("it left %+v: %v", left, err)
		} else {
			r.opens(left.State.ID, f, secret)
		}
	}
	t.Logf("1 write, killed 2 times; another outcome: %v", t.Failed())
}

// opens expects that a secret is that of a key of an org's owner, and of no other.
func (r *rig) opens(id domain.APIKeyID, f Founding, secret string) {
	r.t.Helper()
	records := r.records(eventlog.APIKeyStream(f.Org, id))
	if len(records) != 1 {
		r.t.Fatalf("the key has %d events", len(records))
	}
	e, ok := records[0].Event.(apikey.Issued)
	if !ok || e.User != f.Owner || !bytes.Equal(e.Hash, HashSecret(secret[strings.LastIndex(secret, "_")+1:])) {
		r.t.Errorf("the secret does not open %+v", records[0].Event)
	}
}

// foundings are the commands that issue a key at the terminal.
func foundings() map[string]killable {
	create := func(r *rig, _ any, _ Meta) error {
		f, err := Orgs{Engine: r.Engine, MAC: mac}.Create(r.t.Context(), "acme", "Acme")
		return r.shown(f, err)
	}
	return map[string]killable{
		"found an org": {"Orgs.Create", func(*rig) any { return nil }, create},
		"issue another key of an org's owner": {"Orgs.IssueOwnerKey",
			func(r *rig) any {
				if err := create(r, nil, Meta{}); err != nil {
					r.t.Fatal(err)
				}
				return nil
			},
			func(r *rig, _ any, _ Meta) error {
				f, err := Orgs{Engine: r.Engine, MAC: mac}.IssueOwnerKey(r.t.Context(), "acme")
				return r.shown(f, err)
			}},
	}
}

// shown checks the secret that a founding shows.
func (r *rig) shown(f Founding, err error) error {
	r.t.Helper()
	if err == nil {
		r.opens(f.Key, f, f.Secret)
	}
	return err
}
