package commands

import (
	"context"
	"errors"
	"iter"
	"testing"
	"time"

	"prelude/domain"
	"prelude/domain/session"
	"prelude/internal/eventlog"
)

// erasures are the commands that end what was written.
func erasures() map[string]killable {
	return map[string]killable{
		"erase a user":   {"Users.Erase", writers(domain.Member), eraseUser(domain.Admin)},
		"erase an owner": {"Users.Erase", writers(domain.Owner), eraseUser(domain.Owner)},
		"set how long texts are kept": {"Orgs.SetRetention", func(r *rig) any {
			if _, err := (Orgs{Engine: r.Engine, MAC: mac}).Create(r.t.Context(), "acme", "Acme"); err != nil {
				r.t.Fatal(err)
			}
			return nil
		}, func(r *rig, _ any, _ Meta) error {
			_, err := Orgs{Engine: r.Engine, MAC: mac}.SetRetention(r.t.Context(), "acme", 30)
			return err
		}},
		"expire a session": {"Sessions.Expire", func(r *rig) any { return r.session(olga) }, func(r *rig, id any, _ Meta) error {
			_, err := r.sessions().Expire(r.t.Context(), acme, id.(domain.SessionID), noon.AddDate(0, 0, 1), 30, r.eraser())
			return err
		}},
	}
}

// pair is who erases, and who is erased.
type pair struct{ by, user domain.UserID }

// persons adds two users to the org, the second with a role.
func persons(role domain.Role) func(*rig) any {
	return func(r *rig) any { return pair{r.person("olga", domain.Owner), r.person("mara", role)} }
}

// writers are such persons, who have both begun a session.
func writers(role domain.Role) func(*rig) any {
	return func(r *rig) any {
		p := persons(role)(r).(pair)
		r.session(p.by)
		r.session(p.user)
		return p
	}
}

func (r *rig) person(handle string, role domain.Role) domain.UserID {
	r.t.Helper()
	m := by(olga)
	m.By.Role = domain.Owner
	left, err := Users{Engine: r.Engine, MAC: mac}.Add(r.t.Context(), AddUser{handle, handle, role}, m)
	if err != nil {
		r.t.Fatal(err)
	}
	return left.State.ID
}

func eraseUser(as domain.Role) func(*rig, any, Meta) error {
	return func(r *rig, was any, m Meta) error {
		p := was.(pair)
		m.By.User, m.By.Role = p.by, as
		return r.erase(p.user, m, r.eraser())
	}
}

func (r *rig) erase(user domain.UserID, m Meta, vault Eraser) error {
	_, err := Users{Engine: r.Engine, MAC: mac}.Erase(r.t.Context(), EraseUser{User: user, Confirm: string(user)}, vault, m)
	return err
}

// away is a vault that does not answer.
type away struct{}

var errAway = errors.New("the vault does not answer")

func (away) Erase(context.Context, domain.OrgID, domain.UserID) error     { return errAway }
func (away) Expire(context.Context, domain.OrgID, domain.SessionID) error { return errAway }

// That somebody is erased is in the log before a key is destroyed; where the vault fails, the repeat destroys them.
func TestErase_is_in_the_log_first(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := persons(domain.Member)(r).(pair)
	m := by(p.by)
	if err := r.erase(p.user, m, away{}); !errors.Is(err, errAway) {
		t.Fatalf("got %v", err)
	}
	events := r.records(eventlog.UserStream(acme, p.user))
	if len(events) != 2 || events[1].Kind() != "user.erased" {
		t.Fatalf("the log has %+v", events)
	}
	key := domain.UserKey(acme, p.user)
	if found, err := r.keys.Find(t.Context(), key); err != nil || found[key] == nil {
		t.Fatalf("the key is gone already: %v", err)
	}
	for range 2 {
		if err := r.erase(p.user, m, r.keys); err != nil {
			t.Fatal(err)
		}
		if found, err := r.keys.Find(t.Context(), key); err != nil || found[key] != nil {
			t.Errorf("the key is there: %v", err)
		}
	}
	if n := len(r.records(eventlog.UserStream(acme, p.user))); n != 2 {
		t.Errorf("the log has %d events", n)
	}
}

