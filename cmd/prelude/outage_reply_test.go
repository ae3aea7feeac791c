package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"prelude/internal/esnode"
	"prelude/internal/eventstore/storetest"
	"prelude/internal/pgserver/pgtest"
)

// outage are two instances whose way to the store can be cut, one caller, and a model that goes on when it is told to.
type outage struct {
	*testing.T
	one, two *rig
	proxy    *storetest.Proxy
	goOn     chan struct{} // each lets one reply of the model end
}

// model says two words with a pause between them, and then that it is complete, or nothing, as its name says.
func (i *outage) model() string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var asked struct{ Model string }
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			return // it asks which models there are
		}
		w.Header().Set("Content-Type", "text/event-stream")
		say := func(delta string) {
			fmt.Fprintf(w, "data: {\"choices\":[{\"index\":0,%s}]}\n\n", delta)
			_ = http.NewResponseController(w).Flush() // who has left hears nothing more
		}
		say(`"delta":{"content":"One "}`)
		select {
		case <-i.goOn:
		case <-r.Context().Done():
			return
		}
		say(`"delta":{"content":"two."}`)
		if asked.Model == "completed" {
			say(`"delta":{},"finish_reason":"stop"`)
			fmt.Fprint(w, "data: [DONE]\n\n")
		}
	}))
	i.Cleanup(s.Close)
	return s.URL
}

func newOutage(t *testing.T) *outage {
	t.Helper()
	dir := storetest.Folder(t)
	node, err := esnode.Start(t.Context(), shapeNode(esnode.Config{Dir: dir, Listen: "127.0.0.1:0"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.Close(); err != nil {
			t.Error(err)
		}
	})
	proxy := storetest.NewProxy(t, "127.0.0.1:0", node.Addr())
	s := &shared{t: t, dsn: pgtest.Database(t), args: []string{"--eventstore", "esdb://" + proxy.Path + "?tls=false",
		"--master-key-file", filepath.Join(dir, "master.key")}}
	i := &outage{T: t, proxy: proxy, goOn: make(chan struct{})}
	url := i.model()
	i.one, i.two = s.instance("--openai-base-url", url), s.instance("--openai-base-url", url)
	i.two.key = i.one.key
	return i
}

// heard is all of a stream, as it came, and whether that came to its end.
type heard struct{ text string }

func (h heard) events(t *testing.T) []event {
	t.Helper()
	return events(t, bufio.NewScanner(strings.NewReader(h.text)))
}

// last is the name of the last event.
func (h heard) last(t *testing.T) string {
	t.Helper()
	all := h.events(t)
	if len(all) == 0 {
		return "nothing"
	}
	return all[len(all)-1].Name
}

// listen reads a stream to its end.
func (i *outage) listen(busy *sync.WaitGroup, to *heard, resp *http.Response) {
	busy.Go(func() {
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			i.Errorf("read a stream: %v", err)
		}
		to.text = string(b)
	})
}

// statuses asks both instances about a reply, by itself and in the list of its session, until the outage is over. A key
// that was not just used takes two seconds then, and so does what another instance makes.
func (i *outage) statuses(session, reply string, over <-chan time.Time) map[string]int {
	i.Helper()
	return i.ask([]*rig{i.one, i.two}, session, reply, over)
}

func (i *outage) ask(all []*rig, session, reply string, over <-chan time.Time) map[string]int {
	i.Helper()
	told := map[string]int{}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		for n, r := range all {
			if a := r.do("GET", "/v1/replies/"+reply, nil); a.Status == http.StatusOK {
				told[fmt.Sprint(n, " reply ", a.want(200).str("status"))]++
			} else {
				told[fmt.Sprint(n, " reply ", a.Status)]++
			}
			if session == "" {
				continue
			}
			if a := r.do("GET", "/v1/sessions/"+session+"/messages", nil); a.Status == http.StatusOK {
				all := a.want(200).list("data")
				told[fmt.Sprint(n, " list ", all[len(all)-1].str("status"))]++
			} else {
				told[fmt.Sprint(n, " list ", a.Status)]++
			}
		}
		select {
		case <-tick.C:
		case <-over:
			return told
		}
	}
}

// only expects each instance that was asked to have told this of the reply, and nothing else besides that it is not known
// now.
func (i *outage) only(told map[string]int, status string) {
	i.Helper()
	for what := range told {
		n, rest, _ := strings.Cut(what, " ")
		if got := strings.Fields(rest)[1]; got != status && got != "503" || told[n+" reply "+status] == 0 {
			i.Errorf("in the outage it was told %v", told)
			return
		}
	}
}

