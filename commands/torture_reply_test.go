package commands

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"prelude/domain"
	"prelude/domain/completion"
	"prelude/domain/session"
	"prelude/internal/esnode/esnodetest"
	"prelude/internal/eventlog"
	"prelude/internal/eventlog/eventlogtest"
	"prelude/internal/eventstore"
	"prelude/internal/eventstore/storetest"
)

// replyTorture is replies that are made by one process, and followed, asked for and cancelled there and by another,
// while something is done to the store.
type replyTorture struct {
	t         *testing.T
	makes     *rig
	other     *rig
	seed      uint64
	stop      chan struct{}
	mu        sync.Mutex
	chance    *rand.Rand
	replies   []*toldReply
	unheard   int // of those begun: the answer to that was lost, and they were closed
	cancelled int
	hung      int
}

// toldReply is a reply and each end that anybody was told of it.
type toldReply struct {
	begun
	mu   sync.Mutex
	told []Ending
}

func (r *toldReply) tell(e Ending) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, e)
}

func (r *toldReply) stream() eventlog.Stream {
	if r.session == "" {
		return eventlog.CompletionStream(acme, r.reply)
	}
	return eventlog.SessionStream(acme, r.session)
}

// most is how long anything of a reply may take, over the longest outage.
const most = 90 * time.Second

// newReplyTorture has two processes, each with its own way to the store.
func newReplyTorture(t *testing.T, cfg eventstore.Config) *replyTorture {
	t.Helper()
	k := &eventlogtest.Keys{}
	first := (&rig{t: t, keys: k}).over(logOn(t, cfg, k))
	second := first.over(logOn(t, cfg, k))
	second.instance = uuid.NewString()
	f := &replyTorture{t: t, makes: first, other: second, seed: esnodetest.Seed(), stop: make(chan struct{})}
	f.chance = rand.New(rand.NewPCG(f.seed, 200))
	t.Logf("seed %d", f.seed)
	first.Models = script{f.speaks}
	// In the short form, too, outages last longer than an attempt to record an end.
	first.hub.Attempt = storetest.Scale(200*time.Millisecond, first.hub.Attempt)
	return f
}

// draw is a number below n.
func (f *replyTorture) draw(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.chance.IntN(n)
}

// soon is after a moment below d.
func (f *replyTorture) soon(d time.Duration) <-chan time.Time {
	return time.After(time.Duration(f.draw(int(d))))
}

// speaks is a model that says some words and stops, fails, or goes on until it is cancelled.
func (f *replyTorture) speaks(ctx context.Context, _ ModelRequest) iter.Seq2[Chunk, error] {
	return func(yield func(Chunk, error) bool) {
		for range 1 + f.draw(4) {
			if !yield(Chunk{Text: "word "}, nil) {
				return
			}
			select {
			case <-f.soon(150 * time.Millisecond):
			case <-ctx.Done():
				yield(Chunk{}, context.Cause(ctx))
				return
			}
		}
		switch f.draw(4) {
		case 0:
			yield(Chunk{}, &UpstreamError{Code: "upstream_cut", Detail: "It was cut."})
		case 1:
			<-ctx.Done()
			yield(Chunk{}, context.Cause(ctx))
		default:
			yield(Chunk{Finish: "stop"}, nil)
		}
	}
}

// live tells the process that makes replies of ends that others recorded, as its live subscription does.
func (f *replyTorture) live(ctx context.Context) {
	prefixes := []string{"session-", "completion-"}
	for s, err := range f.makes.Log.Store.Subscribe(ctx, 0, eventlog.Filter{Prefixes: prefixes}) {
		if err != nil {
			if ctx.Err() == nil {
				f.t.Error(err)
			}
			return
		}
		if s.Kind != eventlog.Event {
			continue
		}
		rec, err := eventlog.Decode(s.Raw)
		if err != nil {
			f.t.Error(err)
			return
		}
		switch e := rec.Event.(type) {
		case session.ReplyCompleted:
			f.makes.hub.Ended(e.Reply)
		case session.ReplyFailed:
			f.makes.hub.Ended(e.Reply)
		case session.ReplyCancelled:
			f.makes.hub.Ended(e.Reply)
		case completion.Ended:
			f.makes.hub.Ended(domain.ReplyID(rec.Stream.Object()))
		}
	}
}