// While one owner is being erased no other is: who was to erase them may be that one.
func TestErase_of_owners_is_one_after_the_other(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.at(noon)
	p := persons(domain.Owner)(r).(pair)
	third := r.person("third", domain.Owner)
	users := Users{Engine: r.Engine, MAC: mac}
	owner := func(u domain.UserID) Meta {
		m := by(u)
		m.By.Role = domain.Owner
		return m
	}
	if err := users.takeTurn(t.Context(), p.user, owner(p.by)); err != nil { // and no further
		t.Fatal(err)
	}
	refused(t, r.erase(p.by, owner(p.user), r.keys), "conflict")
	refused(t, r.erase(third, owner(p.by), r.keys), "conflict")
	if err := r.erase(p.user, owner(p.by), r.keys); err != nil { // it goes on
		t.Fatal(err)
	}
	refused(t, r.erase(p.by, owner(p.user), r.keys), "not_found") // nobody any more
	if err := users.takeTurn(t.Context(), "usr_elsewhere", owner(p.by)); err != nil {
		t.Fatal(err)
	}
	r.at(noon.Add(2 * time.Minute)) // whoever took that turn did not come to its end
	if err := r.erase(third, owner(p.by), r.keys); err != nil {
		t.Error(err)
	}
}

// A reply that is made while its owner is erased ends without its text.
func TestReply_of_who_is_erased_meanwhile_ends_without_its_text(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	begun, release := make(chan struct{}), make(chan struct{})
	says := waiting(release)
	r.Models = script{says: func(ctx context.Context, req ModelRequest) iter.Seq2[Chunk, error] {
		close(begun)
		return says(ctx, req)
	}}
	id := r.session(olga)
	posted, err := r.sessions().Post(t.Context(), PostMessage{Session: id, Content: "Hi"}, by(olga))
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	if err := r.keys.Erase(t.Context(), acme, olga); err != nil {
		t.Fatal(err)
	}
	r.hub.Erased(acme, mara) // another's
	close(release)
	if _, err := r.hub.Find(posted.Reply).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	events := r.records(eventlog.SessionStream(acme, id))
	if e, ok := events[len(events)-1].Event.(session.ReplyCompleted); !ok || !e.Text.IsZero() || e.Length != 0 {
		t.Errorf("the last event is %+v", events[len(events)-1].Event)
	}
	_, err = r.sessions().Post(t.Context(), PostMessage{Session: id, Content: "More"}, by(olga))
	refused(t, err, "erased")
}

func TestHub_ends_the_replies_of_who_is_erased(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Models = script{says: waiting(nil)}
	posted, err := r.sessions().Post(t.Context(), PostMessage{Session: r.session(olga), Content: "Hi"}, by(olga))
	if err != nil {
		t.Fatal(err)
	}
	r.hub.Erased(acme, olga)
	if end, err := r.hub.Find(posted.Reply).Wait(t.Context()); err != nil || end.Status != "cancelled" {
		t.Errorf("it ends as %+v: %v", end, err)
	}
}

func TestExpire_destroys_the_keys_of_what_has_ended_alone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.at(noon)
	idle, busy := r.session(olga), r.session(olga)
	r.at(noon.AddDate(0, 0, 31))
	if _, err := r.sessions().Rename(t.Context(), busy, "Busy", by(olga)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // again, as after an older vault was put back
		for id, want := range map[domain.SessionID]bool{idle: true, busy: false} {
			ended, err := r.sessions().Expire(t.Context(), acme, id, noon.AddDate(0, 0, 1), 30, r.keys)
			if err != nil || ended != want {
				t.Errorf("it has ended: %v: %v", ended, err)
			}
			key := domain.SessionKey(acme, id)
			if found, err := r.keys.Find(t.Context(), key); err != nil || (found[key] == nil) != want {
				t.Errorf("its key is there: %v: %v", found[key] != nil, err)
			}
		}
	}
	if _, err := r.sessions().Expire(t.Context(), acme, idle, noon.AddDate(0, 0, 1), 30, away{}); !errors.Is(err, errAway) {
		t.Errorf("a fault of the vault: %v", err)
	}
	_, err := r.sessions().Branch(t.Context(), BranchSession{Session: idle}, by(olga))
	refused(t, err, "erased")
	if p, err := r.sessions().Preview(t.Context(), by(olga).By, idle); err != nil || !p.Erased || len(p.Assembly.Pieces) > 0 {
		t.Errorf("the next request is %+v: %v", p, err)
	}
}

// A branch that took nothing with it but a title is found by its owner all the same.
func TestBranch_is_erased_with_its_owner(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	title := "Mine alone"
	left, err := r.sessions().Branch(t.Context(), BranchSession{Session: r.session(olga), Title: &title}, by(olga))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.keys.Erase(t.Context(), acme, olga); err != nil {
		t.Fatal(err)
	}
	s := left.State
	opened, err := r.Log.OpenSecret(t.Context(), eventlog.SessionStream(acme, s.ID), "title", s.Title)
	if err != nil || !opened.Gone || opened.Text != "" {
		t.Errorf("its title is %+v: %v", opened, err)
	}
}
