package esnode

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"prelude/test/conformance/wire"
)

// moody is a rig whose node has moods of a seed that is printed.
func moody(t *testing.T, m *Moods) *rig {
	t.Helper()
	m.Seed = seed(t).Uint64()
	return newRigWith(t, Config{Moods: m})
}

// A refusal is answered before what it rests on can be read; what was acknowledged can be read at once.
func TestMoods_a_refusal_overtakes_what_it_rests_on(t *testing.T) {
	t.Parallel()
	r := moody(t, &Moods{Lag: 50 * time.Millisecond})
	const rounds = 30
	var mu sync.Mutex
	stale := 0
	for i := range rounds {
		s := fmt.Sprint("s", i)
		r.Must(s, noStream, s)
		if got := r.Revisions(s); !slices.Equal(got, []int64{0}) {
			t.Fatalf("an own write cannot be read: %v", got)
		}
		var both sync.WaitGroup
		for w := range 2 {
			both.Go(func() {
				a := r.Append(s, 0, fmt.Sprint(s, "-", w))
				got := r.Revisions(s)
				switch {
				case a.Err != nil:
					t.Error(a.Err)
				case a.Wrong == nil && len(got) != 2:
					t.Errorf("an own write cannot be read: %v", got)
				case a.Wrong != nil && a.Wrong.GetCurrentRevision() != 1:
					t.Errorf("refused because of %v", a.Wrong)
				case a.Wrong != nil && len(got) == 1:
					mu.Lock()
					stale++
					mu.Unlock()
				}
			})
		}
		both.Wait()
	}
	t.Logf("%d of %d refusals came before what they rest on", stale, rounds)
	if stale == 0 || stale == rounds {
		t.Error("they should at times, and not always")
	}
}

// What nobody can read yet is not seen by another way: a stream is not found, and not empty, until then.
func TestMoods_what_lags_is_whole(t *testing.T) {
	t.Parallel()
	r := moody(t, &Moods{Lag: 20 * time.Millisecond})
	for i := range 20 {
		s, over := fmt.Sprint("s", i), make(chan struct{})
		go func() {
			defer close(over)
			if a := r.Append(s, noStream, s+"a", s+"b"); a.Err != nil || a.Wrong != nil {
				t.Error(a.Err, a.Wrong)
			}
		}()
		for done := false; !done; {
			select {
			case <-over:
				done = true
			default:
			}
			r.node.book.mu.Lock()
			r.node.book.states = newCache[string, state](9) // so that all is looked up again
			r.node.book.mu.Unlock()
			got, err := r.Read(wire.OfStream(s))
			revs := wire.RevisionsOf(got)
			if err != nil || !slices.Equal(revs, []int64{-1}) && !slices.Equal(revs, []int64{0, 1}) {
				t.Fatalf("the stream shows %v, %v", revs, err)
			}
			if done && len(revs) != 2 {
				t.Errorf("after its acknowledgement the stream shows %v", revs)
			}
		}
	}
}

// A repeat of what is in flight is answered after a while that it timed out, and the next as a repeat.
func TestMoods_a_repeat_in_flight_is_dropped(t *testing.T) {
	t.Parallel()
	r := moody(t, &Moods{Lag: 20 * time.Millisecond, CommitTimeout: 30 * time.Millisecond})
	for _, expected := range []int64{noStream, anyRevision} {
		dropped := 0
		for i := 0; i < 100 && dropped == 0; i++ {
			s := fmt.Sprint("s", expected, i)
			answers := make([]wire.Answer, 2)
			var both sync.WaitGroup
			for w := range answers {
				both.Go(func() { answers[w] = r.Append(s, expected, s) })
			}
			both.Wait()
			again := r.Must(s, expected, s)
			for _, a := range answers {
				switch {
				case wire.Code(a.Err) == codes.Aborted && strings.Contains(a.Err.Error(), "Commit phase timeout"):
					dropped++
				case a.Err != nil || a.Wrong != nil || a.Pos != again.Pos:
					t.Errorf("answered %v, %v at %d", a.Err, a.Wrong, a.Pos)
				}
			}
			if dropped > 1 {
				t.Error("the first was dropped too")
			}
			if got := r.Revisions(s); !slices.Equal(got, []int64{0}) {
				t.Errorf("the stream shows %v", got)
			}
		}
		if dropped == 0 {
			t.Errorf("expected %d: no repeat came while the first was in flight", expected)
		}
	}
	b := r.Batch(wire.Within(t))
	release := r.held()
	b.Send(wire.Text(uuid.New()), wire.BatchOptions("held", noStream), true, "held")
	for range 2 {
		b.Send(wire.Text(uuid.New()), wire.BatchOptions("s", noStream), true, "a")
	}
	b.Send(wire.Text(uuid.New()), wire.BatchOptions("", noStream), true)
	b.Next() // a mistake needs no writer: those before it were handed in
	release()
	answered(t, b, 2)
	got := b.Next()
	timedOutIn(t, got)
	if !strings.Contains(got.GetError().GetMessage(), "Commit phase timeout") {
		t.Errorf("it says %q", got.GetError().GetMessage())
	}
}

