package session_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"prelude/domain"
	"prelude/domain/domaintest"
	"prelude/domain/session"
)

func anyDecision(t *rapid.T, step int) decision {
	when := at(step)
	switch rapid.IntRange(0, 8).Draw(t, "command") {
	case 0, 1, 2:
		content := rapid.SampledFrom([]string{"hi", "hi", "", "\xff"}).Draw(t, "content")
		return post(fmt.Sprint(step), content, nil)
	case 3, 4:
		e := session.End{
			Reply:     domain.ReplyID(fmt.Sprintf("rpl_%d", rapid.IntRange(1, step).Draw(t, "reply"))),
			Text:      rapid.SampledFrom([]string{"", "hello"}).Draw(t, "text"),
			Code:      rapid.SampledFrom([]string{"", "lost"}).Draw(t, "code"),
			Cancelled: rapid.Bool().Draw(t, "cancelled"),
		}
		return func(s session.Session) ([]session.Event, error) { return s.End(e, when) }
	case 5:
		title := rapid.SampledFrom([]string{"", "Plans", "Trip", "\x00"}).Draw(t, "title")
		return func(s session.Session) ([]session.Event, error) {
			return sealTitle(s.Rename(title, s.Title.Text, ann, when))
		}
	case 6:
		preset := rapid.SampledFrom([]*session.PresetRef{nil, &tone, {ID: "prs_2"}}).Draw(t, "preset")
		values := rapid.SampledFrom([]string{"", `{"x":1}`}).Draw(t, "values")
		model := rapid.SampledFrom([]string{"", "demo"}).Draw(t, "model")
		return func(s session.Session) ([]session.Event, error) {
			return s.Apply(preset, values, model, ann, when)
		}
	case 7:
		return func(s session.Session) ([]session.Event, error) { return s.Delete(ann, when) }
	}
	return func(s session.Session) ([]session.Event, error) { return s.Restore(ann, when) }
}

// sealTitle seals a title as the log does: the ETag is of what is stored.
func sealTitle(events []session.Event, err error) ([]session.Event, error) {
	for i, e := range events {
		if r, ok := e.(session.Renamed); ok && r.Title.Text != "" {
			r.Title.Sealed = []byte(r.Title.Text)
			events[i] = r
		}
	}
	return events, err
}

// invariants of a session, whatever was decided:
//   - it exists from Started on, and id, org, owner and birth never change;
//   - at most one reply is under way: the last one that was started and has not ended;
//   - Messages counts posts and replies, and each post has its reply in the same append;
//   - a reply ends once, and only if it was started;
//   - a deleted session takes no event but Restored and the end of the reply that was under way;
//   - the ETag changes if the title does, and only then.
func invariants(t *rapid.T, s domaintest.Step[session.Session, session.Event]) {
	is := s.After
	if is.Exists() != (len(s.History) > 0) {
		t.Fatalf("it exists: %t, after %d events", is.Exists(), len(s.History))
	}
	if is.Exists() && (is.ID != "ses_1" || is.Org != "org_1" || is.Owner != ann || !is.CreatedAt.Equal(noon)) {
		t.Fatalf("it became %+v", is)
	}
	running, posts, replies := replay(t, s.History)
	if is.Messages != posts+replies || posts != replies {
		t.Fatalf("%d messages, with %d posts and %d replies", is.Messages, posts, replies)
	}
	if (is.UnderWay != nil) != (running != "") || is.UnderWay != nil && is.UnderWay.Reply != running {
		t.Fatalf("under way is %+v, want %q", is.UnderWay, running)
	}
	deletedTakesNoWrites(t, s)
	if (s.Before.ETag() == is.ETag()) != (s.Before.Title.Text == is.Title.Text) {
		t.Fatalf("the title went from %q to %q, the ETag from %s to %s", s.Before.Title.Text, is.Title.Text,
			s.Before.ETag(), is.ETag())
	}
}

// replay counts what was said, and finds the reply that has not ended.
func replay(t *rapid.T, history []session.Event) (running domain.ReplyID, posts, replies int) {
	ended := func(id domain.ReplyID) {
		if running != id {
			t.Fatalf("reply %s ended while %q was under way", id, running)
		}
		running = ""
	}
	for _, e := range history {
		switch e := e.(type) {
		case session.MessagePosted:
			posts++
		case session.ReplyStarted:
			if running != "" {
				t.Fatalf("%s and %s are under way", running, e.Reply)
			}
			running, replies = e.Reply, replies+1
		case session.ReplyCompleted:
			ended(e.Reply)
		case session.ReplyFailed:
			ended(e.Reply)
		case session.ReplyCancelled:
			ended(e.Reply)
		}
	}
	return running, posts, replies
}

func deletedTakesNoWrites(t *rapid.T, s domaintest.Step[session.Session, session.Event]) {
	if s.Before.DeletedAt == nil {
		return
	}
	for _, e := range s.Events {
		switch e.(type) {
		case session.Restored, session.ReplyCompleted, session.ReplyFailed, session.ReplyCancelled:
		default:
			t.Fatalf("a deleted session took %T", e)
		}
	}
}

func TestNoDecisionsBreakASession(t *testing.T) {
	t.Parallel()
	domaintest.Walk(t, func(t *rapid.T, step int) decision {
		if step == 1 {
			return start(nil)
		}
		return anyDecision(t, step)
	}, invariants)
}

func TestNothingHappensToASessionThatWasNotStarted(t *testing.T) {
	t.Parallel()
	domaintest.Walk(t, anyDecision, func(t *rapid.T, s domaintest.Step[session.Session, session.Event]) {
		if len(s.History) > 0 {
			t.Fatalf("it took %+v", s.History)
		}
	})
}
