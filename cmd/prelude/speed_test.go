package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"prelude/internal/pgserver"
	"prelude/test/speed"
)

// race is the program and its baseline, each in a process of its own, and a client of both.
type race struct {
	t        *testing.T
	ours     *process
	base     *exec.Cmd
	baseURL  string
	upstream string
	client   *http.Client
}

func newRace(t *testing.T, upstream http.HandlerFunc) *race {
	t.Helper()
	c := &race{t: t, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 200}}}
	s := httptest.NewServer(upstream)
	t.Cleanup(s.Close)
	c.upstream = s.URL + "/v1"
	// Both get a Postgres that syncs what it commits, as a user's does; that of the other tests does not.
	server, err := pgserver.Start(t.Context(), pgserver.Config{Dir: filepath.Join(t.TempDir(), "pg")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	dsn := server.DSN("postgres")
	r := &rig{t: t, data: t.TempDir(), dsn: dsn}
	c.ours = launch(r, "--openai-base-url", c.upstream)
	t.Cleanup(func() { c.ours.end(syscall.SIGTERM) })
	c.base = exec.Command(os.Args[0])
	c.base.Env = append(os.Environ(), asProgram+"="+asBaseline, "DATABASE_URL="+dsn, upstreamVar+"="+c.upstream)
	in, err := c.base.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out := &buffer{}
	c.base.Stdout, c.base.Stderr = out, os.Stderr
	if err := c.base.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.base.Wait() }()
	t.Cleanup(func() {
		_ = in.Close() // which ends it
		if err := <-ended; err != nil {
			t.Errorf("the baseline: %v", err)
		}
	})
	m, err := out.until(answersAt, ended)
	if err != nil {
		t.Fatal(err)
	}
	c.baseURL = m[1]
	return c
}

// call makes a request and gives the body, which the caller closes.
func (c *race) call(method, url, key string, body string, headers ...string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(c.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := c.client.Do(req)
	if err == nil && resp.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
		err = fmt.Errorf("%s %s: %d %s", method, url, resp.StatusCode, text)
	}
	return resp, err
}

// rate is how many calls a second some clients make.
func (c *race) rate(clients, total int, call func(n int) (*http.Response, error)) float64 {
	c.t.Helper()
	var next atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for range clients {
		all.Go(func() {
			for n := next.Add(1); n <= int64(total); n = next.Add(1) {
				resp, err := call(int(n))
				if err != nil {
					c.t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		})
	}
	all.Wait()
	return float64(total) / time.Since(began).Seconds()
}

const presetJSON = `{"slug":"%s","name":"Tone","scope":"org","model":"demo","instructions":"Be kind."}`

func nowhere(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }

func TestSpeed_of_commands_and_queries(t *testing.T) {
	c := newRace(t, nowhere)
	total, rounds := speed.Size(64, 3000), 3
	var ours, theirs, reads, theirReads float64
	id := c.ours.preset("read")
	base := c.baseID()
	for round := range rounds {
		theirs += c.rate(16, total, func(n int) (*http.Response, error) {
			return c.call("POST", c.baseURL+"/presets", "", fmt.Sprintf(presetJSON, fmt.Sprint("p", round, "-", n)))
		}) / float64(rounds)
		ours += c.rate(16, total, func(n int) (*http.Response, error) {
			return c.call("POST", c.ours.url+"/v1/presets", c.ours.key, fmt.Sprintf(presetJSON, fmt.Sprint("p", round, "-", n)))
		}) / float64(rounds)
		theirReads += c.rate(16, 2*total, func(int) (*http.Response, error) {
			return c.call("GET", c.baseURL+"/presets/"+base, "", "")
		}) / float64(rounds)
		reads += c.rate(16, 2*total, func(int) (*http.Response, error) {
			return c.call("GET", c.ours.url+"/v1/presets/"+id, c.ours.key, "")
		}) / float64(rounds)
	}
	speed.Report(t, "POST /v1/presets, durable, 16 clients", fmt.Sprintf("%.0f/s; chi + pgx INSERT %.0f/s", ours, theirs),
		speed.Goal{Name: "× chi + pgx INSERT", Value: ours / theirs, Least: 0.5})
	speed.Report(t, "GET /v1/presets/{id}, 16 clients", fmt.Sprintf("%.0f/s; chi + pgx SELECT %.0f/s", reads, theirReads),
		speed.Goal{Name: "× chi + pgx SELECT", Value: reads / theirReads, Least: 0.7})
}

func (c *race) baseID() string {
	c.t.Helper()
	resp, err := c.call("POST", c.baseURL+"/presets", "", fmt.Sprintf(presetJSON, "read"))
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return parse(string(b)).str("id")
}

// Presets are made at a steady 150 a second, which is 300 events; each is asked for as soon as it is acknowledged.
func TestSpeed_of_projections(t *testing.T) {
	c := newRace(t, nowhere)
	n := speed.Size(60, 1500)
	lags := make([]time.Duration, n)
	var all sync.WaitGroup
	tick := time.NewTicker(time.Second / 150)
	defer tick.Stop()
	for i := range n {
		<-tick.C
		all.Go(func() {
			resp, err := c.call("POST", c.ours.url+"/v1/presets", c.ours.key, fmt.Sprintf(presetJSON, fmt.Sprint("p", i)))
			if err != nil {
				t.Error(err)
				return
			}
			acknowledged := time.Now()
			at, where := resp.Header.Get("Prelude-Position"), resp.Header.Get("Location")
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			resp, err = c.call("GET", c.ours.url+where+"?min_position="+url.QueryEscape(at), c.ours.key, "")
			if err != nil {
				t.Error(err)
				return
			}
			lags[i] = time.Since(acknowledged)
			b, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if bytes.Contains(b, []byte(`"stale":true`)) {
				t.Errorf("a view was not reached: %s", b)
			}
		})
	}
	all.Wait()
	p50, p99 := speed.Milliseconds(speed.Quantile(lags, 0.5)), speed.Milliseconds(speed.Quantile(lags, 0.99))
	speed.Report(t, "projection lag at 300 events/s (acknowledged → answered by a query)",
		fmt.Sprintf("p50 %.1f ms, p99 %.1f ms", p50, p99),
		speed.Goal{Name: "ms p50", Value: p50, Most: 15, Quiet: true}, speed.Goal{Name: "ms p99", Value: p99, Most: 60, Quiet: true})
}

const chunks = 100

// paced is a model that says a hundred chunks, 10 ms apart.
func paced(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for i := range chunks {
		text := fmt.Sprintf(`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"m",`+
			`"choices":[{"index":0,"delta":{"content":"word %d "},"finish_reason":null}]}`+"\n\n", i)
		if _, err := io.WriteString(w, text); err != nil {
			return
		}
		if err := out.Flush(); err != nil {
			return
		}
		<-tick.C
	}
	_, _ = io.WriteString(w, `data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],`+
		`"usage":{"prompt_tokens":9,"completion_tokens":100}}`+"\n\ndata: [DONE]\n\n")
}

// turn is one streamed turn: it gives the time to the first delta, and reads to the end.
func (c *race) turn(method, url, key string) (first time.Duration, err error) {
	began := time.Now()
	resp, err := c.call(method, url, key, `{"content":"Hello"}`, "Accept: text/event-stream")
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	lines, deltas := bufio.NewScanner(resp.Body), 0
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "event: reply.delta") || strings.Contains(lines.Text(), `"delta":{"content"`) &&
			method == "DIRECT" {
			if deltas++; deltas == 1 {
				first = time.Since(began)
			}
		}
	}
	if deltas == 0 {
		return 0, fmt.Errorf("no delta from %s", url)
	}
	return first, lines.Err()
}

