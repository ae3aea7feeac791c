package main

import "testing"

// TestBranch: a branch shows what it took, goes on with it, and proves it.
func TestBranch(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.preset("tone")
	session := r.do("POST", "/v1/sessions", doc{"preset": "tone", "title": "Plans"}).want(201).str("id")
	post := func(session, content string) doc {
		return r.do("POST", "/v1/sessions/"+session+"/messages", doc{"content": content}).want(201)
	}
	first := post(session, "First things")
	post(session, "Second things")
	a := r.do("POST", "/v1/sessions/"+session+"/branch", doc{"message": first.str("reply", "id")}, "Idempotency-Key: b")
	branch := a.want(201)
	id := branch.str("id")
	if id == session || branch.num("messages") != 2 || branch.str("title") != "Plans" ||
		branch.str("preset", "name") != "tone" || a.Header.Get("Location") != "/v1/sessions/"+id {
		t.Fatalf("the branch is %v", branch)
	}
	if again := r.do("POST", "/v1/sessions/"+session+"/branch", doc{"message": first.str("reply", "id")},
		"Idempotency-Key: b"); again.want(201).str("id") != id || again.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("the repeat made %s", again.Body)
	}
	carried := r.do("GET", "/v1/sessions/"+id+"/messages", nil).want(200).list("data")
	if len(carried) != 2 || carried[0].str("content") != "First things" ||
		carried[1].str("content") != first.str("reply", "content") || carried[1].str("id") == first.str("reply", "id") {
		t.Fatalf("it took %v", carried)
	}
	next := post(id, "Another way")
	all := r.do("GET", "/v1/sessions/"+id+"/messages?order=desc&limit=3", nil).want(200).list("data")
	if len(all) != 3 || all[0].str("id") != next.str("reply", "id") || all[2].str("id") != carried[1].str("id") {
		t.Errorf("the newest are %v", all)
	}
	reply := r.do("GET", "/v1/replies/"+carried[1].str("id"), nil).want(200)
	if reply.str("status") != "completed" || reply.str("content") != first.str("reply", "content") {
		t.Errorf("the reply that was taken is %v", reply)
	}
	text, last := "", ""
	for _, e := range r.stream("GET", "/v1/replies/"+carried[1].str("id")+"/stream", nil) {
		text, last = text+parse(e.Data).str("text"), e.Name
	}
	if text != first.str("reply", "content") || last != "reply.completed" {
		t.Errorf("streamed, it is %q and ends with %s", text, last)
	}
	for _, of := range []string{carried[1].str("id"), next.str("reply", "id")} {
		receipt := r.do("GET", "/v1/replies/"+of+"/context?include=request", nil).want(200)
		if receipt.at("verified") != true || receipt.at("complete") != true {
			t.Errorf("the receipt of %s is %v", of, receipt)
		}
	}
	if parts := r.do("GET", "/v1/replies/"+next.str("reply", "id")+"/context", nil).want(200).list("parts"); len(parts) != 4 {
		t.Errorf("the next reply saw %d parts", len(parts))
	}
	t.Run("is refused", func(t *testing.T) {
		path := "/v1/sessions/" + session + "/branch"
		r.do("POST", path, doc{"message": "msg_1"}).refused(422, "invalid")
		r.do("POST", path, doc{"from": "x"}).refused(422, "invalid")
		r.do("POST", "/v1/sessions/ses_00000000000000000000000000/branch", nil).refused(404, "not_found")
		r.as(r.member("other", "member")).do("POST", path, nil).refused(404, "not_found")
	})
}
