package llm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"prelude/commands"
	"prelude/domain/receipt"
)

func TestDemo(t *testing.T) {
	t.Parallel()
	r := New(Config{})
	hear := func(t *testing.T, req commands.ModelRequest) heard {
		return listen(t, ask(t.Context(), r, "demo", req))
	}

	t.Run("says what it is and quotes the message and the preset", func(t *testing.T) {
		t.Parallel()
		req := asking("one two three four five six seven eight nine ten")
		req.Preset = "Support tone"
		h := hear(t, req)
		for _, part := range []string{"demo", "“three four five", "nine ten”", "“Support tone”"} {
			if !strings.Contains(h.text, part) {
				t.Errorf("%q lacks %q", h.text, part)
			}
		}
		if strings.Contains(h.text, " two ") || h.pieces < 20 || h.finish != "stop" {
			t.Errorf("got %d pieces, %s: %q", h.pieces, h.finish, h.text)
		}
		want := &receipt.Usage{InputTokens: tokens(48), OutputTokens: tokens(len(h.text))}
		if d := cmp.Diff(want, h.usage); d != "" {
			t.Error(d)
		}
	})
	t.Run("says the same to the same, in however many pieces", func(t *testing.T) {
		t.Parallel()
		whole := hear(t, asking("héllo wörld"))
		if again := hear(t, asking("héllo wörld")); cmp.Diff(whole.text, again.text) != "" {
			t.Error("another reply to the same message")
		}
		for _, n := range []int{1, 2, 7, 20} {
			h := hear(t, asking(fmt.Sprintf("héllo demo:chunks=%d wörld", n)))
			if h.text != whole.text || h.pieces != n {
				t.Errorf("%d pieces: got %d, %q", n, h.pieces, h.text)
			}
		}
	})
	t.Run("has as many pieces as it is told", func(t *testing.T) {
		t.Parallel()
		for n, want := range map[string]int{
			"200": 200, "999999": 10_000, "99999999999999999999": 10_000, "0": 1, "-5": 1,
		} {
			if h := hear(t, asking("demo:chunks="+n)); h.pieces != want || h.err != nil {
				t.Errorf("chunks=%s: got %d, %v", n, h.pieces, h.err)
			}
		}
	})
	t.Run("keeps to the limit of tokens", func(t *testing.T) {
		t.Parallel()
		for _, most := range []int{1, 2, 5, 17, 40} {
			req := asking(strings.Repeat("ü", 100))
			req.Settings.MaxOutputTokens = most
			h := hear(t, req)
			used := h.usage.OutputTokens
			if h.finish != "length" || used > most || used < most-1 {
				t.Errorf("%d tokens: got %s, %d", most, h.finish, used)
			}
		}
	})
	t.Run("has something to say to nothing", func(t *testing.T) {
		t.Parallel()
		if h := hear(t, commands.ModelRequest{}); h.pieces < 20 {
			t.Errorf("got %d pieces: %q", h.pieces, h.text)
		}
	})
	t.Run("leaves alone what is no directive", func(t *testing.T) {
		t.Parallel()
		h := hear(t, asking("demo:fail=maybe demo:delay=soon demo:chunks=x demo:"))
		if !strings.Contains(h.text, "“demo:fail=maybe demo:delay=soon demo:chunks=x demo:”") {
			t.Errorf("got %q", h.text)
		}
	})
}

func TestDemoFails(t *testing.T) {
	t.Parallel()
	for fail, code := range map[string]string{
		"429": codeRateLimited, "500": codeError, "cut": codeCut, "garbage": codeGarbage,
	} {
		for _, after := range []int{0, 3, 10_000} {
			t.Run(fmt.Sprintf("%s after %d", fail, after), func(t *testing.T) {
				t.Parallel()
				words := fmt.Sprintf("demo:fail=%s demo:after=%d demo:chunks=25", fail, after)
				h := listen(t, ask(t.Context(), New(Config{}), "demo", asking(words)))
				h.fails(t, code, after == 0 && fail != "garbage")
				if h.pieces != min(after, 25) {
					t.Errorf("got %d pieces", h.pieces)
				}
			})
		}
	}
}

func TestDemoTakesTime(t *testing.T) {
	t.Parallel()
	limits := Timeouts{
		FirstToken: 3 * time.Second, BetweenTokens: 2 * time.Second, Total: time.Minute,
	}
	for _, c := range []struct {
		words  string
		code   string // empty: it does not fail
		pieces int
		takes  time.Duration
	}{
		{"demo:chunks=25 demo:delay=20ms", "", 25, 500 * time.Millisecond},
		{"demo:chunks=25 demo:delay=-1s", "", 25, 0},
		{"demo:delay=1h", codeTimeout, 0, 3 * time.Second},
		{"demo:delay=2500ms", codeTimeout, 1, 4500 * time.Millisecond},
		{"demo:fail=hang", codeTimeout, 0, 3 * time.Second},
		{"demo:fail=hang demo:after=4", codeTimeout, 4, 2 * time.Second},
		{"demo:fail=hang demo:after=4 demo:delay=1s", codeTimeout, 4, 6 * time.Second},
		{"demo:chunks=100 demo:delay=1s", codeTimeout, 59, time.Minute},
	} {
		t.Run(c.words, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				from := time.Now()
				r := New(Config{Timeouts: limits})
				h := listen(t, ask(t.Context(), r, "demo", asking(c.words)))
				if c.code != "" {
					h.fails(t, c.code, c.pieces == 0)
				} else if h.err != nil {
					t.Error(h.err)
				}
				if took := time.Since(from); took != c.takes || h.pieces < c.pieces {
					t.Errorf("got %d pieces in %v", h.pieces, took)
				}
			})
		})
	}
}

func TestDemoEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cause := errors.New("cancelled by its author")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(cause) })
		from := time.Now()
		h := listen(t, ask(ctx, New(Config{}), "demo", asking("demo:delay=10s")))
		if !errors.Is(h.err, cause) || time.Since(from) != time.Second {
			t.Errorf("got %v after %v", h.err, time.Since(from))
		}
		ask(ctx, New(Config{}), "demo", asking("hi"))(func(c commands.Chunk, err error) bool {
			if !errors.Is(err, cause) {
				t.Errorf("got %+v, %v", c, err)
			}
			return true
		})
	})
}

func TestDemoStopsWithItsReader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, err := range ask(t.Context(), New(Config{}), "demo", asking("demo:delay=1s")) {
			if err != nil {
				t.Error(err)
			}
			break
		}
	})
}
