package commands

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"prelude/domain"
	"prelude/domain/answer"
)

func newTestHub() *Hub { return NewHub(slog.New(slog.DiscardHandler)) }

// follow reads a reply from an offset to its end.
func follow(ctx context.Context, r *Run, from, seen int) (text []byte, tools int, end Ending, err error) {
	for {
		p, err := r.Next(ctx, from+len(text), seen+tools)
		if err != nil {
			return nil, 0, Ending{}, err
		}
		text, tools = append(text, p.Text...), tools+len(p.Pieces)
		if p.End != nil {
			return text, tools, *p.End, nil
		}
	}
}

// Readers come at any time, from any offset: each sees the text from there on, byte by byte as all others.
func TestRun_gives_every_reader_the_same_bytes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		chunks := rapid.SliceOfN(rapid.StringN(0, 9, 30), 0, 30).Draw(rt, "chunks")
		offsets := rapid.SliceOfN(rapid.IntRange(0, 40), 1, 8).Draw(rt, "offsets")
		late := rapid.IntRange(0, 30).Draw(rt, "late")
		whole := strings.Join(chunks, "")
		synctest.Test(t, func(t *testing.T) {
			r := &Run{}
			var all sync.WaitGroup
			read := func(from int) {
				all.Go(func() {
					text, tools, end, err := follow(t.Context(), r, from, 0)
					want := whole[min(from, len(whole)):]
					if err != nil || string(text) != want || tools != len(chunks)/3 || end.Finish != "stop" {
						t.Errorf("from %d: %q and %d tool calls, want %q: %v", from, text, tools, want, err)
					}
				})
			}
			pieces := 0
			for i, c := range chunks {
				if i == late {
					for _, from := range offsets {
						read(from)
					}
				}
				if i%3 == 2 {
					r.Add(Chunk{Pieces: []answer.Piece{{Part: pieces, Kind: answer.ToolCall}}})
					pieces++
				}
				r.Add(Chunk{Text: c})
				if i%5 == 0 {
					synctest.Wait() // all have read what there is
				}
			}
			r.finish(Ending{Finish: "stop"})
			for _, from := range offsets {
				read(from)
			}
			all.Wait()
		})
	})
}

func TestRun_has_many_readers_at_once(t *testing.T) {
	t.Parallel()
	r := &Run{}
	const readers, size = 50, 20_000
	var all sync.WaitGroup
	texts := make([][]byte, readers)
	for i := range texts {
		all.Go(func() {
			var err error
			if texts[i], _, _, err = follow(t.Context(), r, i, 0); err != nil {
				t.Error(err)
			}
		})
	}
	rng := rand.New(rand.NewPCG(1, 1))
	var whole []byte
	for len(whole) < size {
		piece := bytes.Repeat([]byte{byte('a' + rng.IntN(26))}, rng.IntN(40))
		whole = append(whole, piece...)
		r.Add(Chunk{Text: string(piece)})
	}
	r.finish(Ending{})
	all.Wait()
	for i, text := range texts {
		if !bytes.Equal(text, whole[i:]) {
			t.Errorf("reader %d has %d bytes, want %d", i, len(text), len(whole)-i)
		}
	}
	if got := r.Text(); got != string(whole) {
		t.Errorf("the text has %d bytes", len(got))
	}
}

func TestNext_ends_with_its_context(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("gone")
	cancel(why)
	r := &Run{}
	if _, err := r.Next(ctx, 0, 0); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	if _, err := r.Wait(ctx); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	r.Add(Chunk{Text: "hi"})
	if p, err := r.Next(ctx, 0, 0); err != nil || string(p.Text) != "hi" {
		t.Errorf("what is there is not given: %q: %v", p.Text, err)
	}
	r.finish(Ending{Finish: "stop"})
	for range 100 { // of what is ready at once either may be taken
		if end, err := r.Wait(ctx); err != nil || end.Finish != "stop" {
			t.Fatalf("the end that is there is not given: %v: %v", end, err)
		}
	}
}

// working is a reply that goes on until it is told to end, or for a time.
func working(d time.Duration) func(context.Context, *Run) (Ending, error) {
	return func(ctx context.Context, _ *Run) (Ending, error) {
		select {
		case <-time.After(d):
			return Ending{Status: "completed"}, nil
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), errShutdown) {
				return Ending{Status: "failed", Code: "interrupted"}, nil
			}
			return Ending{Status: "cancelled"}, nil
		}
	}
}

