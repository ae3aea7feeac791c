package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestBadKey(t *testing.T) {
	t.Parallel()
	r := start(t)
	me := r.do("GET", "/v1/me", nil).want(200)
	t.Run("no_valid_key", func(t *testing.T) {
		secret := r.key[strings.LastIndex(r.key, "_")+1:]
		for name, header := range map[string]string{"none": "", "no scheme": r.key, "basic": "Basic " + r.key,
			"a word": "Bearer " + canary, "another secret": "Bearer " + strings.Replace(r.key, secret, canary, 1),
			"a cut secret": "Bearer " + r.key[:len(r.key)-1], "a longer secret": "Bearer " + r.key + "a",
			"no secret": "Bearer " + strings.TrimSuffix(r.key, secret), "nobody's id": "Bearer prelude_" +
				strings.Repeat("0", 26) + "_" + secret, "two keys": "Bearer " + r.key + " " + r.key,
			"capitals": "Bearer " + strings.ToUpper(r.key), "the scheme alone": "Bearer", "bytes": "Bearer \xff"} {
			var faults []fault
			for _, path := range []string{"/v1/me", "/v1/presets/" + canary, "/v1/feed", "/v1/presets?" + canary + "=1"} {
				faults = append(faults, fault{name: path, method: "GET", path: path, status: 401,
					code: "unauthenticated", headers: []string{"Authorization: " + header}})
			}
			faults = append(faults, fault{name: "post", method: "POST", path: "/v1/sessions", body: "not JSON",
				status: 401, code: "unauthenticated", headers: []string{"Authorization: " + header}})
			t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) { r.refuses(t, faults) })
		}
	})
	t.Run("a_revoked_key_is_refused_at_once", func(t *testing.T) {
		r := r.on(t)
		for range 20 {
			key := r.do("POST", "/v1/api-keys", doc{"name": "short"}).want(201)
			user := r.as(key.str("secret"))
			user.do("GET", "/v1/me", nil).want(200)
			r.do("DELETE", "/v1/api-keys/"+key.str("id"), nil).want(200)
			user.do("GET", "/v1/me", nil).refused(401, "unauthenticated")
			again := r.do("DELETE", "/v1/api-keys/"+key.str("id"), nil).want(200)
			if again.str("revoked_at") == "" {
				t.Fatalf("it is not revoked: %v", again)
			}
		}
	})
	t.Run("an_expired_key_is_refused", func(t *testing.T) {
		r := r.on(t)
		at := time.Now().Add(700 * time.Millisecond).UTC()
		user := r.as(r.do("POST", "/v1/api-keys", doc{"name": "brief", "expires_at": at}).want(201).str("secret"))
		a := user.do("GET", "/v1/me", nil)
		for a.Status == 200 {
			if time.Now().After(at.Add(5 * time.Second)) {
				t.Fatal("it is still taken")
			}
			a = user.do("GET", "/v1/me", nil)
		}
		a.refused(401, "unauthenticated")
	})
	t.Run("rights", func(t *testing.T) { r.on(t).rights(t, me.str("user", "id")) })
}

