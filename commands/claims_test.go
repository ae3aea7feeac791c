package commands

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"prelude/domain"
	"prelude/domain/claim"
	"prelude/domain/org"
	"prelude/domain/preset"
	"prelude/internal/eventlog"
)

func slugOf(slug string) eventlog.Stream {
	return presetClaim(acme, preset.OrgScope, olga, slug)
}

// leads expects a name to lead to a preset.
func (r *rig) leads(slug string, want domain.PresetID) {
	r.t.Helper()
	got, err := r.Resolve(r.t.Context(), by(olga).By, Name{Slug: slug})
	if want == "" && errors.Is(err, domain.ErrNotFound) {
		return
	}
	if err != nil || got != want {
		r.t.Errorf("%s leads to %q, want %q: %v", slug, got, want, err)
	}
}

func (r *rig) rename(p domain.PresetID, slug string) error {
	r.t.Helper()
	_, err := r.presets().Edit(r.t.Context(), EditPreset{Preset: p,
		Change: func(_ string, d preset.Draft) (string, preset.Draft, error) { return slug, d, nil }}, by(olga))
	return err
}

func TestClaim_gives_a_name_to_one(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const makers = 6
	made := make(chan domain.PresetID, makers)
	for range makers {
		other := r.other()
		go func() {
			left, err := other.tryCreate("one", by(olga))
			if err != nil && !errors.Is(err, claim.ErrTaken) {
				t.Error(err)
			}
			made <- left.State.ID
		}()
	}
	var won domain.PresetID
	for range makers {
		if p := <-made; p != "" && won != "" {
			t.Errorf("%s and %s have the name", won, p)
		} else if p != "" {
			won = p
		}
	}
	r.leads("one", won)
}

func TestClaim_is_taken_over_a_minute_after_its_maker_was_lost(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.at(noon)
	lost := by(mara) // it claims the name and is gone
	thing := lost.derive(domain.PresetPrefix, 0)
	if err := r.take(t.Context(), slugOf("one"), thing, lost.Step("create")); err != nil {
		t.Fatal(err)
	}
	r.at(noon.Add(time.Minute - time.Millisecond))
	_, err := r.tryCreate("one", by(olga))
	refused(t, err, "slug_taken")
	r.at(noon.Add(time.Minute))
	p := r.create(olga, "one")
	r.leads("one", p)
	r.at(noon.Add(time.Hour)) // who was lost comes back: too late
	_, err = r.tryCreate("one", lost)
	refused(t, err, "slug_taken")
	r.leads("one", p)
}

// Whose clock is behind waits longer: until a minute has passed by the clock of who claimed the name. Who has it may come
// back to it at any time.
func TestClaim_is_not_taken_over_by_a_clock_that_went_backwards(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.at(noon)
	maker, lost := repeatable(mara, "body"), repeatable(mara, "body")
	for slug, m := range map[string]Meta{"one": maker, "two": lost} { // each claims its name, and creates nothing yet
		if err := r.take(t.Context(), slugOf(slug), m.derive(domain.PresetPrefix, 0), m.Step("create")); err != nil {
			t.Fatal(err)
		}
	}
	for _, back := range []time.Duration{time.Millisecond, time.Minute, time.Hour, 365 * 24 * time.Hour} {
		r.at(noon.Add(-back))
		for _, slug := range []string{"one", "two"} {
			_, err := r.tryCreate(slug, by(olga))
			refused(t, err, "slug_taken")
		}
	}
	left, err := r.other().tryCreate("one", maker)
	if err != nil {
		t.Fatalf("who has the name is refused: %v", err)
	}
	r.leads("one", left.State.ID)
	r.at(noon.Add(time.Minute))
	p := r.create(olga, "two")
	r.leads("two", p)
	// Who took it over claimed it when the clock was ahead of those that ask now.
	r.at(noon)
	_, err = r.tryCreate("two", lost)
	refused(t, err, "slug_taken")
	_, err = r.tryCreate("one", by(olga))
	refused(t, err, "slug_taken")
	r.leads("two", p)
}

func TestClaim_of_what_exists_is_never_taken_over(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.at(noon)
	p := r.create(mara, "one")
	r.at(noon.AddDate(1, 0, 0))
	_, err := r.tryCreate("one", by(olga))
	refused(t, err, "slug_taken")
	r.leads("one", p)
}

func TestCreate_that_was_half_done_is_completed_by_a_repeat(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	m := repeatable(olga, "body")
	thing := m.derive(domain.PresetPrefix, 0)
	if err := r.take(t.Context(), slugOf("one"), thing, m.Step("create")); err != nil {
		t.Fatal(err)
	}
	left, err := r.other().tryCreate("one", m)
	if err != nil || string(left.State.ID) != thing || left.Replayed {
		t.Fatalf("left %+v: %v", left, err)
	}
	again, err := r.tryCreate("one", m)
	if err != nil || again.State.ID != left.State.ID || !again.Replayed {
		t.Errorf("left %+v: %v", again, err)
	}
	if n := len(r.records(slugOf("one"))); n != 1 {
		t.Errorf("the name was claimed %d times", n)
	}
	r.leads("one", left.State.ID)
}

