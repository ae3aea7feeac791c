package commands

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"

	"prelude/domain"
	"prelude/domain/claim"
	"prelude/domain/preset"
	"prelude/domain/receipt"
	"prelude/domain/session"
	"prelude/internal/eventlog"
)

// breaks lets so many reads of a stream break in a way, and those after them be whole.
func (s *scripted) breaks(stream eventlog.Stream, times int, way func(n int, raw eventlog.Raw) (eventlog.Raw, error)) {
	reads := 0
	s.reading = func(of string, n int, raw eventlog.Raw) (eventlog.Raw, error) {
		if of != stream.String() {
			return raw, nil
		}
		if n == 0 {
			reads++
		}
		if reads > times {
			return raw, nil
		}
		return way(n, raw)
	}
}

// ways are those in which a read may break.
func ways() map[string]func(n int, raw eventlog.Raw) (eventlog.Raw, error) {
	return map[string]func(n int, raw eventlog.Raw) (eventlog.Raw, error){
		"it says so": func(n int, raw eventlog.Raw) (eventlog.Raw, error) {
			if n < 1 {
				return raw, nil
			}
			return raw, fmt.Errorf("%w: it was cut", eventlog.ErrChanged)
		},
		"events are left out": func(n int, raw eventlog.Raw) (eventlog.Raw, error) {
			if n > 0 {
				raw.Revision += 1000
			}
			return raw, nil
		},
		"the first events are left out": func(_ int, raw eventlog.Raw) (eventlog.Raw, error) {
			raw.Revision += 1000
			return raw, nil
		},
	}
}

// folds are what a stream is folded to.
func folds() map[string]func(r *rig, s domain.SessionID, first domain.ReplyID) error {
	return map[string]func(r *rig, s domain.SessionID, first domain.ReplyID) error{
		"the state of a session": func(r *rig, s domain.SessionID, _ domain.ReplyID) error {
			f, err := load[session.Session, session.Event](r.t.Context(), r.Engine, eventlog.SessionStream(acme, s), true)
			if err == nil && f.State.Events != 9 {
				err = fmt.Errorf("it has %d events", f.State.Events)
			}
			return err
		},
		"what was said in it": func(r *rig, s domain.SessionID, _ domain.ReplyID) error {
			b, err := r.sessions().history(r.t.Context(), session.Session{ID: s, Org: acme, Events: 9},
				receipt.Plan{Model: "demo", Window: 100_000, Last: receipt.Piece{Role: "user", Text: "Hi"}})
			if err == nil && len(b.Done().Pieces) != 5 {
				err = fmt.Errorf("it has %d texts", len(b.Done().Pieces))
			}
			return err
		},
		"a branch of it": func(r *rig, s domain.SessionID, _ domain.ReplyID) error {
			left, err := r.sessions().Branch(r.t.Context(), BranchSession{Session: s}, once())
			if err == nil && left.State.Messages != 4 {
				err = fmt.Errorf("it has %d messages", left.State.Messages)
			}
			return err
		},
		"the end of its first reply": func(r *rig, s domain.SessionID, first domain.ReplyID) error {
			end, err := r.endOf(r.t.Context(), eventlog.SessionStream(acme, s), first, once(), nil, 0, nil)
			if err == nil && end.Status != "completed" {
				err = fmt.Errorf("it is %+v", end)
			}
			return err
		},
	}
}

// A stream that changes while it is read is read again, from its start. One that changes each time is unavailable: it is
// never a state without the events that are missing.
func TestFolds_pass_over_no_gap(t *testing.T) {
	t.Parallel()
	for fold, of := range folds() {
		for way, broken := range ways() {
			for _, times := range []int{1, eventlog.Rereads - 1, 1000} {
				t.Run(fmt.Sprintf("%s, %s %d times", fold, way, times), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						r, store := newScriptedRig(t)
						s := r.session(olga)
						first, _ := r.posted(s, once())
						r.posted(s, once())
						e := r.again()
						backwards := fold != "the state of a session" && fold != "a branch of it"
						if backwards && way == "the first events are left out" {
							t.Skip("read backwards, what is before the first is what is asked for")
						}
						store.breaks(eventlog.SessionStream(acme, s), times, broken)
						err := of(e, s, first.Reply)
						if times < eventlog.Rereads && err != nil || times >= eventlog.Rereads && !errors.Is(err, eventlog.ErrChanged) {
							t.Errorf("got %v", err)
						}
					})
				})
			}
		}
	}
}

