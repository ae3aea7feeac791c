package llm

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// paced is a server that takes its time: each step waits, then sends. It needs no socket, so that
// time can be a test's own.
type paced struct {
	header time.Duration
	steps  []step
}

type step struct {
	after time.Duration
	send  string
}

func (p paced) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := pass(req.Context(), p.header); err != nil {
		return nil, err
	}
	body := &pacedBody{ctx: req.Context(), steps: p.steps}
	return &http.Response{StatusCode: http.StatusOK, Body: body}, nil
}

type pacedBody struct {
	ctx   context.Context
	steps []step
	ready bytes.Buffer
}

func (b *pacedBody) Read(p []byte) (int, error) {
	for b.ready.Len() == 0 {
		if len(b.steps) == 0 {
			return 0, io.EOF
		}
		if err := pass(b.ctx, b.steps[0].after); err != nil {
			return 0, err
		}
		b.ready.WriteString(b.steps[0].send)
		b.steps = b.steps[1:]
	}
	return b.ready.Read(p)
}

func (b *pacedBody) Close() error { return nil }

func pass(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func repeat(n int, s step) []step {
	steps := make([]step, n)
	for i := range steps {
		steps[i] = s
	}
	return steps
}

const s = time.Second

func TestWatch(t *testing.T) {
	t.Parallel()
	thought := event(`{"reasoning":"hm"}`, "null")
	for name, c := range map[string]struct {
		server paced
		code   string // empty: the reply is whole
		text   string
		takes  time.Duration
	}{
		"slow but in time": {paced{9 * s, []step{{0, role}, {s / 2, say("a")}, {4 * s, say("b")},
			{4 * s, stop}, {s, end}}}, "", "ab", 18*s + s/2},
		"no response": {paced{header: time.Hour}, codeTimeout, "", 10 * s},
		"no first token": {
			paced{s, []step{{s, role}, {time.Hour, ""}}}, codeTimeout, "", 10 * s,
		},
		"nothing but comments": {
			paced{0, repeat(99, step{s, ": wait\n\n"})}, codeTimeout, "", 59 * s,
		},
		"a model that is loaded first": {
			paced{0, append(repeat(40, step{s, ": loading\n\n"}), step{s, say("a") + stop + end})}, "", "a", 41 * s,
		},
		"nothing but empty deltas": {
			paced{0, repeat(99, step{s, say("")})}, codeTimeout, "", 10 * s,
		},
		"long thoughts": {paced{0, append(repeat(5, step{9 * s, thought}), step{9 * s, stop})},
			"", "", 54 * s},
		"silence": {
			paced{0, []step{{s, say("a")}, {time.Hour, ""}}}, codeTimeout, "a", 6 * s,
		},
		"silence within a line": {
			paced{0, []step{{s, say("a") + "data: {"}, {time.Hour, ""}}}, codeTimeout, "a", 6 * s,
		},
		"comments in silence": {
			paced{0, append([]step{{s, say("a")}}, repeat(99, step{s, ":\n"})...)},
			codeTimeout, "a", 6 * s,
		},
		"too long in all": {
			paced{0, repeat(99, step{4 * s, say("a")})}, codeTimeout, "aaaaaaaaaaaaaa", 59 * s,
		},
		"silence after the end": {
			paced{0, []step{{s, say("a") + stop}, {time.Hour, ""}}}, "", "a", 6 * s,
		},
		"open after it is done": {
			paced{0, []step{{s, say("a") + stop + end}, {time.Hour, ""}}}, "", "a", s + maxDrain,
		},
		"one completion, slowly": {
			paced{0, []step{{s, "{"}, {time.Hour, ""}}}, codeTimeout, "", 10 * s,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limits := Timeouts{FirstToken: 10 * s, BetweenTokens: 5 * s, Total: 59 * s}
				r := routed(t, "http://model", limits)
				r.server.client = &http.Client{Transport: c.server}
				from := time.Now()
				h := listen(t, ask(t.Context(), r, "openai/m", asking("hi")))
				if c.code != "" {
					h.fails(t, c.code, c.text == "")
				} else if h.err != nil {
					t.Error(h.err)
				}
				if took := time.Since(from); h.text != c.text || took != c.takes {
					t.Errorf("got %q in %v, want %q in %v", h.text, took, c.text, c.takes)
				}
			})
		})
	}
}

func TestSlowReaderIsNotTheModelsFault(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := routed(t, "http://model", Timeouts{BetweenTokens: s})
		r.server.client = &http.Client{Transport: paced{0, []step{
			{0, say("a") + say("b")}, {s / 2, say("c")}, {0, stop}, {0, end},
		}}}
		var text string
		for chunk, err := range ask(t.Context(), r, "openai/m", asking("hi")) {
			if err != nil {
				t.Fatal(err)
			}
			text += chunk.Text
			<-time.After(time.Minute)
		}
		if text != "abc" {
			t.Errorf("got %q", text)
		}
	})
}
