package commands

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"prelude/domain"
	"prelude/domain/completion"
	"prelude/domain/receipt"
	"prelude/domain/session"
	"prelude/internal/eventlog"
)

// far are a process that makes replies that never end by themselves, and another one of another instance.
type far struct {
	makes *rig
	other *rig
	here  Sessions // of the other
}

func newFar(t *testing.T) *far {
	t.Helper()
	makes := newRig(t)
	makes.Models = script{waiting(nil)}
	other := makes.other()
	here := other.sessions()
	here.Producer.Instance = "two"
	return &far{makes, other, here}
}

// turn begins a reply of a session.
func (f *far) turn(t *testing.T) (domain.SessionID, domain.ReplyID) {
	t.Helper()
	s := f.makes.session(olga)
	p, err := f.makes.sessions().Post(t.Context(), PostMessage{Session: s, Content: "Hi"}, by(olga))
	if err != nil {
		t.Fatal(err)
	}
	return s, p.Reply
}

// completion begins a reply without a session.
func (f *far) completion(t *testing.T) domain.ReplyID {
	t.Helper()
	c, err := f.makes.sessions().Complete(t.Context(),
		Complete{Asked: "demo", Messages: []receipt.Message{{Role: "user", Content: "Hi"}}}, by(olga))
	if err != nil {
		t.Fatal(err)
	}
	return c.Reply
}

func TestMadeBy_names_the_producer_of_what_is_under_way(t *testing.T) {
	t.Parallel()
	f := newFar(t)
	s, reply := f.turn(t)
	done := f.completion(t)
	one := session.Producer{Instance: f.makes.instance, Boot: 1}
	for _, c := range []struct {
		name    string
		user    domain.UserID
		session domain.SessionID
		reply   domain.ReplyID
		running bool
	}{
		{"a reply", olga, s, reply, true},
		{"a completion", olga, "", done, true},
		{"another's reply", mara, s, reply, false},
		{"another's completion", mara, "", done, false},
		{"another reply of the session", olga, s, "rpl_9", false},
		{"a completion that is not there", olga, "", "rpl_9", false},
	} {
		u, running, err := f.here.MadeBy(t.Context(), domain.Principal{Org: acme, User: c.user}, c.session, c.reply)
		if err != nil || running != c.running || running && (u.Producer != one || u.Until.IsZero()) {
			t.Errorf("%s: %+v, %v, %v", c.name, u, running, err)
		}
	}
	for id, r := range map[domain.SessionID]domain.ReplyID{s: reply, "": done} {
		if err := f.here.Cancel(t.Context(), id, r, by(olga)); err != nil {
			t.Fatal(err)
		}
		_, running, err := f.here.MadeBy(t.Context(), domain.Principal{Org: acme, User: olga}, id, r)
		if err != nil || running {
			t.Errorf("what has ended is running: %v", err)
		}
	}
}

func TestCancel_asks_the_process_that_makes_the_reply(t *testing.T) {
	t.Parallel()
	f := newFar(t)
	s, reply := f.turn(t)
	asked := 0
	f.here.CancelAt = func(ctx context.Context, p session.Producer, r domain.ReplyID, u domain.UserID) error {
		asked++
		if p.Instance != f.makes.instance || r != reply || u != olga {
			t.Errorf("%+v is asked to end %s as %s", p, r, u)
		}
		_, err := f.makes.hub.Cancel(ctx, f.makes.hub.Find(r), u)
		return err
	}
	if err := f.here.Cancel(t.Context(), s, reply, by(mara)); !errors.Is(err, domain.ErrNotFound) || asked != 0 {
		t.Errorf("by another: %v, asked %d times", err, asked)
	}
	if err := f.here.Cancel(t.Context(), s, reply, by(olga)); err != nil {
		t.Fatal(err)
	}
	ends := f.makes.ends(s)
	if e, ok := ends[0].(session.ReplyCancelled); !ok || e.By != olga || e.Length != len("Well") || len(ends) != 1 {
		t.Errorf("it ended with %+v", ends)
	}
	if err := f.here.Cancel(t.Context(), s, reply, by(olga)); err != nil || asked != 1 {
		t.Errorf("again: %v, asked %d times", err, asked)
	}
}

func TestCancel_ends_in_the_log_what_is_made_where_nobody_reaches(t *testing.T) {
	t.Parallel()
	for name, reach := range map[string]func(context.Context, session.Producer, domain.ReplyID, domain.UserID) error{
		"no other process is reached": nil,
		"that process is not reached": func(context.Context, session.Producer, domain.ReplyID, domain.UserID) error {
			return errors.New("connection refused")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFar(t)
			f.here.CancelAt = reach
			s, reply := f.turn(t)
			if err := f.here.Cancel(t.Context(), s, reply, by(olga)); err != nil {
				t.Fatal(err)
			}
			if e, ok := f.makes.ends(s)[0].(session.ReplyCancelled); !ok || e.By != olga {
				t.Errorf("it ended with %+v", f.makes.ends(s))
			}
			done := f.completion(t)
			if err := f.here.Cancel(t.Context(), "", done, by(mara)); !errors.Is(err, domain.ErrNotFound) {
				t.Errorf("a completion, by another: %v", err)
			}
			for range 2 { // the second decides nothing
				if err := f.here.Cancel(t.Context(), "", done, by(olga)); err != nil {
					t.Fatal(err)
				}
			}
			records := f.makes.records(eventlog.CompletionStream(acme, done))
			if e, ok := records[1].Event.(completion.Ended); !ok || e.Status != "cancelled" || len(records) != 2 {
				t.Errorf("it ended with %+v", records)
			}
		})
	}
}

// leaving is a store that takes nothing while it is away.
type leaving struct {
	eventlog.Store
	away atomic.Bool
}

func (l *leaving) Append(ctx context.Context, stream string, expected eventlog.Revision, events []eventlog.Proposed,
) (eventlog.Appended, error) {
	if l.away.Load() {
		return eventlog.Appended{}, eventlog.ErrUnavailable
	}
	return l.Store.Append(ctx, stream, expected, events)
}

// Who cancels while the log is away is told that it is: the reply is under way until the log has its end.
func TestCancel_of_a_reply_whose_end_was_not_recorded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	store := &leaving{Store: r.Log.Store}
	e := r.over(&eventlog.Log{Store: store, Keys: r.keys})
	id := r.session(olga)
	reply, err := e.endless(id, by(olga))
	if err != nil {
		t.Fatal(err)
	}
	store.away.Store(true)
	e.hub.Patience = 20 * time.Millisecond
	if err := e.sessions().Cancel(t.Context(), id, reply, by(olga)); !errors.Is(err, eventlog.ErrUnavailable) {
		t.Errorf("while the log is away: %v", err)
	}
	if end, ended := e.hub.Find(reply).Ended(); ended {
		t.Errorf("who follows was told %+v", end)
	}
	store.away.Store(false)
	e.hub.Patience = time.Minute
	for range 2 { // the second time it is so already
		if err := e.sessions().Cancel(t.Context(), id, reply, by(olga)); err != nil {
			t.Error(err)
		}
	}
	ends := r.ends(id)
	if len(ends) != 1 {
		t.Fatalf("it has the ends %+v", ends)
	}
	if _, cancelled := ends[0].(session.ReplyCancelled); !cancelled {
		t.Errorf("it ended with %+v", ends[0])
	}
}
