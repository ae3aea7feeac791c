package commands

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"prelude/domain"
	"prelude/domain/session"
	"prelude/internal/eventlog"
)

// An outage is one ERROR and one INFO, however many replies end in it; the cause is named, and no error's words.
func TestOutage_is_logged_once_for_all_replies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, store, kept := newLoggingRig(t)
		release := make(chan struct{})
		r.Models = script{waiting(release)}
		var runs []*Run
		for range 5 {
			reply, _, err := r.begin("", once())
			if err != nil {
				t.Fatal(err)
			}
			runs = append(runs, r.hub.Find(reply))
		}
		for range 2 {
			store.leave(false)
			close(release)
			<-time.After(time.Minute)
			for _, run := range runs {
				if _, ended := run.Ended(); ended || !run.Pending() {
					t.Error("its end is told, or it does not say that it waits")
				}
			}
			store.comeBack()
			for _, run := range runs {
				if end, err := run.Wait(t.Context()); err != nil || end.Status != "completed" || run.Pending() {
					t.Errorf("it ended with %+v: %v", end, err)
				}
			}
			release = make(chan struct{})
			r.Models = script{waiting(release)}
			reply, _, err := r.begin("", once())
			if err != nil {
				t.Fatal(err)
			}
			runs = []*Run{r.hub.Find(reply)}
		}
		want := []string{"the ends of replies cannot be recorded yet", "the ends of replies cannot be recorded yet"}
		if got := kept.at(slog.LevelError); !slices.Equal(got, want) {
			t.Errorf("at ERROR it says %q", got)
		}
		want = []string{"the ends of replies are recorded", "the ends of replies are recorded"}
		if got := kept.at(slog.LevelInfo); !slices.Equal(got, want) {
			t.Errorf("at INFO it says %q", got)
		}
		kept.all[0].Attrs(func(a slog.Attr) bool {
			if a.Key == "cause" && a.Value.String() != "the event store does not answer" {
				t.Errorf("the cause is %s", a.Value)
			}
			return true
		})
	})
}

// Another process may end a reply first: then that end is told, to those too who were given some of its text, which is
// kept nowhere.
func TestReply_that_another_process_ended_is_told_as_the_log_has_it(t *testing.T) {
	t.Parallel()
	for name, completion := range map[string]bool{"a turn": false, "a completion": true} {
		for how, ends := range map[string]func(Sessions, domain.SessionID, domain.ReplyID) error{
			"lost failed 0": func(h Sessions, s domain.SessionID, reply domain.ReplyID) error {
				h.Gone = func(session.Producer) bool { return true }
				_, err := h.Recover(context.Background(), acme, s, reply)
				return err
			},
			" cancelled 0": func(h Sessions, s domain.SessionID, reply domain.ReplyID) error {
				return h.Cancel(context.Background(), s, reply, once())
			},
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					r, _ := newScriptedRig(t)
					id := domain.SessionID("")
					if !completion {
						id = r.session(olga)
					}
					reply, run, release := r.waits(id)
					if p, err := run.Next(t.Context(), 0, 0); err != nil || string(p.Text) != "Well" {
						t.Fatalf("%q: %v", p.Text, err)
					}
					if err := ends(r.other().sessions(), id, reply); err != nil {
						t.Fatal(err)
					}
					at := r.store().last
					close(release) // the model says a full stop, and that it is complete
					end, err := run.Wait(t.Context())
					if got := end.Code + " " + end.Status + " 0"; err != nil || got != how || end.Length != 0 ||
						end.Position != at || end.At.IsZero() {
						t.Errorf("told %+v at %d: %v", end, at, err)
					}
					for _, from := range []int{0, 2, 4, 100} {
						if p, err := run.Next(t.Context(), from, 0); err != nil || p.Text != nil || p.End == nil {
							t.Errorf("from %d: %q, %v: %v", from, p.Text, p.End, err)
						}
					}
				})
			})
		}
	}
}

// waits begins a reply, of a session or a completion, whose model says the rest when release is closed.
func (r *rig) waits(in domain.SessionID) (reply domain.ReplyID, run *Run, release chan struct{}) {
	r.t.Helper()
	release = make(chan struct{})
	r.Models = script{waiting(release)}
	reply, _, err := r.begin(in, once())
	if err != nil {
		r.t.Fatal(err)
	}
	return reply, r.hub.Find(reply), release
}

// store is the scripted store of the rig.
func (r *rig) store() *scripted { return r.Log.Store.(*scripted) }

