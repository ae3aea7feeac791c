package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"prelude/domain"
	"prelude/domain/receipt"
	"prelude/domain/session"
	"prelude/internal/eventlog"
	"prelude/internal/eventstore/storetest"
)

// watched is a store that counts how often it is read, and how many events that gave.
type watched struct {
	eventlog.Store
	reads, events atomic.Int64
}

func (w *watched) count(all iter.Seq2[eventlog.Raw, error]) iter.Seq2[eventlog.Raw, error] {
	return func(yield func(eventlog.Raw, error) bool) {
		w.reads.Add(1)
		for raw, err := range all {
			w.events.Add(1)
			if !yield(raw, err) {
				return
			}
		}
	}
}

func (w *watched) Read(ctx context.Context, stream string, from eventlog.Revision, dir eventlog.Direction,
	limit uint64) iter.Seq2[eventlog.Raw, error] {
	return w.count(w.Store.Read(ctx, stream, from, dir, limit))
}

func (w *watched) ReadAll(ctx context.Context, from eventlog.Position, dir eventlog.Direction, limit uint64,
) iter.Seq2[eventlog.Raw, error] {
	return w.count(w.Store.ReadAll(ctx, from, dir, limit))
}

// grow appends turns to a session until it has n events, many at once.
func grow(t *testing.T, log *eventlog.Log, stream eventlog.Stream, n int) {
	t.Helper()
	var s session.Session
	at := eventlog.None
	for rec, err := range log.Read(t.Context(), stream, 0, eventlog.Forwards) {
		if err != nil {
			t.Fatal(err)
		}
		s, at = s.Evolve(rec.Event.(session.Event)), rec.Revision
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	for s.Events < n {
		var events []any
		for range min((n-s.Events+3)/4, 100) {
			reply := domain.ReplyID(domain.EncodeID(domain.ReplyPrefix, uuid.New()))
			posted, err := s.Post(session.Post{Message: domain.MessageID(domain.EncodeID(domain.MessagePrefix, uuid.New())),
				Reply: reply, Author: s.Owner, Content: fmt.Sprint("question ", s.Events),
				Manifest: receipt.Manifest{Model: "demo"}, Until: now}, now)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range posted {
				s, events = s.Evolve(e), append(events, e)
			}
			ended, err := s.End(session.End{Reply: reply, Text: fmt.Sprint("answer ", s.Events), Finish: "stop"}, now)
			if err != nil {
				t.Fatal(err)
			}
			s, events = s.Evolve(ended[0]), append(events, ended[0])
		}
		done, _, err := log.Append(t.Context(), stream, at, eventlog.Meta{Org: string(s.Org), User: string(s.Owner),
			Command: uuid.New(), Step: uuid.New(), At: now}, events)
		if err != nil {
			t.Fatal(err)
		}
		at = done.Revision
	}
}

// grown makes sessions of so many events, which the views have.
func (r *rig) grown(t *testing.T, events ...int) []string {
	t.Helper()
	p, err := openAll(t.Context(), r.config(), slog.New(slog.DiscardHandler), false)
	if err != nil {
		t.Fatal(errors.Join(err, p.Close()))
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	org := domain.OrgID(r.do("GET", "/v1/me", nil).want(200).str("org", "id"))
	ids := make([]string, len(events))
	for i, n := range events {
		ids[i] = r.session()
		grow(t, p.log, eventlog.SessionStream(org, domain.SessionID(ids[i])), n)
	}
	after := r.do("POST", "/v1/sessions", doc{"model": "demo"}).Header.Get("Prelude-Position")
	for r.do("GET", "/v1/sessions?min_position="+after, nil).want(200).at("stale") == true {
		if t.Context().Err() != nil {
			t.Fatal("the views do not come to the log's end")
		}
	}
	return ids
}

// A page of a session of 20,000 events costs what one of a session of 10 does: as many statements, and no read of the
// log; wherever in the session it lies.
func TestPage_of_a_long_session_costs_what_one_of_a_short_does(t *testing.T) {
	t.Parallel()
	most := storetest.Scale(1_700, session.MaxEvents-100)
	r, m := metered(t)
	ids := r.grown(t, 10, most)
	r.stop()
	s, store := r.watchedServer(t)
	type cost struct{ statements, reads, events int }
	page := func(id, query string) (c cost, next string) {
		t.Helper()
		req := httptest.NewRequestWithContext(t.Context(), "GET", "/v1/sessions/"+id+"/messages?"+query, nil)
		req.Header.Set("Authorization", "Bearer "+r.key)
		w := httptest.NewRecorder()
		reads, events := store.reads.Load(), store.events.Load()
		ran := m.count(func(string) bool { return true }, func() { s.handler.ServeHTTP(w, req) })
		d := (&answer{t, w.Code, w.Header(), w.Body.Bytes()}).want(200)
		said := ""
		for _, message := range d.list("data") {
			said += strings.TrimRight(message.str("content"), "0123456789")
		}
		if said != "question answer question answer " && said != "answer question answer question " ||
			d.str("next_cursor") == "" {
			t.Fatalf("the page is %v", d)
		}
		return cost{len(ran), int(store.reads.Load() - reads), int(store.events.Load() - events)}, d.str("next_cursor")
	}
	for _, query := range []string{"limit=4", "limit=4&order=desc"} {
		page(ids[0], query) // statements are prepared once
		short, _ := page(ids[0], query)
		long, next := page(ids[1], query)
		further, _ := page(ids[1], query+"&cursor="+next)
		t.Logf("%s, of 10 and of %d events: %d and %d statements, further on %d; reads of the log %d, %d and %d", query, most,
			short.statements, long.statements, further.statements, short.reads, long.reads, further.reads)
		if short.statements == 0 || long != short || further != short {
			t.Errorf("%s costs %+v on a short session, %+v on a long one, and further on %+v", query, short, long, further)
		}
		if short.reads+long.reads+further.reads+short.events+long.events+further.events > 0 {
			t.Errorf("%s: the log is read", query)
		}
	}
	// What is counted is what the server reads: a session as it was is folded from the log.
	req := httptest.NewRequestWithContext(t.Context(), "GET", "/v1/sessions/"+ids[0]+"?as_of=9999-12-31T23:59:59Z", nil)
	req.Header.Set("Authorization", "Bearer "+r.key)
	before := store.events.Load()
	s.handler.ServeHTTP(httptest.NewRecorder(), req)
	if n := store.events.Load() - before; n < 10 {
		t.Errorf("to fold a session of 10 events, %d are read", n)
	}
}

// watchedServer is a server over the rig's data that runs no readers, with the store that it reads.
func (r *rig) watchedServer(t *testing.T) (*server, *watched) {
	t.Helper()
	p, err := openAll(t.Context(), r.config(), slog.New(slog.DiscardHandler), true)
	if err != nil {
		t.Fatal(errors.Join(err, p.Close()))
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	store := &watched{Store: p.log.Store}
	p.log.Store = store
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0") // nobody is answered on it
	if err != nil {
		t.Fatal(err)
	}
	p.onClose(listener.Close)
	s, err := newServer(t.Context(), p, listener)
	if err != nil {
		t.Fatal(err)
	}
	return s, store
}
