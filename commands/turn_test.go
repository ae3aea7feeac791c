package commands

import (
	"context"
	"errors"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"prelude/domain"
	"prelude/domain/completion"
	"prelude/domain/receipt"
	"prelude/domain/session"
	"prelude/internal/eventlog"
)

// ends are the ends of replies in a session.
func (r *rig) ends(s domain.SessionID) (all []any) {
	r.t.Helper()
	for _, rec := range r.records(eventlog.SessionStream(acme, s)) {
		switch rec.Event.(type) {
		case session.ReplyCompleted, session.ReplyFailed, session.ReplyCancelled:
			all = append(all, rec.Event)
		}
	}
	return all
}

// posted posts a message and waits for the reply's end.
func (r *rig) posted(s domain.SessionID, m Meta) (Posted, Ending) {
	r.t.Helper()
	p, err := r.sessions().Post(r.t.Context(), PostMessage{Session: s, Content: "Hi"}, m)
	if err != nil {
		r.t.Fatal(err)
	}
	end, err := r.hub.Await(r.t.Context(), p.Reply).Wait(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return p, end
}

func TestPost_lets_one_of_several_turns_at_once_through(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.session(olga)
	release := make(chan struct{})
	const turns = 6
	type outcome struct {
		Posted
		err error
	}
	outcomes := make(chan outcome, turns)
	for i := range turns {
		process := r
		if i%2 == 1 {
			process = r.other()
		}
		process.Models = script{waiting(release)}
		go func() {
			p, err := process.sessions().Post(t.Context(), PostMessage{Session: s, Content: "Hi"}, by(olga))
			outcomes <- outcome{p, err}
		}()
	}
	var won domain.ReplyID
	var refs []string
	for range turns {
		o := <-outcomes
		if o.err == nil && won == "" {
			won = o.Reply
			continue
		}
		refs = append(refs, refusal(t, o.err, "reply_under_way").Ref)
	}
	for _, ref := range refs {
		if won == "" || ref != string(won) {
			t.Errorf("refused because of %s; %s is under way", ref, won)
		}
	}
	close(release)
}

func TestPost_that_is_repeated_attaches_to_the_reply_there_is(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.session(olga)
	release := make(chan struct{})
	r.Models = script{waiting(release)}
	m := repeatable(olga, "Hi")
	const posts = 5
	replies := make(chan Posted, posts)
	for range posts {
		go func() {
			p, err := r.sessions().Post(t.Context(), PostMessage{Session: s, Content: "Hi"}, m)
			if err != nil {
				t.Error(err)
			}
			replies <- p
		}()
	}
	first, anew := <-replies, 0
	for _, p := range []Posted{first, <-replies, <-replies, <-replies, <-replies} {
		if p.Reply != first.Reply || p.Message != first.Message {
			t.Errorf("%s and %s", p.Reply, first.Reply)
		}
		if !p.Replayed {
			anew++
		}
	}
	if anew != 1 {
		t.Errorf("%d began the reply", anew)
	}
	close(release)
	if _, err := r.hub.Await(t.Context(), first.Reply).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, end := r.posted(s, m) // after its end, too
	if end.Status != "completed" || len(r.ends(s)) != 1 {
		t.Errorf("%d ends; %+v", len(r.ends(s)), end)
	}
}

// Whoever is first, the producer, the one who cancels here or the one who cancels elsewhere: there is one end.
func TestReply_ends_once_when_cancel_and_completion_meet(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	here, elsewhere := r.sessions(), r.other().sessions()
	ways := map[string]int{}
	for range 25 {
		s := r.session(olga)
		release := make(chan struct{})
		r.Models = script{waiting(release)}
		p, err := here.Post(t.Context(), PostMessage{Session: s, Content: "Hi"}, by(olga))
		if err != nil {
			t.Fatal(err)
		}
		run := r.hub.Await(t.Context(), p.Reply)
		var all sync.WaitGroup
		all.Go(func() { close(release) })
		for _, h := range []Sessions{here, elsewhere} {
			all.Go(func() {
				if err := h.Cancel(t.Context(), s, p.Reply, by(olga)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		end, err := run.Wait(t.Context())
		ends := r.ends(s)
		if err != nil || len(ends) != 1 {
			t.Fatalf("%d ends: %v", len(ends), err)
		}
		_, completed := ends[0].(session.ReplyCompleted)
		if (end.Status == "completed") != completed {
			t.Errorf("the log has %T, who followed was told %q", ends[0], end.Status)
		}
		ways[end.Status]++
	}
	t.Log(ways)
}

func TestReply_that_is_too_long_is_cut_at_a_character(t *testing.T) {
	t.Parallel()
	piece := strings.Repeat("€", 1000) // 3 bytes each, of which 512 KiB are no multiple
	for name, c := range map[string]struct {
		pieces int
		finish string
		length int
	}{
		"and its finish is length":   {1 << 20, "length", session.MaxReply - session.MaxReply%3},
		"but not if it just fits in": {session.MaxReply / 3000, "stop", session.MaxReply / 3000 * 3000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			given := 0
			r.Models = script{func(context.Context, ModelRequest) iter.Seq2[Chunk, error] {
				return func(yield func(Chunk, error) bool) {
					for range c.pieces {
						if given++; !yield(Chunk{Text: piece}, nil) {
							return
						}
					}
					yield(Chunk{Finish: "stop"}, nil)
				}
			}}
			s := r.session(olga)
			_, end := r.posted(s, by(olga))
			if end.Status != "completed" || end.Finish != c.finish || given > session.MaxReply/3000+1 {
				t.Errorf("after %d pieces: %+v", given, end)
			}
			e, ok := r.ends(s)[0].(session.ReplyCompleted)
			if !ok || e.Finish != c.finish || e.Length != c.length || len(e.Text.Text) != c.length ||
				!utf8.ValidString(e.Text.Text) {
				t.Errorf("the log has %d bytes, want %d; %s", len(e.Text.Text), c.length, e.Finish)
			}
		})
	}
}

func TestReply_keeps_what_came_before_it_failed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Models = script{func(context.Context, ModelRequest) iter.Seq2[Chunk, error] {
		return func(yield func(Chunk, error) bool) {
			if yield(Chunk{Text: "Half"}, nil) {
				yield(Chunk{}, &UpstreamError{Code: "upstream_cut", Detail: "It was cut."})
			}
		}
	}}
	s := r.session(olga)
	_, end := r.posted(s, by(olga))
	e, ok := r.ends(s)[0].(session.ReplyFailed)
	if !ok || e.Text.Text != "Half" || e.Code != "upstream_cut" || !e.Retryable || end.Code != e.Code {
		t.Errorf("%+v, told %+v", e, end)
	}
	r.Models = script{saying("Whole.")}
	if _, end := r.posted(s, by(olga)); end.Status != "completed" {
		t.Errorf("the next turn: %+v", end)
	}
}

func TestReply_that_is_interrupted_by_the_stop_says_so(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Models = script{waiting(nil)}
	s := r.session(olga)
	if _, err := r.sessions().Post(t.Context(), PostMessage{Session: s, Content: "Hi"}, by(olga)); err != nil {
		t.Fatal(err)
	}
	if err := r.hub.Drain(t.Context(), time.Millisecond); err != nil {
		t.Fatal(err)
	}
	e, ok := r.ends(s)[0].(session.ReplyFailed)
	if !ok || e.Code != "interrupted" || !e.Retryable || e.Text.Text != "Well" {
		t.Errorf("%+v", e)
	}
}

func TestReply_whose_producer_is_gone_is_closed_by_the_next_post(t *testing.T) {
	t.Parallel()
	for name, find := range map[string]func(*rig, *Sessions){
		"because the same instance was started anew": func(_ *rig, h *Sessions) {
			h.Producer = session.Producer{Instance: "one", Boot: 2}
		},
		"because its own process does not make it": func(_ *rig, h *Sessions) { h.Producer.Instance = "one" },
		"because another instance is known to be gone": func(_ *rig, h *Sessions) {
			h.Gone = func(p session.Producer) bool { return p == session.Producer{Instance: "one", Boot: 1} }
		},
		"because it is silent beyond its time-out": func(r *rig, h *Sessions) {
			r.at(time.Now().Add(time.Minute + grace + time.Second))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.Models = script{waiting(nil)}
			s := r.session(olga)
			lost, err := r.sessions().Post(t.Context(), PostMessage{Session: s, Content: "Hi"}, by(olga))
			if err != nil {
				t.Fatal(err)
			}
			later := r.other()
			h := later.sessions()
			find(later, &h)
			p, err := h.Post(t.Context(), PostMessage{Session: s, Content: "Again"}, by(olga))
			if err != nil {
				t.Fatal(err)
			}
			if end, err := later.hub.Await(t.Context(), p.Reply).Wait(t.Context()); err != nil ||
				end.Status != "completed" {
				t.Errorf("%+v: %v", end, err)
			}
			e, ok := r.ends(s)[0].(session.ReplyFailed)
			if !ok || e.Code != "lost" || e.Reply != lost.Reply || len(r.ends(s)) != 2 {
				t.Errorf("%+v", r.ends(s))
			}
		})
	}
	t.Run("but not while it may be alive", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.Models = script{waiting(nil)}
		s := r.session(olga)
		if _, err := r.sessions().Post(t.Context(), PostMessage{Session: s, Content: "Hi"}, by(olga)); err != nil {
			t.Fatal(err)
		}
		later := r.other()
		h := later.sessions()
		later.at(time.Now().Add(time.Minute + grace - time.Second))
		h.Gone = func(session.Producer) bool { return false }
		_, err := h.Post(t.Context(), PostMessage{Session: s, Content: "Again"}, by(olga))
		refused(t, err, "reply_under_way")
	})
}

func TestSession_of_another_does_not_exist(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.session(olga)
	h := r.sessions()
	for name, err := range map[string]error{
		"post":   second(h.Post(t.Context(), PostMessage{Session: s, Content: "Hi"}, by(mara))),
		"rename": second(h.Rename(t.Context(), s, "Mine", by(mara))),
		"delete": second(h.Delete(t.Context(), s, by(mara))),
		"cancel": h.Cancel(t.Context(), s, "rpl_1", by(mara)),
	} {
		if !errors.Is(err, domain.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestCompletion_is_begun_and_ended_once(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	m := repeatable(olga, "body")
	cmd := Complete{Asked: "demo", Messages: []receipt.Message{{Role: "user", Content: "Hi"}}}
	h := r.sessions()
	var first Completed
	for i := range 3 {
		c, err := h.Complete(t.Context(), cmd, m)
		if err != nil || c.Replayed != (i > 0) {
			t.Fatalf("%+v: %v", c, err)
		}
		if i == 0 {
			first = c
		}
		if _, err := r.hub.Await(t.Context(), c.Reply).Wait(t.Context()); err != nil || c.Reply != first.Reply {
			t.Errorf("%s and %s: %v", c.Reply, first.Reply, err)
		}
	}
	records := r.records(eventlog.CompletionStream(acme, first.Reply))
	if len(records) != 2 {
		t.Fatalf("%d events", len(records))
	}
	if e, ok := records[1].Event.(completion.Ended); !ok || e.Status != "completed" || e.Text.Text != "Hello." {
		t.Errorf("%+v", records[1].Event)
	}
	if _, err := h.CloseLostCompletion(t.Context(), acme, first.Reply); err != nil {
		t.Fatal(err)
	}
	if n := len(r.records(eventlog.CompletionStream(acme, first.Reply))); n != 2 {
		t.Error("what has ended was closed as lost")
	}
}
