package session_test

import (
	"testing"

	"prelude/domain"
	"prelude/domain/domaintest"
	"prelude/domain/session"
)

func TestExpire(t *testing.T) {
	t.Parallel()
	expire := func(before int) decision {
		return func(s session.Session) ([]session.Event, error) { return s.Expire(at(before), 30, at(99)) }
	}
	expired := session.Expired{Days: 30, At: at(99)}
	domaintest.Run(t,
		is{Name: "a session expires in which nothing has happened since", Given: given(ended("1")...), When: expire(3),
			Then: []session.Event{expired}},
		is{Name: "one in which something has does not", Given: given(ended("1")...), When: expire(2)},
		is{Name: "one that has expired stays so", Given: given(expired), When: expire(3)},
		is{Name: "also when it is deleted", Given: given(deleted), When: expire(50), Then: []session.Event{expired}},
		is{Name: "one that is not there is not found", When: expire(3), Refused: domain.ErrNotFound},
		is{Name: "an expired one takes no message", Given: given(expired), When: post("1", "hi", nil),
			Refused: domain.ErrErased},
		is{Name: "and no title", Given: given(expired), Refused: domain.ErrErased,
			When: func(s session.Session) ([]session.Event, error) { return s.Rename("t", "", ann, at(100)) }},
		is{Name: "and no preset", Given: given(expired), Refused: domain.ErrErased,
			When: func(s session.Session) ([]session.Event, error) { return s.Apply(&tone, "", "", ann, at(100)) }},
		is{Name: "but it can be deleted", Given: given(expired),
			When: func(s session.Session) ([]session.Event, error) { return s.Delete(ann, at(100)) },
			Then: []session.Event{session.Deleted{By: ann, At: at(100)}}},
		is{Name: "and a reply in it that ended without a text ends", Given: given(append(turn("1"), expired)...),
			When: func(s session.Session) ([]session.Event, error) { return s.End(session.Lost("rpl_1"), at(100)) },
			Then: []session.Event{session.ReplyFailed{Reply: "rpl_1", Code: "lost", Retryable: true, Model: "demo",
				Detail: session.Lost("rpl_1").Detail, At: at(100)}}},
	)
	if s := domaintest.Fold[session.Session](given(expired)...); !s.UpdatedAt.Equal(noon) || s.Status() != "active" {
		t.Errorf("it is %+v", s)
	}
}
