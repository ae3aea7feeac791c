package commands

import (
	"errors"
	"slices"
	"testing"

	"prelude/domain"
	"prelude/internal/eventlog"
)

// heard is what was said last in a session, at most so much, newest first.
func (r *rig) heard(id domain.SessionID, most int) (all []string) {
	r.t.Helper()
	err := r.backwards(r.t.Context(), eventlog.SessionStream(acme, id), r.coldLoad(id).Revision, func(s said) (bool, error) {
		all = append(all, s.Source.ID+" "+s.Text)
		return len(all) < most, nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

// However much of a conversation is in memory already, it is told as from the log.
func TestHistory_is_the_same_from_memory(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id := r.session(olga)
	warm := r.over(r.Log)
	for _, c := range []struct{ events, most int }{{4, 100}, {4, 100}, {12, 1}, {12, 3}, {20, 100}, {60, 4}, {100, 4},
		{104, 20}, {300, 7}, {300, 1000}, {304, 1000}} {
		r.grow(id, c.events)
		want := r.over(r.Log).heard(id, c.most)
		if len(want) == 0 {
			t.Fatal("nothing was said")
		}
		for try := range 2 {
			if got := warm.heard(id, c.most); !slices.Equal(got, want) {
				t.Errorf("%d of %d events, time %d:\n%q\nwant\n%q", c.most, c.events, try, got, want)
			}
		}
	}
	for range 3 {
		warm.posted(id, by(olga)) // what it appends itself it knows
		if got, want := warm.heard(id, 9), r.over(r.Log).heard(id, 9); !slices.Equal(got, want) || len(got) != 9 {
			t.Errorf("after a turn of its own\n%q\nwant\n%q", got, want)
		}
	}
	r.keys.Destroy(domain.AuthorKey(acme, id, olga))
	want := r.over(r.Log).heard(id, 1000)
	if got := warm.heard(id, 1000); !slices.Equal(got, want) || len(got) > 100 {
		t.Errorf("after the erasure %d texts are told, %d in the log", len(got), len(want))
	}
}

func TestHistory_that_failed_is_not_remembered(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id := r.session(olga)
	r.grow(id, 40)
	failed := errors.New("no more")
	n := 0
	err := r.backwards(t.Context(), eventlog.SessionStream(acme, id), 39, func(said) (bool, error) {
		if n++; n == 3 {
			return true, failed
		}
		return true, nil
	})
	if !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
	if got, want := r.heard(id, 1000), r.over(r.Log).heard(id, 1000); !slices.Equal(got, want) {
		t.Errorf("told %d of %d", len(got), len(want))
	}
}

func TestHistory_is_in_memory_sealed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id := r.session(olga)
	for range 3 {
		r.posted(id, by(olga))
	}
	kept, found := r.tails.GetIfPresent(eventlog.SessionStream(acme, id))
	if !found || len(kept.records) != 6 || !kept.whole {
		t.Fatalf("of 6 texts %d are kept", len(kept.records))
	}
	for _, rec := range kept.records {
		for _, s := range saidIn(*rec) {
			if s.Text != "" {
				t.Errorf("%T is open", rec.Event)
			}
		}
	}
}
