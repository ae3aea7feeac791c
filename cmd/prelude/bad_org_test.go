package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// things are ids of one org, by the part of a path before {id}.
type things map[string]string

// nobodys are ids that never were.
var nobodys = things{"presets": "prs_00000000000000000000000000", "sessions": "ses_00000000000000000000000000",
	"replies": "rpl_00000000000000000000000000", "api-keys": "key_00000000000000000000000000",
	"users": "usr_00000000000000000000000000", "models": "preset:nobody"}

// everything makes one of each.
func (r *rig) everything() things {
	r.t.Helper()
	preset, session := r.preset("theirs"), r.session()
	r.do("PUT", "/v1/presets/theirs/labels/production", doc{"version": 1}).want(200)
	turn := r.do("POST", "/v1/sessions/"+session+"/messages", doc{"content": "Hi"}).want(201)
	key := r.do("POST", "/v1/api-keys", doc{"name": "k"}).want(201)
	return things{"presets": preset, "sessions": session, "replies": turn.str("reply", "id"),
		"api-keys": key.str("id"), "users": key.str("user"), "models": "preset:theirs"}
}

// bodyOf is what a route takes.
var bodyOf = map[string]doc{"edit-preset": {"name": "N"}, "move-label": {"version": 1}, "edit-session": {"title": "T"},
	"apply-preset": {"model": "demo"}, "post-message": {"content": "Hi"},
	"erase-user": {"confirm": "usr_00000000000000000000000000"}}

// TestBadOrg asks every route of the document that takes an id, for another org's and for nobody's: the answers
// are the same, byte for byte.
func TestBadOrg(t *testing.T) {
	t.Parallel()
	r := start(t)
	theirs := r.everything()
	others := r.as(r.org("others"))
	others.do("GET", "/v1/me", nil).want(200)
	routes := 0
	for path, item := range r.do("GET", "/openapi.json", nil).want(200).at("paths").(map[string]any) {
		if !strings.Contains(path, "{id}") {
			continue
		}
		kind := strings.Split(path, "/")[2]
		if theirs[kind] == "" {
			t.Errorf("%s takes an id that this test does not know", path)
			continue
		}
		for method, op := range item.(map[string]any) {
			routes++
			id := doc(op.(map[string]any)).str("operationId")
			t.Run(id, func(t *testing.T) {
				before := others.on(t).head()
				defer func() {
					if others.on(t).head() != before {
						t.Error("it left an event")
					}
				}()
				others.on(t).same(func(of things) fault {
					p := strings.NewReplacer("{id}", of[kind], "{n}", "1", "{label}", "production").Replace(path)
					f := fault{method: strings.ToUpper(method), path: p, status: 404, headers: []string{"If-Match: *"}}
					if body, ok := bodyOf[id]; ok {
						f.body = body
					}
					return f
				}, theirs)
			})
		}
	}
	if routes < 25 {
		t.Errorf("only %d routes take an id", routes)
	}
	t.Run("in_bodies_and_filters", func(t *testing.T) { others.on(t).sameElsewhere(theirs) })
	d := r.do("GET", "/v1/presets/theirs", nil).want(200)
	if d.str("id") != theirs["presets"] || d.at("deleted_at") != nil {
		t.Errorf("the preset has changed: %v", d)
	}
}

// same sends a request about another org's things and one about nobody's.
func (r *rig) same(of func(things) fault, theirs things) {
	r.t.Helper()
	var bodies [2][]byte
	for i, ids := range []things{theirs, nobodys} {
		f := of(ids)
		a := r.do(f.method, f.path, f.body, f.headers...)
		if a.Status != f.status {
			r.t.Errorf("%s %s: status %d, want %d: %s", f.method, f.path, a.Status, f.status, a.Body)
		}
		bodies[i] = a.withoutInstance()
		a.Header.Del("Date")
		a.Header.Del("X-Request-Id")
		bodies[i] = fmt.Append(bodies[i], a.Header)
	}
	if !bytes.Equal(bodies[0], bodies[1]) {
		r.t.Errorf("the answers differ:\n%s\n%s", bodies[0], bodies[1])
	}
}

func (a *answer) withoutInstance() []byte {
	var d doc
	if json.Unmarshal(a.Body, &d) != nil || d.str("instance") == "" {
		return a.Body
	}
	return bytes.Replace(a.Body, []byte(d.str("instance")), []byte("-"), 1)
}

// sameElsewhere names others' things where no path does.
func (r *rig) sameElsewhere(theirs things) {
	r.t.Helper()
	mine := r.session()
	before := r.head()
	for _, of := range []func(things) fault{
		func(o things) fault {
			return fault{method: "POST", path: "/v1/sessions", body: doc{"preset": doc{"id": o["presets"]}}, status: 422}
		},
		func(o things) fault {
			return fault{method: "POST", path: "/v1/sessions", body: doc{"preset": o["presets"]}, status: 422}
		},
		func(o things) fault {
			return fault{method: "PUT", path: "/v1/sessions/" + mine + "/preset", status: 422,
				body: doc{"preset": doc{"id": o["presets"], "version": 1}}}
		},
		func(o things) fault {
			return fault{method: "POST", path: "/v1/api-keys", body: doc{"name": "k", "user": o["users"]}, status: 422}
		},
		func(o things) fault {
			return fault{method: "POST", path: "/v1/chat/completions", body: ask(doc{"model": o["models"]}), status: 404}
		},
		func(o things) fault {
			return fault{method: "POST", path: "/v1/chat/completions", body: ask(nil), status: 404,
				headers: []string{"Prelude-Session: " + o["sessions"]}}
		},
		func(o things) fault {
			return fault{method: "GET", path: "/v1/audit?object=" + o["presets"], status: 200}
		},
		func(o things) fault {
			return fault{method: "GET", path: "/v1/audit?actor=" + o["users"], status: 200}
		},
		func(o things) fault {
			return fault{method: "GET", path: "/v1/presets?owner=" + o["users"], status: 200}
		},
		func(o things) fault {
			return fault{method: "GET", path: "/v1/search/presets?q=" + strings.TrimPrefix(o["models"], "preset:"), status: 200}
		},
	} {
		r.same(of, theirs)
	}
	if r.head() != before {
		r.t.Error("a refused request left an event")
	}
}