// TestReplyOverAnOutage: a reply whose model ends in an outage of the store is running until the store is back, on the
// instance that makes it and on another, by itself, in lists and in streams; then it is what the log says.
func TestReplyOverAnOutage(t *testing.T) {
	t.Parallel()
	outages := storetest.Scale([]time.Duration{3 * time.Second}, []time.Duration{time.Second, 29 * time.Second,
		31 * time.Second, 120 * time.Second})
	for _, how := range []string{"completed", "failed"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			i := newOutage(t)
			for _, lasts := range outages {
				i.turn(how, lasts)
				i.completion(how, lasts)
			}
		})
	}
}

// ends lets the model end its reply in the middle of the outage, before it is given up, and expects that nobody is told
// so until that is over.
func (i *outage) ends(session, reply string, lasts time.Duration) {
	i.Helper()
	i.proxy.Down()
	speaks := min(lasts/3, 5*time.Second)
	i.only(i.statuses(session, reply, time.After(speaks)), "running")
	i.goOn <- struct{}{}
	i.only(i.statuses(session, reply, time.After(lasts-speaks)), "running")
	i.proxy.Up()
}

func (i *outage) turn(how string, lasts time.Duration) {
	i.Helper()
	var here, there heard
	var busy sync.WaitGroup
	session := i.one.do("POST", "/v1/sessions", doc{"model": "openai/" + how}).want(201).str("id")
	resp := i.one.open("POST", "/v1/sessions/"+session+"/messages", doc{"content": "Hi"}, "Accept: text/event-stream",
		"Idempotency-Key: turn")
	lines := bufio.NewReader(resp.Body)
	first, err := lines.ReadString('\n')
	if err != nil {
		i.Fatal(err)
	}
	reply, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(first), "id: "), ":")
	i.listen(&busy, &here, &http.Response{Body: io.NopCloser(io.MultiReader(strings.NewReader(first), lines))})
	soon(i, "the other instance has it", func() bool { return i.two.do("GET", "/v1/replies/"+reply, nil).Status == 200 })
	i.listen(&busy, &there, i.two.open("GET", "/v1/replies/"+reply+"/stream", nil))
	i.ends(session, reply, lasts)
	busy.Wait()
	_ = resp.Body.Close()
	for who, h := range map[string]heard{"here": here, "there": there} {
		if got := h.last(i.T); got != "reply."+how {
			i.Errorf("after %v, %s the stream ended with %s:\n%s", lasts, who, got, h.text)
		}
	}
	if lasts > 15*time.Second && !strings.Contains(here.text, ": waiting for the event store") {
		i.Errorf("over %v the stream does not say that it waits:\n%s", lasts, here.text)
	}
	got := i.one.do("GET", "/v1/replies/"+reply, nil).want(200)
	if got.str("status") != how || got.str("content") != texts(here.events(i.T)) || texts(there.events(i.T)) != got.str("content") {
		i.Errorf("it is %v; here it was %q, there %q", got, texts(here.events(i.T)), texts(there.events(i.T)))
	}
	again := i.two.do("POST", "/v1/sessions/"+session+"/messages", doc{"content": "Hi"}, "Idempotency-Key: turn")
	if again.want(201).str("reply", "id") != reply || again.want(201).str("reply", "status") != how {
		i.Errorf("the repeat elsewhere is answered with %s", again.Body)
	}
}

func (i *outage) completion(how string, lasts time.Duration) {
	i.Helper()
	var here heard
	var busy sync.WaitGroup
	body := doc{"model": "openai/" + how, "stream": true, "messages": []doc{{"role": "user", "content": "Hi"}}}
	resp := i.one.open("POST", "/v1/chat/completions", body, "Idempotency-Key: chat"+fmt.Sprint(lasts))
	reply := resp.Header.Get("Prelude-Reply")
	i.listen(&busy, &here, resp)
	soon(i, "the other instance has it", func() bool { return i.two.do("GET", "/v1/replies/"+reply, nil).Status == 200 })
	whole := make(chan *answer, 1)
	go func() { // somebody who waits for all of it, on the instance that makes it
		whole <- i.one.do("POST", "/v1/chat/completions", body, "Idempotency-Key: chat"+fmt.Sprint(lasts))
	}()
	i.ends("", reply, lasts)
	busy.Wait()
	if done := strings.Contains(here.text, "data: [DONE]"); done != (how == "completed") {
		i.Errorf("after %v the stream was\n%s", lasts, here.text)
	}
	if a := <-whole; a.Status >= 500 && a.Status != 503 && a.Status != 502 {
		i.Errorf("who repeats it in the outage gets %d: %s", a.Status, a.Body)
	}
	for _, r := range []*rig{i.one, i.two} {
		soon(i, "its end", func() bool { return r.do("GET", "/v1/replies/"+reply, nil).want(200).str("status") == how })
	}
}