func TestRenamed_slug_leads_on_until_another_claims_it(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.create(olga, "old")
	if err := r.rename(p, "new"); err != nil {
		t.Fatal(err)
	}
	r.leads("old", p)
	r.leads("new", p)
	if err := r.rename(p, "old"); err != nil { // and back
		t.Fatal(err)
	}
	if err := r.rename(p, "new"); err != nil {
		t.Fatal(err)
	}
	q := r.create(mara, "old")
	r.leads("old", q)
	r.leads("new", p)
	refused(t, r.rename(p, "old"), "slug_taken")
	r.leads("new", p)
	r.leads("never", "")
}

func TestRename_that_was_half_done_keeps_the_old_slug_for_a_minute(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.at(noon)
	p := r.create(olga, "old")
	q := r.create(olga, "other")
	// The new name is claimed, and the program ends.
	r.at(noon.Add(time.Hour))
	if err := r.take(t.Context(), slugOf("new"), string(p), by(olga)); err != nil {
		t.Fatal(err)
	}
	refused(t, r.rename(q, "new"), "slug_taken")
	r.leads("old", p)
	r.at(noon.Add(time.Hour + time.Minute))
	if err := r.rename(q, "new"); err != nil {
		t.Fatal(err)
	}
	r.leads("new", q)
	r.leads("old", p)
}

func TestDeleted_preset_keeps_its_slug_for_thirty_days(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.at(noon)
	p := r.create(olga, "one")
	if _, err := r.presets().Delete(t.Context(), p, by(olga)); err != nil {
		t.Fatal(err)
	}
	r.at(noon.Add(30*24*time.Hour - time.Millisecond))
	_, err := r.tryCreate("one", by(mara))
	refused(t, err, "slug_taken")
	r.at(noon.Add(30 * 24 * time.Hour))
	q := r.create(mara, "one")
	r.leads("one", q)
	_, err = r.presets().Restore(t.Context(), p, by(olga))
	refused(t, err, "slug_taken")
}

func TestOrg_that_was_half_made_is_completed_by_the_same_call(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	mac := func(purpose string, text []byte) []byte {
		id := uuid.NewSHA1(uuid.NameSpaceURL, append([]byte(purpose+"|"), text...))
		return id[:]
	}
	h := Orgs{r.Engine, mac}
	first, err := h.Create(t.Context(), "acme", "Acme")
	if err != nil {
		t.Fatal(err)
	}
	again, err := Orgs{r.other().Engine, mac}.Create(t.Context(), "acme", "Acme")
	if err != nil || again.Org != first.Org || again.Owner != first.Owner || again.Key == first.Key {
		t.Errorf("%+v, then %+v: %v", first, again, err)
	}
	found, there, err := h.Owner(t.Context(), "acme")
	if err != nil || !there || found.Org != first.Org || found.Owner != first.Owner {
		t.Errorf("found %+v: %v", found, err)
	}
	o, there, err := exists[org.Org, org.Event](t.Context(), r.Engine, eventlog.OrgStream(first.Org))
	if err != nil || !there || o.Name != "Acme" {
		t.Errorf("the org is %+v: %v", o, err)
	}
	if _, err := h.IssueOwnerKey(t.Context(), "nobody"); !errors.Is(err, ErrNoOrg) {
		t.Errorf("got %v", err)
	}
}

// A repeat of an edit looks for what the first time left to be done, in that edit's own events: it reads no
// further, however many came before.
func TestEdit_repeated_reads_little(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id := r.create(olga, "tone")
	edit := func(slug, name string, m Meta) (replayed bool) {
		t.Helper()
		left, err := r.presets().Edit(t.Context(), EditPreset{Preset: id,
			Change: func(_ string, d preset.Draft) (string, preset.Draft, error) { d.Name = name; return slug, d, nil }}, m)
		if err != nil {
			t.Fatal(err)
		}
		return left.Replayed
	}
	for i := range 30 {
		edit(fmt.Sprint("tone-", i), "Tone", by(olga))
	}
	store := &counted{Store: r.Log.Store}
	r.Log.Store = store
	for _, name := range []string{"a name and the slug", "a name alone"} { // the second finds the slug moved
		again := repeatable(olga, name)
		edit("tune", name, again)
		store.reads.Store(0)
		if !edit("tune", name, again) {
			t.Errorf("%s: it is done again", name)
		}
		if n := store.reads.Load(); n < 1 || n > 5 {
			t.Errorf("%s: the repeat reads %d events", name, n)
		}
	}
}