// stuck is a reply whose end is not recorded before it is released.
func stuck(release <-chan struct{}) func(context.Context, *Run) (Ending, error) {
	return func(context.Context, *Run) (Ending, error) {
		<-release
		return Ending{}, errors.New("released")
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	const patience = 5 * time.Second
	t.Run("lets replies end by themselves, and interrupts the rest after its patience", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			h := newTestHub()
			quick, slow := &Run{Reply: "rpl_1"}, &Run{Reply: "rpl_2"}
			h.start(quick, working(time.Second))
			h.start(slow, working(time.Hour))
			began := time.Now()
			if err := h.Drain(t.Context(), patience); err != nil || time.Since(began) != patience {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
			for r, want := range map[*Run]string{quick: "", slow: "interrupted"} {
				if end, ended := r.Ended(); !ended || end.Code != want {
					t.Errorf("%s: %+v", r.Reply, end)
				}
			}
			if h.Busy() != 0 {
				t.Errorf("%d are under way", h.Busy())
			}
		})
	})
	t.Run("does not wait where nothing is under way", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			h, began := newTestHub(), time.Now()
			if err := h.Drain(t.Context(), patience); err != nil || time.Since(began) != 0 {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
		})
	})
	t.Run("interrupts at once what begins afterwards", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			h := newTestHub()
			if err := h.Drain(t.Context(), patience); err != nil {
				t.Fatal(err)
			}
			r := &Run{Reply: "rpl_1"}
			h.start(r, working(time.Hour))
			if end, err := r.Wait(t.Context()); err != nil || end.Code != "interrupted" {
				t.Errorf("%+v: %v", end, err)
			}
		})
	})
	t.Run("gives up with its context, and says so", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			h, release := newTestHub(), make(chan struct{})
			h.start(&Run{Reply: "rpl_1"}, stuck(release))
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := h.Drain(ctx, patience); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			close(release)
		})
	})
	t.Run("bears replies that begin meanwhile", func(t *testing.T) {
		t.Parallel()
		h := newTestHub()
		var all sync.WaitGroup
		runs := make([]*Run, 20)
		for i := range runs {
			runs[i] = &Run{Reply: domain.ReplyID(strings.Repeat("x", i+1))}
			all.Go(func() { h.start(runs[i], working(time.Hour)) })
		}
		if err := h.Drain(t.Context(), 0); err != nil {
			t.Error(err)
		}
		all.Wait()
		for _, r := range runs {
			if end, err := r.Wait(t.Context()); err != nil || end.Code != "interrupted" {
				t.Errorf("%+v: %v", end, err)
			}
		}
	})
}

func TestClose(t *testing.T) {
	t.Parallel()
	t.Run("makes nothing of what begins afterwards", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			h, r := newTestHub(), &Run{Reply: "rpl_1"}
			if err := h.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			h.start(r, func(context.Context, *Run) (Ending, error) {
				t.Error("it is made")
				return Ending{}, nil
			})
			// The log has no end of it: nobody is told one.
			if end, err := r.Wait(t.Context()); !errors.Is(err, ErrUnrecorded) {
				t.Errorf("%+v: %v", end, err)
			}
		})
	})
	t.Run("is done when no reply is made any more, whatever begins meanwhile", func(t *testing.T) {
		t.Parallel()
		h := newTestHub()
		var all sync.WaitGroup
		var made atomic.Int64
		runs := make([]*Run, 50)
		for i := range runs {
			runs[i] = &Run{Reply: domain.ReplyID(strings.Repeat("x", i+1))}
			all.Go(func() {
				h.start(runs[i], func(ctx context.Context, r *Run) (Ending, error) {
					made.Add(1)
					defer made.Add(-1)
					return working(time.Hour)(ctx, r)
				})
			})
		}
		if err := h.Close(t.Context()); err != nil || made.Load() != 0 {
			t.Errorf("%d are made: %v", made.Load(), err)
		}
		all.Wait()
		if made.Load() != 0 {
			t.Errorf("%d are made afterwards", made.Load())
		}
		for _, r := range runs { // those that came after it are not made
			if end, err := r.Wait(t.Context()); end.Code != "interrupted" && !errors.Is(err, ErrUnrecorded) {
				t.Errorf("%+v: %v", end, err)
			}
		}
	})
	t.Run("gives up with its context, and makes nothing more all the same", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			h, release := newTestHub(), make(chan struct{})
			h.start(&Run{Reply: "rpl_1"}, stuck(release))
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := h.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			late := &Run{Reply: "rpl_2"}
			h.start(late, working(time.Hour))
			if _, err := late.Wait(t.Context()); !errors.Is(err, ErrUnrecorded) {
				t.Errorf("it is made: %v", err)
			}
			close(release)
		})
	})
}

func TestHub_keeps_an_ended_reply_for_a_minute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, r := newTestHub(), &Run{Reply: "rpl_1"}
		h.start(r, working(time.Hour))
		h.Ended("rpl_1") // told by the log: somebody ended it elsewhere
		if end, err := r.Wait(t.Context()); err != nil || end.Status != "cancelled" {
			t.Errorf("%+v: %v", end, err)
		}
		h.Ended("rpl_1")
		h.Ended("rpl_2")
		<-time.After(keepEnded - time.Millisecond)
		if h.Find("rpl_1") != r {
			t.Error("it was forgotten early")
		}
		<-time.After(2 * time.Millisecond)
		if h.Find("rpl_1") != nil {
			t.Error("it is kept")
		}
	})
}

func TestAwait_waits_until_a_reply_is_known(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub()
		got := make(chan *Run, 3)
		for range cap(got) {
			go func() { got <- h.Await(t.Context(), "rpl_2") }()
		}
		one, two := &Run{Reply: "rpl_1"}, &Run{Reply: "rpl_2"}
		for _, r := range []*Run{one, two} {
			synctest.Wait()
			if len(got) > 0 {
				t.Fatal("it did not wait")
			}
			h.start(r, working(time.Second))
		}
		for range cap(got) {
			if r := <-got; r != two {
				t.Error("it is another one")
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if h.Await(ctx, "rpl_3") != nil {
			t.Error("it found what is not there")
		}
		<-h.quiet()
	})
}

func TestPeek_is_what_there_is_now(t *testing.T) {
	t.Parallel()
	r := &Run{}
	r.Add(Chunk{Text: "ab"})
	p, ended := r.Peek()
	r.Add(Chunk{Text: "c"})
	if ended || !slices.Equal(p.Text, []byte("ab")) {
		t.Errorf("%q, ended %v", p.Text, ended)
	}
	_ = append(p.Text, 'x') // must not reach the reply
	r.finish(Ending{})
	if p, ended = r.Peek(); !ended || string(p.Text) != "abc" || p.End == nil {
		t.Errorf("%q, ended %v", p.Text, ended)
	}
}
