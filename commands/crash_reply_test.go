package commands

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"prelude/domain"
	"prelude/domain/receipt"
	"prelude/domain/session"
)

// replying is a command that makes a reply. Where the process is killed between the reply's start and its end, the text
// is lost with it, and the reply has the other end.
type replying struct {
	killable
	otherEnd string // in that end's event
}

// replies are the commands that make one.
func replies() map[string]replying {
	const lost = `"code":"lost"`
	nothing := func(*rig) any { return domain.SessionID("") }
	aSession := func(r *rig) any { return r.session(olga) }
	return map[string]replying{
		"post a message": {killable{"Sessions.Post", aSession, toTheEnd}, lost},
		"post a message after a reply that was lost": {killable{"Sessions.Post",
			func(r *rig) any { return r.underWay(r.session(olga)).session }, toTheEnd}, lost},
		"complete":                             {killable{"Sessions.Complete", nothing, toTheEnd}, lost},
		"cancel a turn where it is made":       {killable{"Sessions.Cancel", aSession, cancel}, "session.reply_cancelled"},
		"cancel a completion where it is made": {killable{"Sessions.Cancel", nothing, cancel}, `"status":"cancelled"`},
		"cancel a turn of another process, which is killed": {killable{"Sessions.Cancel",
			func(r *rig) any { return neighbour{r, r.session(olga)} }, cancelElsewhere}, "session.reply_cancelled"},
	}
}

var hiCompletion = Complete{Asked: "demo", Messages: []receipt.Message{{Role: "user", Content: "Hi"}}}

// begin begins a reply, of a session, or without one, of a completion.
func (r *rig) begin(id domain.SessionID, m Meta) (reply domain.ReplyID, replayed bool, err error) {
	if id == "" {
		c, err := r.sessions().Complete(r.t.Context(), hiCompletion, m)
		return c.Reply, c.Replayed, err
	}
	p, err := r.sessions().Post(r.t.Context(), PostMessage{Session: id, Content: "Hi"}, m)
	return p.Reply, p.Replayed, err
}

// toTheEnd makes a reply and waits for its end. In a repeat nobody makes it any more: then it is ended.
func toTheEnd(r *rig, was any, m Meta) error {
	id := was.(domain.SessionID)
	reply, replayed, err := r.begin(id, m)
	if err == nil && replayed {
		_, err = r.sessions().Recover(r.t.Context(), acme, id, reply)
	} else if err == nil {
		_, err = r.hub.Await(r.t.Context(), reply).Wait(r.t.Context())
	}
	return err
}

// cancel makes a reply that would go on for ever, and cancels it when a part is there.
func cancel(r *rig, was any, m Meta) error {
	id := was.(domain.SessionID)
	reply, err := r.endless(id, m)
	if err != nil {
		return err
	}
	return r.sessions().Cancel(r.t.Context(), id, reply, theCancel(m))
}

// neighbour is another process, which lives on, and a session.
type neighbour struct {
	*rig
	session domain.SessionID
}

// cancelElsewhere makes such a reply, and the neighbour cancels it.
func cancelElsewhere(r *rig, was any, m Meta) error {
	n := was.(neighbour)
	reply, err := r.endless(n.session, m)
	if err != nil {
		return err
	}
	here := n.other().sessions()
	here.CancelAt = func(ctx context.Context, _ session.Producer, id domain.ReplyID, by domain.UserID) error {
		run := r.hub.Find(id)
		if run == nil {
			return errors.New("it does not make that")
		}
		if _, err := r.hub.Cancel(ctx, run, by); err != nil {
			return err
		}
		if m, ok := r.Log.Store.(*mortal); ok {
			return m.alive() // who was killed does not answer
		}
		return nil
	}
	return here.Cancel(r.t.Context(), n.session, reply, theCancel(m))
}

func theCancel(m Meta) Meta {
	m.Command = uuid.MustParse("00000000-0000-4000-8000-0000000000bb")
	return m
}

// endless begins a reply that would go on for ever, and waits for its first part. In a repeat nobody makes it.
func (r *rig) endless(id domain.SessionID, m Meta) (domain.ReplyID, error) {
	r.Models = script{waiting(nil)}
	reply, replayed, err := r.begin(id, m)
	if err == nil && !replayed {
		_, err = r.hub.Await(r.t.Context(), reply).Next(r.t.Context(), 0, 0)
	}
	return reply, err
}

// underWay begins a reply which this process never ends, as one that was killed.
func (r *rig) underWay(id domain.SessionID) begun {
	r.t.Helper()
	r.Models = script{waiting(nil)}
	reply, _, err := r.begin(id, by(olga))
	if err != nil {
		r.t.Fatal(err)
	}
	return begun{id, reply}
}

// begun is a reply, and the session it is in, if any.
type begun struct {
	session domain.SessionID
	reply   domain.ReplyID
}

// lostReplies are the commands that end a reply which nobody makes any more.
func lostReplies() map[string]killable {
	turn := func(r *rig) any { return r.underWay(r.session(olga)) }
	completion := func(r *rig) any { return r.underWay("") }
	recovered := func(r *rig, was any, _ Meta) error {
		b := was.(begun)
		_, err := r.sessions().Recover(r.t.Context(), acme, b.session, b.reply)
		return err
	}
	cancel := func(r *rig, was any, m Meta) error {
		b := was.(begun)
		return r.sessions().Cancel(r.t.Context(), b.session, b.reply, m)
	}
	return map[string]killable{
		"recover a turn":                 {"Sessions.Recover", turn, recovered},
		"recover a completion":           {"Sessions.Recover", completion, recovered},
		"cancel a turn in the log":       {"Sessions.Cancel", turn, cancel},
		"cancel a completion in the log": {"Sessions.Cancel", completion, cancel},
		"close a lost turn": {"Sessions.CloseLost", turn, func(r *rig, was any, _ Meta) error {
			b := was.(begun)
			_, err := r.sessions().CloseLost(r.t.Context(), acme, b.session, b.reply)
			return err
		}},
		"close a lost completion": {"Sessions.CloseLostCompletion", completion, func(r *rig, was any, _ Meta) error {
			_, err := r.sessions().CloseLostCompletion(r.t.Context(), acme, was.(begun).reply)
			return err
		}},
	}
}

// A reply takes two appends, and its keys. Killed at any of these, before or after, it is there once, and has one end.
func TestReplies_killed_at_each_step_are_there_once_and_end_once(t *testing.T) {
	t.Parallel()
	for name, c := range replies() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, writes := undisturbed(t, c.killable)
			last := len(want.Ends) - 1
			for _, k := range eachStep(writes) {
				got, want := killed(t, c.killable, k), want
				// The last two writes are the start and the end.
				if k == (kill{writes - 2, true}) || k == (kill{writes - 1, false}) {
					want.Ends = append(slices.Clone(want.Ends[:last]), c.otherEnd)
					if len(got.Ends) > last && strings.Contains(got.Ends[last], c.otherEnd) {
						got.Ends[last] = c.otherEnd
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("killed at %v (-undisturbed +repeated):\n%s", k, diff)
				}
			}
			t.Logf("%d writes, killed %d times; another state: %v", writes, 2*writes, t.Failed())
		})
	}
}