// patient tries something until the store has answered it.
func (f *replyTorture) patient(what string, do func(context.Context) error) bool {
	ctx, cancel := context.WithTimeout(f.t.Context(), most)
	defer cancel()
	for {
		attempt, end := context.WithTimeout(ctx, time.Duration(50+f.draw(8000))*time.Millisecond)
		err := do(attempt)
		end()
		switch {
		case err == nil:
			return true
		case ctx.Err() != nil:
			f.hang(what)
			return false
		case !errors.Is(err, eventlog.ErrUnavailable) && !errors.Is(err, ErrMoved) && !errors.Is(err, eventlog.ErrChanged):
			f.t.Errorf("%s: %v", what, err)
			return false
		}
	}
}

func (f *replyTorture) hang(what string) {
	f.t.Errorf("%s: nothing for %s", what, most)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hung++
}

// make makes replies, one after another, in sessions and without, until it is told to stop.
func (f *replyTorture) make(rng *rand.Rand) {
	var in domain.SessionID
	for n := 0; ; n++ {
		select {
		case <-f.stop:
			return
		default:
		}
		if n%8 == 0 && !f.patient("start a session", func(ctx context.Context) error {
			left, err := f.makes.sessions().Start(ctx, StartSession{Model: "demo"}, by(olga))
			in = left.State.ID
			return err
		}) {
			return
		}
		r := &toldReply{begun: begun{session: in}}
		if rng.IntN(3) == 0 {
			r.session = ""
		}
		if !f.one(r, rng) {
			return
		}
	}
}

// one makes a reply, and has it followed to its end.
func (f *replyTorture) one(r *toldReply, rng *rand.Rand) bool {
	m := repeatable(olga, "body")
	if !f.patient("begin a reply", func(ctx context.Context) (err error) {
		r.reply, err = f.begin(ctx, r.session, m)
		return err
	}) {
		return false
	}
	f.mu.Lock()
	f.replies = append(f.replies, r)
	f.mu.Unlock()
	run := f.makes.hub.Find(r.reply)
	if run == nil { // the answer to its start was lost: nobody makes it
		f.mu.Lock()
		f.unheard++
		f.mu.Unlock()
		return f.patient("close a reply", func(ctx context.Context) error {
			_, err := f.makes.sessions().Recover(ctx, acme, r.session, r.reply)
			return err
		})
	}
	var busy sync.WaitGroup
	for range 3 {
		busy.Go(func() { f.hear(r, run) })
	}
	busy.Go(func() { f.ask(r, run) })
	f.end(r, run, rng)
	busy.Wait()
	return true
}

func (f *replyTorture) begin(ctx context.Context, id domain.SessionID, m Meta) (domain.ReplyID, error) {
	if id == "" {
		c, err := f.makes.sessions().Complete(ctx, hiCompletion, m)
		return c.Reply, err
	}
	p, err := f.makes.sessions().Post(ctx, PostMessage{Session: id, Content: "Hi"}, m)
	return p.Reply, err
}

// hear follows a reply to its end.
func (f *replyTorture) hear(r *toldReply, run *Run) {
	ctx, cancel := context.WithTimeout(f.t.Context(), most)
	defer cancel()
	text, _, end, err := follow(ctx, run, 0, 0)
	switch {
	case ctx.Err() != nil:
		f.hang("follow a reply")
	case err != nil:
		f.t.Errorf("who follows a reply is told %v", err)
	case end.Status == "completed" && len(text) != end.Length:
		f.t.Errorf("%s: who follows it reads %d bytes, and it ends with %d", r.reply, len(text), end.Length)
	default:
		r.tell(end)
	}
}

