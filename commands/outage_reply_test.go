package commands

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"prelude/domain"
	"prelude/domain/completion"
	"prelude/domain/session"
	"prelude/internal/eventlog"
)

// How a reply is ended.
const (
	byItself  = "completed"
	byFailure = "failed"
	byCancel  = "cancelled"
	byKill    = "killed"
)

// When a reply is ended, beside an outage.
const (
	before  = "before the outage"
	unheard = "as the outage begins: its end is taken, and the answer is lost"
	while   = "while the outage lasts"
	after   = "after the outage"
)

// outageCase is one line of the matrix.
type outageCase struct {
	when, how  string
	completion bool
	lasts      time.Duration
}

func (c outageCase) String() string {
	of := "a turn"
	if c.completion {
		of = "a completion"
	}
	return fmt.Sprintf("%s %s %s, which lasts %v", of, c.how, c.when, c.lasts)
}

func outageCases() (all []outageCase) {
	for _, lasts := range []time.Duration{time.Second, 29 * time.Second, 31 * time.Second, 120 * time.Second} {
		for _, when := range []string{before, unheard, while, after} {
			for _, how := range []string{byItself, byFailure, byCancel, byKill} {
				for _, completion := range []bool{false, true} {
					all = append(all, outageCase{when, how, completion, lasts})
				}
			}
		}
	}
	return all
}

// following is a reply that is made over an outage, and everything that anybody was told of it.
type following struct {
	*rig
	c       outageCase
	store   *scripted
	session domain.SessionID
	reply   domain.ReplyID
	run     *Run
	ended   chan struct{} // closed to end the model's answer
	gone    *severed      // the process's way to the store, which is cut when it is killed
	next    *rig          // the next start of the process
	mu      sync.Mutex
	told    map[string]int
}

// severed is a store as a process sees it that may be killed.
type severed struct {
	eventlog.Store
	dead chan struct{}
}

func (s *severed) Append(ctx context.Context, stream string, expected eventlog.Revision, events []eventlog.Proposed,
) (eventlog.Appended, error) {
	select {
	case <-s.dead:
		return eventlog.Appended{}, errKilled
	default:
		return s.Store.Append(ctx, stream, expected, events)
	}
}

// speaks is a model that says a word, and another when it is ended, or fails then.
func (f *following) speaks(ctx context.Context, _ ModelRequest) iter.Seq2[Chunk, error] {
	return func(yield func(Chunk, error) bool) {
		if !yield(Chunk{Text: "Well"}, nil) {
			return
		}
		select {
		case <-f.ended:
		case <-ctx.Done():
			yield(Chunk{}, context.Cause(ctx))
			return
		}
		if f.c.how == byFailure {
			yield(Chunk{}, &UpstreamError{Code: "upstream_cut", Detail: "It was cut."})
			return
		}
		yield(Chunk{Text: ".", Finish: "stop"}, nil)
	}
}

// tell notes what somebody was told.
func (f *following) tell(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told[what]++
}

func told(e Ending) string {
	return fmt.Sprintf("%s %s %d bytes at %d", e.Status, e.Code, e.Length, e.Position)
}

// hear notes what one who follows the reply to its end is told.
func (f *following) hear() {
	text, _, end, err := follow(context.Background(), f.run, 0, 0)
	if err != nil {
		f.tell(err.Error())
		return
	}
	f.tell(told(end))
	if end.Status == "completed" && string(text) != "Well." {
		f.t.Errorf("%v: who follows it read %q", f.c, text)
	}
}

// ask notes what another process says of the reply, from the log, and lets it close what nobody makes any more, as the
// sweep of another instance does.
func (f *following) ask(h Sessions) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, running, err := h.MadeBy(ctx, by(olga).By, f.session, f.reply)
	switch {
	case errors.Is(err, eventlog.ErrUnavailable):
		f.tell("unavailable")
	case err != nil:
		f.t.Errorf("%v: %v", f.c, err)
	case running:
		f.tell("running")
	default:
		f.tell("ended")
	}
	// The first to close it after the outage may meet others, in the last moment of its time.
	if _, err := h.Recover(ctx, acme, f.session, f.reply); err != nil && !errors.Is(err, eventlog.ErrUnavailable) &&
		!errors.Is(err, ErrMoved) {
		f.t.Errorf("%v: %v", f.c, err)
	}
	if end, ended := f.run.Ended(); ended {
		f.tell(told(end))
	}
}

// stream is the reply's.
func (f *following) stream() eventlog.Stream {
	if f.c.completion {
		return eventlog.CompletionStream(acme, f.reply)
	}
	return eventlog.SessionStream(acme, f.session)
}

