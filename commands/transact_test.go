package commands

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"

	"prelude/domain"
	"prelude/domain/claim"
	"prelude/internal/eventlog"
)

var name = eventlog.ClaimStream(acme, "test", "org", "name")

func claimed(thing string) claim.Event { return claim.Claimed{Thing: thing, At: noon} }

// behind appends an event to the stream of the name, as another process would.
func (r *rig) behind(thing string) {
	r.t.Helper()
	_, err := transact(r.t.Context(), r.other().Engine, name, by(mara),
		func(claim.Claim, *Meta) ([]claim.Event, error) { return []claim.Event{claimed(thing)}, nil })
	if err != nil {
		r.t.Fatal(err)
	}
}

func TestTransact_decides_anew_when_another_was_first(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var saw []string
	left, err := transact(t.Context(), r.Engine, name, by(olga),
		func(c claim.Claim, _ *Meta) ([]claim.Event, error) {
			saw = append(saw, c.Thing)
			if len(saw) < 3 {
				r.behind(strconv.Itoa(len(saw)))
			}
			return []claim.Event{claimed(c.Thing + "!")}, nil
		})
	if err != nil || left.State.Thing != "2!" || left.Revision != 2 || len(saw) != 3 {
		t.Errorf("it saw %q and left %+v: %v", saw, left, err)
	}
	if records := r.records(name); len(records) != 3 || records[2].Position != left.Position {
		t.Errorf("%d records; the last should be at %d", len(records), left.Position)
	}
}

func TestTransact_gives_up_when_others_are_always_first(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Conflicts.For = time.Second
	decided := 0
	_, err := transact(t.Context(), r.Engine, name, by(olga),
		func(claim.Claim, *Meta) ([]claim.Event, error) {
			decided++
			r.behind(strconv.Itoa(decided))
			return []claim.Event{claimed("mine")}, nil
		})
	if !errors.Is(err, ErrMoved) || decided < 2 {
		t.Errorf("decided %d times: %v", decided, err)
	}
	for _, rec := range r.records(name) {
		if rec.Meta.User != string(mara) {
			t.Error("something was appended")
		}
	}
}

func TestTransact_judges_afresh_what_it_would_refuse_on_a_state_that_may_be_behind(t *testing.T) {
	t.Parallel()
	for what, refusal := range map[string]error{"a refusal": claim.ErrTaken, "nothing to do": nil} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.Watched = func() bool { return true } // the cache is believed
			r.behind("old")
			if _, err := load[claim.Claim, claim.Event](t.Context(), r.Engine, name, false); err != nil {
				t.Fatal(err)
			}
			r.behind("new")
			var saw []string
			left, err := transact(t.Context(), r.Engine, name, by(olga),
				func(c claim.Claim, _ *Meta) ([]claim.Event, error) {
					if saw = append(saw, c.Thing); c.Thing == "old" {
						return nil, refusal
					}
					return []claim.Event{claimed("mine")}, nil
				})
			if err != nil || left.State.Thing != "mine" || len(saw) != 2 || saw[1] != "new" {
				t.Errorf("it saw %q and left %+v: %v", saw, left, err)
			}
		})
	}
	t.Run("and refuses what is refused on the state there is", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.Watched = func() bool { return true }
		r.behind("old")
		for range 2 {
			_, err := transact(t.Context(), r.Engine, name, by(olga),
				func(claim.Claim, *Meta) ([]claim.Event, error) { return nil, claim.ErrTaken })
			if !errors.Is(err, claim.ErrTaken) {
				t.Errorf("got %v", err)
			}
		}
	})
}

func TestTransact_appends_nothing_where_nothing_is_to_be_done(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.behind("old")
	before := r.head()
	for _, refusal := range []error{nil, claim.ErrTaken} {
		left, err := transact(t.Context(), r.Engine, name, by(olga),
			func(claim.Claim, *Meta) ([]claim.Event, error) { return nil, refusal })
		if !errors.Is(err, refusal) || left.State.Thing != "old" || left.Revision != 0 || left.Replayed {
			t.Errorf("left %+v: %v", left, err)
		}
	}
	if r.head() != before {
		t.Error("something was appended")
	}
}