// What this process makes it closes itself, however late: it has the text.
func TestRecover_closes_nothing_that_is_made_here(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, store := newScriptedRig(t)
		id := r.session(olga)
		reply, run, release := r.waits(id)
		store.leave(false)
		close(release)
		<-time.After(time.Hour) // long after it should have ended
		store.comeBack()
		at, err := r.sessions().Recover(t.Context(), acme, id, reply)
		if err != nil || at != 0 {
			t.Errorf("it was closed at %d: %v", at, err)
		}
		if end, err := run.Wait(t.Context()); err != nil || end.Status != "completed" {
			t.Errorf("it ended with %+v: %v", end, err)
		}
	})
}

// A process that stops in an outage tells nobody an end, and the next start finds the reply lost.
func TestClose_in_an_outage_tells_no_end(t *testing.T) {
	t.Parallel()
	for name, completion := range map[string]bool{"a turn": false, "a completion": true} {
		synctest.Test(t, func(t *testing.T) {
			r, store, kept := newLoggingRig(t)
			r.Models = script{waiting(nil)}
			id := domain.SessionID("")
			if !completion {
				id = r.session(olga)
			}
			reply, err := r.endless(id, once())
			if err != nil {
				t.Fatal(err)
			}
			run := r.hub.Find(reply)
			store.leave(false)
			cancelled := make(chan error)
			go func() { cancelled <- r.sessions().Cancel(context.Background(), id, reply, once()) }()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			began := time.Now()
			if err := r.hub.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 3*time.Second {
				t.Errorf("%s: after %v: %v", name, time.Since(began), err)
			}
			if err := <-cancelled; !errors.Is(err, eventlog.ErrUnavailable) {
				t.Errorf("%s: who cancels is told %v", name, err)
			}
			if end, err := run.Wait(t.Context()); !errors.Is(err, ErrUnrecorded) {
				t.Errorf("%s: who waits is told %+v: %v", name, end, err)
			}
			if p, err := run.Next(t.Context(), len("Well"), 0); !errors.Is(err, ErrUnrecorded) {
				t.Errorf("%s: who follows is told %+v: %v", name, p, err)
			}
			store.comeBack()
			next := r.again().sessions()
			if at, err := next.Recover(t.Context(), acme, id, reply); err != nil || at == 0 {
				t.Errorf("%s: the next start closes it at %d: %v", name, at, err)
			}
			stream := eventlog.SessionStream(acme, id)
			if completion {
				stream = eventlog.CompletionStream(acme, reply)
			}
			end, err := next.endOf(t.Context(), stream, reply, once(), nil, 0, nil)
			if err != nil || end.Code != "lost" || !end.textLost {
				t.Errorf("%s: the log has %+v: %v", name, end, err)
			}
			want := []string{"the ends of replies cannot be recorded yet", "a reply's end is not recorded"}
			if got := kept.at(slog.LevelError); !slices.Equal(got, want) {
				t.Errorf("at ERROR it says %q", got)
			}
		})
	}
}

// refuses is a store that refuses every append to a stream for good.
type refuses struct{ eventlog.Store }

func (refuses) Append(context.Context, string, eventlog.Revision, []eventlog.Proposed) (eventlog.Appended, error) {
	return eventlog.Appended{}, eventlog.ErrGone
}

// Where the log refuses every end no process waits for ever: the reply is nobody's then.
func TestReply_whose_end_the_log_refuses_is_given_up(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, _ := newScriptedRig(t)
		id := r.session(olga)
		reply, run, release := r.waits(id)
		r.Log.Store = refuses{r.Log.Store}
		close(release)
		if end, err := run.Wait(t.Context()); !errors.Is(err, ErrUnrecorded) {
			t.Errorf("it is told %+v: %v", end, err)
		}
		if r.hub.Find(reply) != nil || r.hub.makes(reply) {
			t.Error("it is said to be made still")
		}
	})
}

// The end of a reply to a person who was erased meanwhile keeps no text, and nobody is told one.
func TestReply_of_an_erased_session_ends_without_its_text(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, _ := newScriptedRig(t)
		id := r.session(olga)
		_, run, release := r.waits(id)
		r.keys.Destroy(domain.SessionKey(acme, id))
		close(release)
		end, err := run.Wait(t.Context())
		if err != nil || end.Status != "completed" || end.Length != 0 || run.Text() != "" {
			t.Errorf("it ended with %+v and %q: %v", end, run.Text(), err)
		}
	})
}