// A read takes a long stream page by page and looks at it anew for each: what happens meanwhile ends it as
// nothing else does.
func TestMoods_a_long_read_sees_what_happens_meanwhile(t *testing.T) {
	t.Parallel()
	const page, events = 128, 384
	for name, rule := range map[string]struct {
		moods *Moods
		do    func(r *rig, s string)
		want  []int64 // the first revision and those after a gap; -1: not found
		code  codes.Code
	}{
		"deleted":                            {&Moods{Page: page}, deletes, []int64{0, page, -1}, codes.OK},
		"buried":                             {&Moods{Page: page}, buries, []int64{0, page}, codes.FailedPrecondition},
		"truncated":                          {&Moods{Page: page}, truncates, []int64{0, page, 300, events}, codes.OK},
		"extended":                           {&Moods{Page: page}, extends, []int64{0, events + 1}, codes.OK},
		"a snapshot of one that is deleted":  {nil, deletes, []int64{0, events}, codes.OK},
		"a snapshot of one that is extended": {nil, extends, []int64{0, events}, codes.OK},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRigWith(t, Config{Moods: rule.moods})
			r.large("s", events)
			call, err := r.Streams.Read(wire.Within(t), &api.ReadReq{Options: wire.Count(wire.OfStream("s"), 1<<40)})
			if err != nil {
				t.Fatal(err)
			}
			got, next := []int64{}, int64(0)
			for {
				m, err := call.Recv()
				if err != nil {
					if code := wire.Code(err); !errors.Is(err, io.EOF) && code != rule.code || errors.Is(err, io.EOF) != (rule.code == codes.OK) {
						t.Errorf("it ends with %v", err)
					}
					break
				}
				rev := int64(m.GetEvent().GetEvent().GetStreamRevision())
				switch {
				case m.GetStreamNotFound() != nil:
					got, next = append(got, next, -1), -1
					continue
				case len(got) == 0:
					rule.do(r.on(t), "s") // the rest of the page fills what the connection holds
					got = append(got, rev)
				case rev != next:
					got = append(got, next, rev)
				}
				next = rev + 1
			}
			if next > 0 {
				got = append(got, next)
			}
			if !slices.Equal(got, rule.want) {
				t.Errorf("it shows %v, want %v", got, rule.want)
			}
		})
	}
}

// on is the rig for a test within another.
func (r *rig) on(t *testing.T) *rig {
	t.Helper()
	other := *r
	other.Client = r.For(t)
	return &other
}

func deletes(r *rig, s string)   { must(r, r.Delete(s, anyRevision)) }
func buries(r *rig, s string)    { must(r, r.Tombstone(s, anyRevision)) }
func truncates(r *rig, s string) { r.SetMeta(s, `{"$tb":300}`) }
func extends(r *rig, s string)   { must(r, r.Append(s, anyRevision, "one more")) }

func must(r *rig, a wire.Answer) {
	r.T.Helper()
	if a.Err != nil || a.Wrong != nil {
		r.T.Fatal(a.Err, a.Wrong)
	}
}