// TestCancelInAnOutage: who cancels a reply waits; what they are told is what the log has.
func TestCancelInAnOutage(t *testing.T) {
	t.Parallel()
	i := newOutage(t)
	reply, body := i.one.begin("demo:chunks=2000 demo:delay=15ms")
	var here heard
	var busy sync.WaitGroup
	i.listen(&busy, &here, &http.Response{Body: body})
	i.proxy.Down()
	cancelled := make(chan *answer, 1)
	go func() { cancelled <- i.one.do("POST", "/v1/replies/"+reply+"/cancel", nil) }()
	i.only(i.ask([]*rig{i.one}, "", reply, time.After(time.Second)), "running")
	if storetest.Long() { // longer than anybody waits
		a := <-cancelled
		a.refused(503, "unavailable")
		if a.Header.Get("Retry-After") == "" || i.one.do("GET", "/v1/replies/"+reply, nil).want(200).str("status") != "running" {
			t.Errorf("who cancels is told %v %s", a.Header, a.Body)
		}
	}
	i.proxy.Up()
	if !storetest.Long() {
		if a := <-cancelled; a.want(200).str("status") != "cancelled" {
			t.Errorf("it is %s", a.Body)
		}
	}
	busy.Wait()
	if all := here.events(t); len(all) == 0 || all[len(all)-1].Name != "reply.cancelled" {
		t.Errorf("who followed it was told %v", all[max(len(all)-1, 0):])
	}
	soon(t, "the view has it", func() bool {
		return i.two.do("GET", "/v1/replies/"+reply, nil).want(200).str("status") == "cancelled"
	})
}

// TestNoErrorPerRequest: in an outage no request is an ERROR of its own.
func TestNoErrorPerRequest(t *testing.T) {
	t.Parallel()
	i := newOutage(t)
	i.proxy.Down()
	var all sync.WaitGroup
	var mu sync.Mutex
	var statuses []int
	for n := range 100 {
		all.Go(func() {
			a := i.one.do("POST", "/v1/presets", doc{"slug": fmt.Sprint("p-", n), "name": "P", "model": "demo", "instructions": "P"})
			mu.Lock()
			defer mu.Unlock()
			statuses = append(statuses, a.Status)
		})
	}
	all.Wait()
	i.proxy.Up()
	if slices.ContainsFunc(statuses, func(s int) bool { return s != 503 }) {
		t.Errorf("they are answered with %v", statuses)
	}
	if n := strings.Count(i.one.logs.String(), `"a request failed"`); n > 0 {
		t.Errorf("%d requests are an ERROR", n)
	}
	if n := strings.Count(i.one.logs.String(), `"code":"unavailable"`); n < 100 {
		t.Errorf("%d lines name the code", n)
	}
}

// TestWholeAnswerInAnOutage: who waits for a whole answer, whose model has ended, is told to come again when the store has
// been away for a while, however long the model might have taken; the repeat gives the reply.
func TestWholeAnswerInAnOutage(t *testing.T) {
	t.Parallel()
	i := newOutage(t)
	session := i.one.do("POST", "/v1/sessions", doc{"model": "openai/completed"}).want(201).str("id")
	post := func() *answer {
		return i.one.do("POST", "/v1/sessions/"+session+"/messages", doc{"content": "Hi"}, "Idempotency-Key: whole")
	}
	whole := make(chan *answer, 1)
	go func() { whole <- post() }()
	soon(t, "the reply is under way", func() bool {
		return i.one.do("GET", "/v1/sessions/"+session, nil).want(200).at("reply_under_way") != nil
	})
	i.proxy.Down()
	i.goOn <- struct{}{}
	began := time.Now()
	a := <-whole
	a.refused(503, "unavailable")
	inTime(t, "that the end is not recorded", time.Since(began), 12*time.Second)
	i.proxy.Up()
	soon(t, "the repeat gives it", func() bool { a = post(); return a.Status == http.StatusCreated })
	if a.want(201).str("reply", "status") != "completed" {
		t.Errorf("it is %s", a.Body)
	}
}
