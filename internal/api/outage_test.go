package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chi/chi/v5"

	"prelude/commands"
	"prelude/internal/eventlog"
)

// Of an outage of the store each request says so on its own line, at WARN; the outage itself is logged elsewhere, once.
func TestFailed_in_an_outage_of_the_store_is_no_error_of_each_request(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"it does not answer":       fmt.Errorf("load a preset: %w", eventlog.ErrUnavailable),
		"a stream changes":         fmt.Errorf("load a preset: %w", eventlog.ErrChanged),
		"an end is not recorded":   commands.ErrUnrecorded,
		"it does not in its time":  errors.Join(eventlog.ErrUnavailable, context.DeadlineExceeded),
		"something else went awry": errors.New("awry"),
	} {
		var logs bytes.Buffer
		s := &Server{Logger: slog.New(slog.NewJSONHandler(&logs, nil))}
		mux := chi.NewMux()
		mux.Use(s.observe)
		mux.Get("/v1/me", func(w http.ResponseWriter, r *http.Request) {
			e := s.failed(r.Context(), r.URL.Path, err)
			w.WriteHeader(e.GetStatus())
		})
		const requests = 100
		want := http.StatusServiceUnavailable
		if name == "something else went awry" {
			want = http.StatusInternalServerError
		}
		for range requests {
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/me", http.NoBody))
			if w.Code != want {
				t.Fatalf("%s: status %d", name, w.Code)
			}
		}
		levels := map[string]int{}
		for line := range strings.Lines(logs.String()) {
			var l struct{ Level, Msg, Code, Error string }
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatal(err)
			}
			levels[l.Level+" "+l.Msg]++
			if l.Msg == "request" && (l.Code == "" || l.Level == "WARN" && l.Error == "") {
				t.Errorf("%s: %s", name, line)
			}
		}
		if want == http.StatusServiceUnavailable && (levels["WARN request"] != requests || len(levels) != 1) ||
			want != http.StatusServiceUnavailable && levels["ERROR a request failed"] != requests {
			t.Errorf("%s: the lines are %v", name, levels)
		}
	}
}

// Whoever waits for a whole answer waits until its model is given up, and a little longer for the end to be recorded.
// Then they are told to come again, and never an end.
func TestOver_waits_no_longer_than_the_reply_may_take(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := commands.NewEngine(&eventlog.Log{}, nil, slog.New(slog.DiscardHandler))
		hub := commands.NewHub(slog.New(slog.DiscardHandler))
		s := &Server{Sessions: commands.Sessions{Engine: e, Hub: hub}}
		for name, wait := range map[string]func(source) error{
			"a whole answer": func(src source) error { return s.over(t.Context(), src) },
			"the first word of a stream": func(src source) error {
				_, err := chat{s: s, src: src}.first(t.Context())
				return err
			},
		} {
			began := time.Now()
			err := wait(local{s, &commands.Run{Until: began.Add(time.Minute)}})
			if took := time.Since(began); took < time.Minute || took > time.Minute+hub.Patience {
				t.Errorf("%s: after %v", name, took)
			}
			p, _ := toProblem(err)
			if !errors.Is(err, commands.ErrUnrecorded) || p.Status != 503 || p.Code != "unavailable" ||
				p.headers.Get("Retry-After") == "" {
				t.Errorf("%s: %v is %+v", name, err, p)
			}
		}
	})
}

func TestProblem_of_what_passes_is_unavailable(t *testing.T) {
	t.Parallel()
	for _, err := range []error{eventlog.ErrUnavailable, eventlog.ErrChanged, errStopping, commands.ErrUnrecorded} {
		p, _ := toProblem(fmt.Errorf("ask: %w", err))
		if p.Status != 503 || p.Code != "unavailable" || p.headers.Get("Retry-After") == "" {
			t.Errorf("%v is %+v", err, p)
		}
	}
}
