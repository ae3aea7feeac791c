package main

import (
	"encoding/base64"
	"encoding/binary"
	"net/url"
	"strconv"
	"testing"
)

// moved is a position of the same log, n events later, or of another log.
func moved(t testing.TB, position string, n uint64, anotherLog bool) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(position)
	if err != nil || len(b) != 16 {
		t.Fatalf("position %q: %v", position, err)
	}
	if anotherLog {
		b[0] ^= 1
	}
	binary.BigEndian.PutUint64(b[8:], binary.BigEndian.Uint64(b[8:])+n)
	return base64.RawURLEncoding.EncodeToString(b)
}

// beginning is the log's first position.
func beginning(t testing.TB, position string) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(position)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(b[:8], 0))
}

func TestBadQuery(t *testing.T) {
	t.Parallel()
	r := start(t)
	id := r.preset("asked")
	position := r.do("PATCH", "/v1/presets/asked", doc{"name": "Later"}, "If-Match: *").Header.Get("Prelude-Position")
	session := "/v1/sessions/" + r.session()
	turn := r.do("POST", session+"/messages", doc{"content": "Añejo demo:chunks=60"}).want(201)
	lists := []string{"/v1/presets", "/v1/presets/asked/versions", "/v1/presets/asked/history", "/v1/sessions",
		session + "/messages", "/v1/users", "/v1/api-keys", "/v1/audit"}
	t.Run("lists", func(t *testing.T) { r.refuses(t, badLists(lists)) })
	t.Run("filters", func(t *testing.T) { r.refuses(t, badFilters(lists, session)) })
	t.Run("positions", func(t *testing.T) {
		r.refuses(t, badPositions(session, canary, moved(t, position, 0, true), position+"A", "7", "start", ""))
	})
	t.Run("as_of", func(t *testing.T) { r.on(t).asOf(t, session, position) })
	t.Run("twice", func(t *testing.T) {
		var all []fault
		for _, path := range lists {
			all = append(all, invalid("GET", path+"?limit=1&limit=3", nil, "query.limit"))
		}
		r.refuses(t, append(all, invalid("GET", "/v1/search/presets?q=a&q=b", nil, "query.q"),
			invalid("GET", "/v1/feed?after=start&after=start", nil, "query.after"),
			invalid("GET", "/v1/usage?group=day&group=model", nil, "query.group")))
		r.on(t).do("GET", "/v1/search/presets?tag=a&tag=b", nil).want(200)
	})
	t.Run("resuming", func(t *testing.T) { r.on(t).badResumes(t, turn.str("reply", "id"), turn.str("reply", "content")) })
	t.Run("a_position_that_is_not_reached", func(t *testing.T) {
		t.Parallel()
		r, ahead := r.on(t), moved(t, position, 1_000_000, false)
		if d := r.do("GET", "/v1/presets/asked?min_position="+ahead, nil).want(200); d.at("stale") != true {
			t.Errorf("it is not called stale: %v", d)
		}
	})
	t.Run("a_position_that_is_not_reached,_strictly", func(t *testing.T) {
		t.Parallel()
		a := r.on(t).refusesOne(fault{method: "GET", status: 503, code: "unavailable", path: "/v1/presets/" + id +
			"?consistency=strict&min_position=" + moved(t, position, 1_000_000, false)})
		if a.Header.Get("Retry-After") == "" || a.want(503).num("retry_after") == 0 {
			t.Errorf("it does not say when to ask again: %s", a.Body)
		}
	})
}

func query(path, name, value string) fault {
	return invalid("GET", path+"?"+name+"="+url.QueryEscape(value), nil, "query."+name)
}

func badLists(lists []string) []fault {
	var all []fault
	for _, path := range append([]string{"/v1/search/presets"}, lists...) {
		for _, limit := range []string{"0", "101", "-1", "x", "1.5", "99999999999999999999", canary} {
			all = append(all, query(path, "limit", limit))
		}
		for _, cursor := range []string{canary, "e30x", "bm8", "!", base64.RawURLEncoding.EncodeToString([]byte(`{"t":7}`))} {
			all = append(all, query(path, "cursor", cursor))
		}
	}
	for _, path := range lists {
		all = append(all, query(path, "order", "up"), query(path, "order", "ASC"), query(path, "order", canary))
	}
	return all
}

