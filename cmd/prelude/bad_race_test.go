package main

import (
	"fmt"
	"maps"
	"testing"
)

func TestBadRace(t *testing.T) {
	t.Parallel()
	r := start(t)
	// counts expects so many answers of each status and code.
	counts := func(t *testing.T, answers []*answer, want map[string]int) {
		t.Helper()
		if got := statuses(answers); !maps.Equal(got, want) {
			t.Errorf("answers: %v, want %v", got, want)
		}
	}
	t.Run("two_create_one_name", func(t *testing.T) {
		r := r.on(t)
		for i := range 10 {
			body := draft(fmt.Sprintf("twin-%d", i), nil)
			counts(t, together(2, func(int) *answer { return r.do("POST", "/v1/presets", body) }),
				map[string]int{"201": 1, "409 slug_taken": 1})
		}
		if n := len(r.do("GET", "/v1/presets?limit=100", nil).want(200).list("data")); n != 10 {
			t.Errorf("there are %d presets, want 10", n)
		}
	})
	t.Run("two_move_to_one_name", func(t *testing.T) {
		r := r.on(t)
		r.do("POST", "/v1/presets", draft("from-0", nil)).want(201)
		r.do("POST", "/v1/presets", draft("from-1", nil)).want(201)
		counts(t, together(2, func(i int) *answer {
			return r.do("PATCH", fmt.Sprintf("/v1/presets/from-%d", i), doc{"slug": "to"}, "If-Match: *")
		}), map[string]int{"200": 1, "409 slug_taken": 1})
	})
	t.Run("two_take_one_handle", func(t *testing.T) {
		r := r.on(t)
		counts(t, together(2, func(int) *answer {
			return r.do("POST", "/v1/users", doc{"handle": "twin", "name": "T", "role": "member"})
		}), map[string]int{"201": 1, "409 slug_taken": 1})
	})
	t.Run("two_publish", func(t *testing.T) {
		r := r.on(t)
		id := r.do("POST", "/v1/presets", draft("published", nil)).want(201).str("id")
		for n := 1; n <= 5; n++ {
			r.do("PATCH", "/v1/presets/published", doc{"instructions": fmt.Sprintf("Round %d", n)}, "If-Match: *").want(200)
			both := together(2, func(int) *answer { return r.do("POST", "/v1/presets/"+id+"/publish", nil) })
			counts(t, both, map[string]int{"201": 1, "200": 1})
			for _, a := range both {
				if got := a.want(a.Status).num("version"); got != n {
					t.Errorf("version %d, want %d", got, n)
				}
			}
		}
		if n := len(r.do("GET", "/v1/presets/published/versions", nil).want(200).list("data")); n != 5 {
			t.Errorf("there are %d versions, want 5", n)
		}
	})
	t.Run("two_write_in_one_session", func(t *testing.T) {
		r := r.on(t)
		session := "/v1/sessions/" + r.session()
		counts(t, together(2, func(int) *answer {
			return r.do("POST", session+"/messages", doc{"content": "demo:chunks=20 demo:delay=10ms"})
		}), map[string]int{"201": 1, "409 reply_under_way": 1})
		if n := r.do("GET", session, nil).want(200).num("messages"); n != 2 {
			t.Errorf("there are %d messages and replies, want 2", n)
		}
	})
	t.Run("twenty_edit_with_one_ETag", func(t *testing.T) {
		r := r.on(t)
		etag := r.do("POST", "/v1/presets", draft("edited", nil)).Header.Get("ETag")
		answers := together(20, func(i int) *answer {
			return r.do("PATCH", "/v1/presets/edited", doc{"name": fmt.Sprintf("Name %d", i)}, "If-Match: "+etag)
		})
		counts(t, answers, map[string]int{"200": 1, "412 precondition_failed": 19})
		now := r.do("GET", "/v1/presets/edited", nil)
		for _, a := range answers {
			if a.Header.Get("ETag") != now.Header.Get("ETag") {
				t.Errorf("%d tells the ETag %q, which is %q", a.Status, a.Header.Get("ETag"), now.Header.Get("ETag"))
			}
			if d := decode(t, string(a.Body)); a.Status == 200 && d.str("name") != now.want(200).str("name") {
				t.Errorf("the edit that won is not there: %v", d)
			}
		}
		if n := len(r.do("GET", "/v1/presets/edited/history", nil).want(200).list("data")); n != 2 {
			t.Errorf("there are %d events, want 2", n)
		}
	})
}