// A gap between what is in memory, or a snapshot, and the first event that is read is none less.
func TestLoad_passes_over_no_gap_after_what_it_knows(t *testing.T) {
	t.Parallel()
	gap := func(_ int, raw eventlog.Raw) (eventlog.Raw, error) {
		raw.Revision++
		return raw, nil
	}
	t.Run("in memory", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r, store := newScriptedRig(t)
			for n := range 3 {
				r.behind(strconv.Itoa(n))
				if _, err := load[claim.Claim, claim.Event](t.Context(), r.Engine, name, true); err != nil {
					t.Fatal(err)
				}
			}
			r.behind("last")
			store.breaks(name, 1, gap)
			f, err := load[claim.Claim, claim.Event](t.Context(), r.Engine, name, true)
			if err != nil || f.State.Thing != "last" || f.Revision != 3 {
				t.Errorf("it is %+v: %v", f, err)
			}
			store.breaks(name, 1000, gap)
			r.behindOn(store)
			if f, err := load[claim.Claim, claim.Event](t.Context(), r.Engine, name, true); !errors.Is(err, eventlog.ErrChanged) {
				t.Errorf("it is %+v: %v", f, err)
			}
		})
	})
	t.Run("in a snapshot", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r, store := newScriptedRig(t)
			r.Snapshots = &shelf{}
			id := r.session(olga)
			r.grow(id, 2*snapshotEvery)
			r.coldLoad(id) // which leaves a snapshot
			r.grow(id, 2*snapshotEvery+40)
			stream := eventlog.SessionStream(acme, id)
			want := r.coldLoad(id)
			reads := 0
			store.reading = func(of string, n int, raw eventlog.Raw) (eventlog.Raw, error) {
				if n == 0 && of == stream.String() {
					reads++
				}
				if reads == 2 { // that after the snapshot
					raw.Revision++
				}
				return raw, nil
			}
			if got := r.coldLoad(id); got.Revision != want.Revision || got.State.Messages != want.State.Messages || reads != 3 {
				t.Errorf("after %d reads it is at %d with %d messages, not at %d with %d", reads, got.Revision,
					got.State.Messages, want.Revision, want.State.Messages)
			}
		})
	})
	t.Run("in the end of a conversation", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r, store := newScriptedRig(t)
			id := r.session(olga)
			r.posted(id, once())
			stream := eventlog.SessionStream(acme, id)
			said := func(events int) (texts int, err error) {
				b, err := r.sessions().history(t.Context(), session.Session{ID: id, Org: acme, Events: events},
					receipt.Plan{Model: "demo", Window: 100_000, Last: receipt.Piece{Role: "user", Text: "Hi"}})
				if err == nil {
					texts = len(b.Done().Pieces)
				}
				return texts, err
			}
			if n, err := said(5); n != 3 || err != nil { // and it is in memory
				t.Fatalf("%d texts: %v", n, err)
			}
			r.other().posted(id, once())
			store.breaks(stream, 1, gap)
			if n, err := said(9); n != 5 || err != nil {
				t.Errorf("%d texts: %v", n, err)
			}
		})
	})
}

// behindOn appends to the name while reads of it break.
func (r *rig) behindOn(store *scripted) {
	reading := store.reading
	store.reading = nil
	r.behind("more")
	store.reading = reading
}

// What a repeat looks for in a stream, it looks for again where that has changed meanwhile.
func TestRepeat_of_a_renaming_reads_again_what_changed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, store := newScriptedRig(t)
		id, m := r.create(olga, "tone"), repeatable(olga, "body")
		rename := func(r *rig) error {
			_, err := r.presets().Edit(t.Context(), EditPreset{Preset: id,
				Change: func(_ string, d preset.Draft) (string, preset.Draft, error) { return "other", d, nil }}, m)
			return err
		}
		if err := rename(r); err != nil {
			t.Fatal(err)
		}
		changes := 0
		store.reading = func(of string, n int, raw eventlog.Raw) (eventlog.Raw, error) {
			if of == eventlog.PresetStream(acme, id).String() && n == 0 && changes < 2 {
				changes++
				return raw, eventlog.ErrChanged
			}
			return raw, nil
		}
		if err := rename(r); err != nil {
			t.Error(err)
		}
	})
}
