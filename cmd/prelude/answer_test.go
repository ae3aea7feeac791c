package main

import (
	"strings"
	"testing"
)

// TestAnswers: what creates says where the new thing is, and answers stand for their own end.
func TestAnswers(t *testing.T) {
	t.Parallel()
	r := start(t)
	a := r.do("POST", "/v1/users", doc{"handle": "ada", "name": "Ada", "role": "member"})
	if want := "/v1/users/" + a.want(201).str("id"); a.Header.Get("Location") != want {
		t.Errorf("a user is at %q, want %q", a.Header.Get("Location"), want)
	}
	r.do("GET", a.Header.Get("Location"), nil).want(200)
	r.as(r.member("eve", "member")).do("GET", a.Header.Get("Location"), nil).refused(404, "not_found")
	turn := r.do("POST", "/v1/sessions/"+r.session()+"/messages", doc{"content": "Hi"})
	reply := turn.want(201).str("reply", "id")
	if got := turn.Header.Get("Location"); got != "/v1/replies/"+reply {
		t.Errorf("the reply is at %q", got)
	}
	end := ""
	for _, e := range r.stream("GET", "/v1/replies/"+reply+"/stream", nil) {
		end = parse(e.Data).str("position")
	}
	if got := turn.Header.Get("Prelude-Position"); got != end {
		t.Errorf("the answer's position is %s, the reply's end is at %s", got, end)
	}
}

// TestSessionNamesItsPreset: however the preset was asked for, it goes by its name.
func TestSessionNamesItsPreset(t *testing.T) {
	t.Parallel()
	r := start(t)
	id := r.preset("named")
	own := r.do("POST", "/v1/presets", draft("mine", doc{"scope": "user"})).want(201).str("id")
	r.do("POST", "/v1/presets/"+own+"/publish", nil).want(201)
	for _, c := range []struct {
		preset any
		want   string
	}{{"named", "named"}, {id, "named"}, {doc{"id": id, "version": 1}, "named"},
		{"~/mine", "~/mine"}, {doc{"id": own, "version": 1}, "~/mine"}} {
		s := r.do("POST", "/v1/sessions", doc{"preset": c.preset}).want(201)
		if got := s.str("preset", "name"); got != c.want || strings.HasPrefix(got, "prs_") {
			t.Errorf("%v: the preset is named %q, want %q", c.preset, got, c.want)
		}
	}
}