// rights holds each role to the table of the contract.
func (r *rig) rights(t *testing.T, owner string) {
	preset := "/v1/presets/" + r.preset("org-tone")
	private := r.do("POST", "/v1/presets", draft("mine", doc{"scope": "user"})).want(201).str("id")
	session := r.session()
	reply := r.do("POST", "/v1/sessions/"+session+"/messages", doc{"content": "Hi"}).want(201).str("reply", "id")
	key := r.do("POST", "/v1/api-keys", doc{"name": "other"}).want(201).str("id")
	forbidden := func(method, path string, body any, policy string, headers ...string) fault {
		return fault{name: method + " " + path + " " + policy, method: method, path: path, body: body, status: 403,
			code: "forbidden", headers: headers, fields: nil}
	}
	policies := func(r *rig, faults []fault) {
		t.Helper()
		r.refuses(t, faults)
		for _, f := range faults {
			_, policy, _ := strings.Cut(f.name, f.path+" ")
			if got := r.do(f.method, f.path, f.body, f.headers...).want(f.status).str("policy"); got != policy {
				t.Errorf("%s: the policy is %q, want %q", f.name, got, policy)
			}
		}
	}
	label := doc{"version": 1}
	admins := r.as(r.member("ada", "admin"))
	policies(admins, []fault{
		forbidden("POST", "/v1/users", doc{"handle": "o", "name": "O", "role": "owner"}, "owners_made_by_owners"),
		forbidden("POST", "/v1/api-keys", doc{"name": "k", "user": owner}, "owners_keys_by_owners"),
		forbidden("DELETE", "/v1/api-keys/"+key, nil, "owners_keys_by_owners"),
	})
	r.keysOfOthers(t, admins)
	workers := []fault{
		forbidden("PATCH", preset, doc{"name": "New"}, "org_preset_changed_by_owner", "If-Match: *"),
		forbidden("POST", preset+"/publish", nil, "org_preset_changed_by_owner"),
		forbidden("DELETE", preset, nil, "org_preset_changed_by_owner"),
		forbidden("POST", preset+"/restore", nil, "org_preset_changed_by_owner"),
		forbidden("PUT", preset+"/labels/beta", label, "org_preset_changed_by_owner"),
		forbidden("DELETE", preset+"/labels/beta", nil, "org_preset_changed_by_owner"),
		forbidden("GET", "/v1/users", nil, "users_seen_by_heads"),
		forbidden("POST", "/v1/users", doc{"handle": "o", "name": "O", "role": "member"}, "users_added_by_heads"),
		forbidden("POST", "/v1/api-keys", doc{"name": "k", "user": owner}, "keys_of_others"),
		forbidden("GET", "/v1/audit", nil, "audit_read"),
		forbidden("GET", "/v1/feed", nil, "audit_read"),
		forbidden("GET", "/v1/usage", nil, "audit_read"),
	}
	protected := []fault{
		forbidden("PUT", preset+"/labels/production", label, "protected_label_moved"),
		forbidden("DELETE", preset+"/labels/production", nil, "protected_label_moved"),
	}
	member := r.as(r.member("mel", "member"))
	policies(member, append(workers, protected...))
	reviewer := r.as(r.member("rea", "reviewer"))
	policies(reviewer, workers)
	reviewer.do("PUT", preset+"/labels/production", label).want(200)
	reviewer.do("DELETE", preset+"/labels/production", nil).want(200)
	member.ownPreset()
	auditor := r.as(r.member("aud", "auditor"))
	policies(auditor, append(protected, append(workers[:9:9],
		forbidden("POST", "/v1/presets", draft("aud", nil), "org_preset_created"),
		forbidden("POST", preset+"/render", nil, "org_preset_used_by_org"),
		forbidden("POST", "/v1/sessions", doc{"model": "demo"}, "session_started"),
		forbidden("POST", "/v1/sessions", doc{"preset": "org-tone"}, "session_started"),
		forbidden("GET", "/v1/sessions", nil, "session_started"))...))
	auditor.do("GET", preset, nil).want(200)
	auditor.models(t)
	auditor.do("GET", "/v1/audit", nil).want(200)
	auditor.do("GET", "/v1/usage", nil).want(200)
	for _, who := range []*rig{member, reviewer, auditor, admins} {
		who.do("GET", preset+"/history", nil).want(200)
		who.refuses(t, unseen(private, session, reply))
	}
	for _, who := range []*rig{member, reviewer, auditor} {
		keys := who.do("GET", "/v1/api-keys", nil).want(200).list("data")
		if len(keys) != 1 {
			t.Errorf("others' keys are listed: %v", keys)
		}
		who.do("DELETE", "/v1/api-keys/"+key, nil).refused(404, "not_found")
	}
}