// large makes a stream of events of 16 KiB, of which a connection holds few.
func (r *rig) large(stream string, events int) {
	r.T.Helper()
	for rev := 0; rev < events; {
		var some []*api.AppendReq_ProposedMessage
		for range min(48, events-rev) {
			some = append(some, sized(fmt.Sprint(stream, rev+len(some)), 16<<10))
		}
		must(r, r.Send(stream, int64(rev)-1, some...))
		rev += len(some)
	}
}

// When the node closes, some calls end with a status and the connections of others are cut.
func TestMoods_close_cuts_some_calls(t *testing.T) {
	t.Parallel()
	r := newStoppedRig(t)
	r.cfg.Moods = &Moods{Seed: seed(t).Uint64(), Cut: 50 * time.Millisecond}
	r.start(t)
	var calls []interface {
		Recv() (*api.ReadResp, error)
	}
	for range 40 {
		sub := r.Subscribe(wire.Options())
		sub.Expect("caught up")
		calls = append(calls, sub.Call)
	}
	if err := r.node.Close(); err != nil {
		t.Error(err)
	}
	ended, cut := 0, 0
	for _, call := range calls {
		_, err := call.Recv()
		switch {
		case status.Convert(err).Message() == status.Convert(errStopping).Message():
			ended++
		case err != nil && !errors.Is(err, io.EOF):
			cut++
		default:
			t.Errorf("a call ends with %v", err)
		}
	}
	t.Logf("%d calls were ended, %d cut", ended, cut)
	if ended == 0 || cut == 0 {
		t.Errorf("%d calls were ended, %d cut", ended, cut)
	}
	if err := r.Conn.Close(); err != nil {
		t.Error(err)
	}
}

// Appends that are under way when the node closes are canceled, and may happen all the same.
func TestMoods_close_cancels_appends(t *testing.T) {
	t.Parallel()
	r := newStoppedRig(t)
	r.cfg.Moods = &Moods{Seed: seed(t).Uint64(), Cut: 50 * time.Millisecond}
	r.start(t)
	writing, release := make(chan struct{}), make(chan struct{})
	r.node.writer.now = func() time.Time {
		close(writing)
		<-release
		return time.Now()
	}
	canceled := make(chan error, 1)
	begun, err := r.Streams.Append(wire.Within(t))
	if err != nil {
		t.Fatal(err)
	}
	o := &api.AppendReq_Options{
		StreamIdentifier:       wire.Stream("s"),
		ExpectedStreamRevision: &api.AppendReq_Options_NoStream{NoStream: empty},
	}
	err = errors.Join(begun.Send(&api.AppendReq{Content: &api.AppendReq_Options_{Options: o}}),
		begun.Send(&api.AppendReq{Content: &api.AppendReq_ProposedMessage_{
			ProposedMessage: wire.Message(uuid.New(), "tested", "{}"),
		}}), begun.CloseSend())
	if err != nil {
		t.Fatal(err)
	}
	go func() { canceled <- begun.RecvMsg(&api.AppendResp{}) }()
	<-writing
	closed := make(chan error, 1)
	go func() { closed <- r.node.Close() }()
	err = <-canceled
	if wire.Code(err) != codes.Aborted || !strings.Contains(err.Error(), "Request canceled by server") {
		t.Errorf("it ends with %v", err)
	}
	close(release)
	if err := errors.Join(<-closed, r.Conn.Close()); err != nil {
		t.Error(err)
	}
	r.cfg.Moods = nil
	r.start(t)
	defer r.stop()
	if got := r.Revisions("s"); !slices.Equal(got, []int64{0}) {
		t.Errorf("the stream shows %v", got)
	}
}

// Whatever the moods, all see the same log.
func TestMoods_all_see_the_same(t *testing.T) {
	t.Parallel()
	m := RealMoods(0)
	m.CommitTimeout = 20 * time.Millisecond
	allSeeTheSame(t, moody(t, m))
}

// Without moods nothing of them is there.
func TestMoods_none(t *testing.T) {
	t.Parallel()
	for _, m := range []*Moods{nil, {}} {
		if m.lag() != 0 || m.cuts() || m.page() != 0 || m.patience() != stopGrace {
			t.Errorf("%v is a mood", m)
		}
	}
}
