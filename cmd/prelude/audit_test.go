package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestAuditWords: what people wrote about their own presets is theirs, and an auditor reads no notes.
func TestAuditWords(t *testing.T) {
	t.Parallel()
	r := start(t)
	auditor, member := r.as(r.member("aud", "auditor")), r.as(r.member("mel", "member"))
	private := member.wordy("user", "~%2F")
	open := member.wordy("org", "")
	own := auditor.wordy("user", "~%2F")
	session := member.do("POST", "/v1/sessions", doc{"preset": "~/zebra-two@zebra-label"}).want(201).str("id")
	member.do("POST", "/v1/sessions/"+session+"/messages", doc{"content": "Hi"}).want(201)
	member.do("POST", "/v1/chat/completions", doc{"model": "preset:~/zebra-two@zebra-label",
		"messages": []doc{{"role": "user", "content": "Hi"}}}).want(200)
	at := r.do("POST", "/v1/presets", draft("last", nil)).Header.Get("Prelude-Position")
	kinds := map[string]bool{}
	for name, c := range map[string]struct {
		who   *rig
		words map[string]bool // whether an object's words are shown
		notes bool
	}{
		"owner":   {r, map[string]bool{private: false, open: true, own: false}, true},
		"auditor": {auditor, map[string]bool{private: false, open: true, own: true}, false},
	} {
		seen := map[string]bool{}
		for _, e := range c.who.do("GET", "/v1/audit?limit=100&min_position="+at, nil).want(200).list("data") {
			data, _ := json.Marshal(e.at("data"))
			shown, isPreset := c.words[e.str("object")]
			has := strings.Contains(string(data), "zebra")
			seen[e.str("object")] = seen[e.str("object")] || has
			if has && isPreset && !shown || has && !isPreset {
				t.Errorf("%s is shown %s: %s", name, e.str("kind"), data)
			}
			if note := e.at("data", "note"); note != nil && !c.notes {
				t.Errorf("%s is shown a note: %s", name, data)
			}
			if e.str("kind") == "preset.labeled" && e.num("data", "version") != 1 {
				t.Errorf("%s is not shown the version: %s", name, data)
			}
			kinds[e.str("kind")] = true
		}
		for object, want := range c.words {
			if seen[object] != want {
				t.Errorf("%s: the words of %s are shown: %v", name, object, seen[object])
			}
		}
	}
	for _, k := range []string{"preset.created", "preset.renamed", "preset.labeled", "preset.unlabeled",
		"preset.published", "session.started", "completion.started", "session.reply_started"} {
		if !kinds[k] {
			t.Errorf("no %s was seen", k)
		}
	}
	if d := r.do("GET", "/v1/presets/"+open+"/history", nil).want(200); !hasNote(d) {
		t.Error("the history of an org preset has no note")
	}
	if d := auditor.do("GET", "/v1/presets/"+open+"/history", nil).want(200); hasNote(d) {
		t.Error("an auditor is shown a note")
	}
	r.wordlessFeed(t)
}

func hasNote(d doc) bool {
	for _, e := range d.list("data") {
		if e.str("data", "note") == "zebra note" {
			return true
		}
	}
	return false
}

// wordy makes a preset with words wherever an event of it takes some, and gives its id.
func (r *rig) wordy(scope, space string) string {
	r.t.Helper()
	id := r.do("POST", "/v1/presets", draft("zebra-one", doc{"scope": scope, "name": "zebra name"})).want(201).str("id")
	r.do("PATCH", "/v1/presets/"+id, doc{"slug": "zebra-two"}, "If-Match: *").want(200)
	path := "/v1/presets/" + space + "zebra-two"
	r.do("POST", path+"/publish", doc{"note": "zebra note", "labels": []string{"zebra-label", "zebra-old"}}).want(201)
	r.do("DELETE", path+"/labels/zebra-old", nil).want(200)
	return id
}

// wordlessFeed reads the feed to its end of now.
func (r *rig) wordlessFeed(t *testing.T) {
	t.Helper()
	end := r.do("GET", "/v1/audit?limit=1", nil).want(200).list("data")[0].str("position")
	resp := r.open("GET", "/v1/feed?after=start", nil)
	defer func() { _ = resp.Body.Close() }()
	last := ""
	for lines := scanner(resp.Body); lines.Scan(); {
		if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
			last = id
		}
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		d := parse(data)
		if strings.Contains(data, "zebra") || strings.Contains(data, "/u.") || d.str("data", "name") != "" ||
			d.str("type") == "prelude.completion.started" && d.at("data", "key") != nil {
			t.Errorf("the feed has words: %s", data)
		}
		if d.str("type") == "prelude.session.reply_started" && d.num("data", "preset", "version") != 1 {
			t.Errorf("the feed has no version: %s", data)
		}
		if last == end {
			return
		}
	}
	t.Error("the feed has ended")
}