// cpu is the processor time that a process has taken.
func cpu(t *testing.T, pid int) time.Duration {
	t.Helper()
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Skip("the processor time of a process is read from /proc")
	}
	var sum int64 // over its threads
	for _, task := range tasks {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/schedstat", pid, task.Name()))
		if err != nil {
			continue // a thread that has ended
		}
		n, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return time.Duration(sum)
}

func (c *race) sessions(n int) []string {
	c.t.Helper()
	urls := make([]string, n)
	for i := range urls {
		id := c.ours.do("POST", "/v1/sessions", doc{"model": "openai/m"}).want(201).str("id")
		urls[i] = c.ours.url + "/v1/sessions/" + id + "/messages"
	}
	return urls
}

func TestSpeed_of_streams(t *testing.T) {
	c := newRace(t, paced)
	at, rounds := speed.Size(8, 64), speed.Size(1, 4)
	urls := c.sessions(at)
	together := func(pid int, url func(i int) string, key string) time.Duration {
		before := cpu(t, pid)
		var all sync.WaitGroup
		for i := range at {
			all.Go(func() {
				if _, err := c.turn("POST", url(i), key); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		return cpu(t, pid) - before
	}
	ourTurn := func(i int) string { return urls[i] }
	theirTurn := func(int) string { return c.baseURL + "/relay" }
	together(c.ours.cmd.Process.Pid, ourTurn, c.ours.key) // connections, keys and code are warm then
	together(c.base.Process.Pid, theirTurn, "")
	var ours, theirs time.Duration
	for range rounds {
		theirs += together(c.base.Process.Pid, theirTurn, "")
		ours += together(c.ours.cmd.Process.Pid, ourTurn, c.ours.key)
	}
	per := func(d time.Duration) string {
		return fmt.Sprintf("%.2f ms", speed.Milliseconds(d)/float64(at*rounds))
	}
	speed.Report(t, fmt.Sprintf("a streamed turn of 100 chunks, %d at once, 10 ms apart: processor time", at),
		fmt.Sprintf("%s a turn; the relay %s", per(ours), per(theirs)),
		speed.Goal{Name: "× the relay", Value: float64(ours) / float64(theirs), Most: 1.4})
	c.first(urls)
}

// first measures the time to the first chunk, one turn at a time, each in the next session.
func (c *race) first(sessions []string) {
	c.t.Helper()
	n := speed.Size(3, 40)
	var ours, theirs, direct []time.Duration
	for i := range n {
		for _, m := range []struct {
			to          *[]time.Duration
			method, url string
		}{{&direct, "DIRECT", c.upstream + "/chat/completions"}, {&theirs, "POST", c.baseURL + "/relay"}, {&ours, "POST", sessions[i%len(sessions)]}} {
			d, err := c.turn(m.method, m.url, c.ours.key)
			if err != nil {
				c.t.Fatal(err)
			}
			*m.to = append(*m.to, d)
		}
	}
	none := speed.Milliseconds(speed.Quantile(direct, 0.5))
	added := speed.Milliseconds(speed.Quantile(ours, 0.5)) - none
	relay := speed.Milliseconds(speed.Quantile(theirs, 0.5)) - none
	speed.Report(c.t, "the same, one at a time: added time to the first chunk, p50",
		fmt.Sprintf("%.2f ms; the relay %.2f ms; the model %.2f ms", added, relay, none),
		speed.Goal{Name: "ms", Value: added, Most: 1.5, Quiet: true},
		speed.Goal{Name: "× the relay", Value: added / relay, Most: 2.5, Quiet: true})
}