// endsInLog are the ends of the reply that the log has.
func (f *following) endsInLog() (all []Ending) {
	for _, rec := range f.records(f.stream()) {
		switch e := rec.Event.(type) {
		case session.ReplyCompleted, session.ReplyFailed, session.ReplyCancelled, completion.Ended:
			end, _ := ending(e, f.reply)
			end.Position = rec.Position
			all = append(all, end)
		}
	}
	return all
}

// end ends the reply, in the way of the case.
func (f *following) end(busy *sync.WaitGroup) {
	switch f.c.how {
	case byKill:
		close(f.gone.dead)
		f.hub.giveUp(ErrUnrecorded)
		f.run.cancel(errShutdown)
	case byCancel:
		busy.Go(func() {
			err := f.sessions().Cancel(context.Background(), f.session, f.reply, once())
			if err != nil && !errors.Is(err, eventlog.ErrUnavailable) {
				f.t.Errorf("%v: who cancels is told %v", f.c, err)
			}
		})
	default:
		close(f.ended)
	}
}

// begins begins the reply and waits for its first word.
func (f *following) begins() {
	f.Models = script{f.speaks}
	var err error
	if f.reply, _, err = f.begin(f.session, once()); err != nil {
		f.t.Fatal(err)
	}
	f.run = f.hub.Find(f.reply)
	if _, err := f.run.Next(context.Background(), 0, 0); err != nil {
		f.t.Fatal(err)
	}
}

// over lets the outage come and go, and the reply end, as the case says. Every second somebody asks.
func (f *following) over(other Sessions) {
	var busy sync.WaitGroup
	busy.Go(f.hear)
	seconds := func(d time.Duration) {
		for range int(d / time.Second) {
			<-time.After(time.Second)
			busy.Go(func() { f.ask(other) })
		}
	}
	if f.c.when == before {
		f.end(&busy)
		seconds(2 * time.Second)
	}
	f.store.leave(f.c.when == unheard)
	if f.c.when == unheard {
		f.end(&busy)
	}
	half := f.c.lasts / 2
	<-time.After(half)
	if f.c.when == while {
		f.end(&busy)
	}
	seconds(f.c.lasts - half)
	<-time.After((f.c.lasts - half) % time.Second)
	f.store.comeBack()
	if f.c.when == after {
		seconds(2 * time.Second)
		f.end(&busy)
	}
	seconds(3 * time.Second)
	if f.c.how == byKill { // the next start of the instance
		f.ask(f.next.sessions())
	}
	seconds(2 * time.Second)
	busy.Wait()
}

// Whatever becomes of a reply over an outage of the store, and however long that is, the log has one end of it, and
// whoever asked was told that one, or that it is running, or that it is not known now.
func TestReply_over_an_outage_of_the_store_has_the_end_that_all_are_told(t *testing.T) {
	t.Parallel()
	ends := map[string]int{}
	for _, c := range outageCases() {
		synctest.Test(t, func(t *testing.T) {
			f := &following{c: c, told: map[string]int{}, ended: make(chan struct{})}
			r, store := newScriptedRig(t)
			f.gone = &severed{store, make(chan struct{})}
			f.rig, f.next, f.store = r.over(&eventlog.Log{Store: f.gone, Keys: r.keys}), r.again(), store
			if !c.completion {
				f.session = f.rig.session(olga)
			}
			f.begins()
			other := r.other().sessions()
			f.over(other)
			all := f.endsInLog()
			if len(all) != 1 {
				t.Fatalf("%v: the log has the ends %+v", c, all)
			}
			end := told(all[0])
			ends[all[0].Status+" "+all[0].Code]++
			allowed := []string{end, "ended", "running", "unavailable"}
			if c.how == byKill { // whoever follows a process that was killed is cut off with it
				allowed = append(allowed, ErrUnrecorded.Error())
			}
			for what, times := range f.told {
				if !slices.Contains(allowed, what) {
					t.Errorf("%v: the log has %q, and %d times it was told %q", c, end, times, what)
				}
			}
			if c.how != byKill && f.told[end] == 0 {
				t.Errorf("%v: nobody was told %q, but %v", c, end, f.told)
			}
		})
	}
	t.Logf("%d cases; the ends in the log: %v", len(outageCases()), ends)
}

// newLoggingRig is a rig whose hub's lines are kept.
func newLoggingRig(t *testing.T) (*rig, *scripted, *lines) {
	t.Helper()
	r, store := newScriptedRig(t)
	kept := &lines{}
	r.hub.Logger = slog.New(kept)
	return r, store, kept
}