// keysOfOthers: an owner and an admin issue and revoke keys; an owner those of owners too.
func (r *rig) keysOfOthers(t *testing.T, admin *rig) {
	t.Helper()
	second := r.as(r.member("olaf", "owner"))
	for who, users := range map[*rig][]string{r: {"owner", "admin", "member"}, admin: {"admin", "member"}, second: {"owner"}} {
		for i, role := range users {
			user := r.do("POST", "/v1/users", doc{"handle": fmt.Sprintf("%s-%d-%s", role, i, who.key[8:34]), "name": "N",
				"role": role}).want(201).str("id")
			issued := who.do("POST", "/v1/api-keys", doc{"name": "k", "user": user}).want(201)
			r.as(issued.str("secret")).do("GET", "/v1/me", nil).want(200)
			who.do("DELETE", "/v1/api-keys/"+issued.str("id"), nil).want(200)
		}
	}
	if keys := admin.do("GET", "/v1/api-keys", nil).want(200).list("data"); len(keys) < 5 {
		t.Errorf("an admin sees %d keys", len(keys))
	}
}

// ownPreset: who made an org preset may change it, but not move production.
func (r *rig) ownPreset() {
	r.t.Helper()
	r.do("POST", "/v1/presets", draft("mels", nil)).want(201)
	refused := r.do("POST", "/v1/presets/mels/publish", doc{"labels": []string{"beta", "production"}})
	if refused.refused(403, "forbidden").str("policy") != "protected_label_moved" {
		r.t.Errorf("policy: %s", refused.Body)
	}
	if d := r.do("GET", "/v1/presets/mels", nil).want(200); d.at("version") != nil {
		r.t.Errorf("it was published all the same: %v", d)
	}
	r.do("POST", "/v1/presets/mels/publish", doc{"labels": []string{"beta"}}).want(201)
	r.do("PUT", "/v1/presets/mels/labels/gamma", doc{"version": 1}).want(200)
	r.do("DELETE", "/v1/presets/mels/labels/gamma", nil).want(200)
	r.do("DELETE", "/v1/presets/mels", nil).want(200)
}

// unseen is what belongs to one user of the org alone: for others it does not exist.
func unseen(preset, session, reply string) []fault {
	missing := func(method, path string, body any) fault {
		return fault{name: method + " " + path, method: method, path: path, body: body, status: 404,
			code: "not_found", headers: []string{"If-Match: *"}}
	}
	p, s, r := "/v1/presets/"+preset, "/v1/sessions/"+session, "/v1/replies/"+reply
	return []fault{
		missing("GET", p, nil), missing("PATCH", p, doc{"name": "N"}), missing("DELETE", p, nil),
		missing("POST", p+"/publish", nil), missing("POST", p+"/restore", nil), missing("POST", p+"/render", nil),
		missing("GET", p+"/versions", nil), missing("GET", p+"/history", nil), missing("GET", p+"/labels", nil),
		missing("PUT", p+"/labels/beta", doc{"version": 1}), missing("DELETE", p+"/labels/beta", nil),
		missing("GET", "/v1/presets/~%2Fmine", nil),
		missing("GET", s, nil), missing("PATCH", s, doc{"title": "T"}), missing("DELETE", s, nil),
		missing("POST", s+"/restore", nil), missing("PUT", s+"/preset", doc{"model": "demo"}),
		missing("GET", s+"/messages", nil), missing("POST", s+"/messages", doc{"content": "Hi"}),
		missing("GET", s+"/context", nil),
		missing("GET", r, nil), missing("GET", r+"/stream", nil), missing("POST", r+"/cancel", nil),
		missing("GET", r+"/context", nil),
	}
}

// models: an auditor may use no preset of the org, only their own.
func (r *rig) models(t *testing.T) {
	t.Helper()
	r.do("POST", "/v1/presets", draft("auds", doc{"scope": "user"})).want(201)
	r.do("POST", "/v1/presets/~%2Fauds/publish", nil).want(201)
	own := false
	for _, m := range r.do("GET", "/v1/models", nil).want(200).list("data") {
		own = own || m.str("id") == "preset:~/auds"
		if strings.HasPrefix(m.str("id"), "preset:") && m.str("id") != "preset:~/auds" {
			t.Errorf("an auditor is offered %s", m.str("id"))
		}
	}
	if !own {
		t.Error("their own preset is not offered")
	}
}