// end cancels the reply where that does not end by itself in time, here or from the other process; now and then before.
func (f *replyTorture) end(r *toldReply, run *Run, rng *rand.Rand) {
	wait := 1200 * time.Millisecond
	if rng.IntN(3) == 0 {
		wait = time.Duration(rng.IntN(400)) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(f.t.Context(), wait)
	defer cancel()
	if end, err := run.Wait(ctx); err == nil {
		r.tell(end)
		return
	}
	f.mu.Lock()
	f.cancelled++
	f.mu.Unlock()
	if rng.IntN(2) == 0 {
		f.patient("cancel a reply elsewhere", func(ctx context.Context) error {
			return f.other.sessions().Cancel(ctx, r.session, r.reply, once())
		})
		return
	}
	f.patient("cancel a reply", func(ctx context.Context) error {
		end, err := f.makes.hub.Cancel(ctx, run, olga)
		if err == nil {
			r.tell(end)
		}
		if errors.Is(err, context.DeadlineExceeded) {
			return eventlog.ErrUnavailable
		}
		return err
	})
}

// ask asks the other process who makes the reply, until it has ended: where that says nobody, the log must have the end.
// And it must not close what is made.
func (f *replyTorture) ask(r *toldReply, run *Run) {
	f.patient("ask for a reply", func(ctx context.Context) error { // a store may show its start a moment later
		for {
			if began, _, err := f.inLog(ctx, f.other, r); began || err != nil {
				return err
			}
		}
	})
	for ended := false; !ended; {
		running := true
		if !f.patient("ask for a reply", func(ctx context.Context) (err error) {
			if _, running, err = f.other.sessions().MadeBy(ctx, by(olga).By, r.session, r.reply); err == nil {
				_, err = f.other.sessions().Recover(ctx, acme, r.session, r.reply)
			}
			return err
		}) {
			return
		}
		if !running && !f.patient("read a reply", func(ctx context.Context) error {
			_, ends, err := f.inLog(ctx, f.other, r)
			if err == nil && len(ends) == 0 {
				f.t.Errorf("%s is told to have ended, and the log has no end", r.reply)
			}
			return err
		}) {
			return
		}
		var end Ending
		if end, ended = run.Ended(); ended {
			r.tell(end)
			return
		}
		select {
		case <-f.soon(300 * time.Millisecond):
		case <-f.t.Context().Done():
			return
		}
	}
}

// inLog is what a process reads in the log of a reply: whether it has begun, and its ends.
func (f *replyTorture) inLog(ctx context.Context, by *rig, r *toldReply) (began bool, ends []Ending, err error) {
	for rec, err := range by.Log.Read(ctx, r.stream(), 0, eventlog.Forwards) {
		if err != nil {
			return false, nil, err
		}
		switch e := rec.Event.(type) {
		case session.ReplyStarted:
			began = began || e.Reply == r.reply
		case completion.Started:
			began = true
		}
		if end, ours := ending(rec.Event, r.reply); ours {
			end.Position = rec.Position
			ends = append(ends, end)
		}
	}
	return began, ends, nil
}

// over makes replies while trouble lasts, and holds what all were told against the log.
func (f *replyTorture) over(trouble func(*rand.Rand) storetest.Faults) {
	f.t.Helper()
	began := time.Now()
	ctx, cancel := context.WithCancel(f.t.Context())
	defer cancel()
	var making, living sync.WaitGroup
	living.Go(func() { f.live(ctx) })
	for n := range 8 {
		making.Go(func() { f.make(rand.New(rand.NewPCG(f.seed, uint64(n)))) })
	}
	faults := trouble(rand.New(rand.NewPCG(f.seed, 100)))
	close(f.stop)
	making.Wait()
	<-f.makes.hub.quiet()
	cancel()
	living.Wait()
	f.judge(faults, time.Since(began))
}