func TestTransact_notes_who_did_it_and_by_which_rule(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.at(noon)
	m := repeatable(olga, "body").Step("first")
	_, err := transact(t.Context(), r.Engine, name, m, func(_ claim.Claim, m *Meta) ([]claim.Event, error) {
		m.rule = "names_for_all"
		return []claim.Event{claimed("one"), claim.Released{Thing: "one"}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range r.records(name) {
		got := rec.Meta
		if got.Body == "" || got.Body == "body" {
			t.Errorf("the body's HMAC is %q", got.Body)
		}
		if got.Attempt == uuid.Nil {
			t.Error("the attempt is not noted")
		}
		got.Body, got.Attempt = "", uuid.Nil
		if want := (eventlog.Meta{Org: string(acme), User: string(olga), Key: "key_1", Command: m.Command,
			Step: m.stepID(), Rule: "names_for_all", Correlation: "req_1", At: noon}); got != want {
			t.Errorf("got %+v\nwant %+v", got, want)
		}
		if want := rec.Meta.EventID(name, rec.Revision, rec.Name); rec.ID != want {
			t.Errorf("the event's id is %s, want %s", rec.ID, want)
		}
	}
}

// Two processes get the same command at the same moment: one does it, the other finds it done.
func TestTransact_does_once_what_two_processes_are_told(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	other, m := r.other(), repeatable(olga, "body")
	decide := func(what string) func(claim.Claim, *Meta) ([]claim.Event, error) {
		return func(claim.Claim, *Meta) ([]claim.Event, error) { return []claim.Event{claimed(what)}, nil }
	}
	left, err := transact(t.Context(), r.Engine, name, m, func(claim.Claim, *Meta) ([]claim.Event, error) {
		first, err := transact(t.Context(), other.Engine, name, m, decide("first"))
		if err != nil || first.Replayed {
			t.Errorf("the first left %+v: %v", first, err)
		}
		return decide("second")(claim.Claim{}, nil)
	})
	if err != nil || !left.Replayed || left.State.Thing != "first" || len(r.records(name)) != 1 {
		t.Errorf("the second left %+v: %v", left, err)
	}
}

func TestLoad_keeps_no_state_that_is_behind_what_was_seen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Watched = func() bool { return true }
	at := func(e *Engine) string {
		f, err := load[claim.Claim, claim.Event](t.Context(), e, name, false)
		if err != nil {
			t.Fatal(err)
		}
		return f.State.Thing
	}
	r.behind("old")
	stale, err := load[claim.Claim, claim.Event](t.Context(), r.Engine, name, true)
	if err != nil {
		t.Fatal(err)
	}
	r.behind("new")
	r.Seen(name, 1)
	r.cache.put(name, stale.Revision, stale, stale.size()) // it was read before, and comes after
	if got := at(r.Engine); got != "new" {
		t.Errorf("it is %q", got)
	}
	r.Seen(name, 1) // late; the state is not behind
	if hit, ok := r.cache.get(name); !ok {
		t.Errorf("what is not behind was dropped: %v", hit)
	}
	r.Forget()
	if _, ok := r.cache.get(name); ok {
		t.Error("it was not forgotten")
	}
}

func TestTransact_ends_what_it_has_begun_though_the_caller_leaves(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, leave := context.WithCancel(t.Context())
	left, err := transact(ctx, r.Engine, name, by(olga), func(claim.Claim, *Meta) ([]claim.Event, error) {
		leave()
		return []claim.Event{claimed("one")}, nil
	})
	if err != nil || left.Revision != 0 || len(r.records(name)) != 1 {
		t.Errorf("left %+v: %v", left, err)
	}
	late, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	_, err = transact(late, r.Engine, name, by(olga),
		func(claim.Claim, *Meta) ([]claim.Event, error) { return []claim.Event{claimed("two")}, nil })
	if err == nil {
		t.Error("it went on beyond the deadline")
	}
}

func TestTransact_adds_nothing_to_what_was_erased(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.session(olga)
	r.keys.Destroy(domain.SessionKey(acme, s))
	_, err := r.sessions().Rename(t.Context(), s, "Title", by(olga))
	refused(t, err, "erased")
	if n := len(r.records(eventlog.SessionStream(acme, s))); n != 1 {
		t.Errorf("%d events", n)
	}
}

func TestIdentify_gives_a_log_one_id(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ids := make(chan string, 4)
	for range cap(ids) {
		go func() {
			id, err := r.other().Identify(context.WithoutCancel(t.Context()), "a")
			if err != nil {
				t.Error(err)
			}
			ids <- id
		}()
	}
	first := <-ids
	for range cap(ids) - 1 {
		if id := <-ids; id != first {
			t.Errorf("%s and %s", first, id)
		}
	}
	if _, err := uuid.Parse(first); err != nil {
		t.Error(err)
	}
}