func badFilters(lists []string, session string) []fault {
	var all []fault
	for _, path := range append(lists, session, "/v1/presets/asked", "/v1/presets/asked/labels",
		"/v1/presets/asked/labels/latest", "/v1/search/presets", "/v1/usage", "/v1/feed", "/v1/me", session+"/context") {
		all = append(all, query(path, "colour", canary), query(path, "Limit", "1"))
	}
	all = append(all, invalid("GET", "/v1/presets?"+canary+"%20x=1", nil, "query.?"),
		invalid("DELETE", session+"?colour=1", nil, "query.colour"))
	for _, c := range [][3]string{{"/v1/presets", "scope", canary}, {"/v1/presets", "status", canary},
		{"/v1/search/presets", "scope", "team"}, {"/v1/search/presets", "status", canary},
		{"/v1/sessions", "status", canary}, {"/v1/presets", "consistency", "eventual"},
		{"/v1/audit", "from", canary}, {"/v1/audit", "to", "2026-13-01T00:00:00Z"}, {"/v1/audit", "from", "yesterday"},
		{"/v1/usage", "from", canary}, {"/v1/usage", "to", "2026-02-30"}, {"/v1/usage", "group", "user"},
		{"/v1/usage", "group", "day,day"}, {"/v1/usage", "group", canary}} {
		all = append(all, query(c[0], c[1], c[2]))
	}
	return all
}

func badPositions(session string, values ...string) []fault {
	var all []fault
	for _, v := range values {
		if v == "" {
			continue // it is as if it were not there
		}
		for _, path := range []string{"/v1/presets", "/v1/presets/asked", session, session + "/messages", "/v1/me",
			"/v1/users", "/v1/search/presets", "/v1/audit"} {
			all = append(all, query(path, "min_position", v))
		}
		for _, path := range []string{"/v1/presets/asked", "/v1/presets/asked/labels", "/v1/presets/asked/labels/latest",
			session} {
			all = append(all, query(path, "as_of", v))
		}
		if v == "start" {
			continue
		}
		all = append(all, query("/v1/feed", "after", v))
		f := invalid("GET", "/v1/feed", nil, "header.Last-Event-ID")
		f.headers = []string{"Last-Event-ID: " + v}
		all = append(all, f)
	}
	return all
}

func (r *rig) asOf(t *testing.T, session, position string) {
	var all []fault
	for _, path := range []string{"/v1/presets/asked", "/v1/presets/asked/labels", "/v1/presets/asked/labels/latest",
		session} {
		for _, at := range []string{"2001-01-01T00:00:00Z", "0000-01-01T00:00:00Z", beginning(t, position)} {
			all = append(all, fault{name: path + at, method: "GET", path: path + "?as_of=" + at, status: 404,
				code: "not_found"})
		}
		for _, at := range []string{"2026-01-01", "12:00", "2026-01-01T00:00:00", canary} {
			all = append(all, query(path, "as_of", at))
		}
		for _, at := range []string{"9999-12-31T23:59:59Z", moved(t, position, 1_000_000, false)} {
			d := r.do("GET", path+"?as_of="+at, nil).want(200)
			if d.at("as_of") == nil && path != "/v1/presets/asked/labels/latest" {
				t.Errorf("%s in the future does not say what it stands for: %v", path, d)
			}
		}
	}
	r.refuses(t, all)
	if d := r.do("GET", "/v1/presets/asked?as_of=9999-12-31T23:59:59Z", nil).want(200); d.str("name") != "Later" {
		t.Errorf("the future is not now: %v", d)
	}
}

func (r *rig) badResumes(t *testing.T, reply, text string) {
	path := "/v1/replies/" + reply + "/stream"
	last := func(id string) fault {
		f := invalid("GET", path, nil, "header.Last-Event-ID")
		f.name, f.headers = "Last-Event-ID "+id, []string{"Last-Event-ID: " + id}
		return f
	}
	inside := -1
	for i := range len(text) {
		if text[i]&0xC0 == 0x80 {
			inside = i
		}
	}
	if inside < 0 {
		t.Fatalf("the reply has no character of two bytes: %s", text)
	}
	at := strconv.Itoa(inside)
	r.refuses(t, []fault{
		last(canary), last(reply), last(reply + ":"), last(reply + ":x"), last(reply + ":-1"), last(reply + ":1.5."),
		last(reply + ":99999999999999999999"), last("rpl_00000000000000000000000000:0"), last(reply + ":" + at),
		query(path, "starting_after", "-1"), query(path, "starting_after", "x"), query(path, "starting_after", canary),
		query(path, "starting_after", "1.5"), query(path, "starting_after", at),
	})
	for _, beyond := range []string{"100000", "2147483647"} {
		all := r.stream("GET", path+"?starting_after="+beyond, nil)
		if len(all) != 1 || all[0].Name != "reply.completed" {
			t.Errorf("beyond the text: %v", all)
		}
	}
}
