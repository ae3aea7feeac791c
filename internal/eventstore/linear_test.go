package eventstore_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/google/uuid"

	"prelude/internal/eventlog"
	"prelude/internal/eventstore/storetest"
)

// asked is an operation on one stream: an append of one event at an expected revision, or a read.
type asked struct {
	stream   int
	read     bool
	expected eventlog.Revision
	id       uuid.UUID
}

// answered is what came of it.
type answered struct {
	unknown bool // it may have been done, or be done yet
	moved   bool
	chain   uint64 // of a read: all ids in their order
	length  int64
}

// line is a stream as it should be: its last event, and those before.
type line struct {
	id     uuid.UUID
	length int64
	chain  uint64
	before *line
}

func (l *line) with(id uuid.UUID) *line {
	n := &line{id: id, before: l, length: 1}
	if l != nil {
		n.length, n.chain = l.length+1, l.chain
	}
	n.chain = chained(n.chain, id)
	return n
}

func chained(sum uint64, id uuid.UUID) uint64 {
	for _, b := range id {
		sum = (sum ^ uint64(b)) * 1099511628211
	}
	return sum
}

// at gives the event at a revision.
func (l *line) at(r eventlog.Revision) *line {
	for l != nil && l.length-1 > int64(r) {
		l = l.before
	}
	return l
}

func (l *line) size() int64 {
	if l == nil {
		return 0
	}
	return l.length
}

// oneStream says what an append-only stream with exact expected revisions may answer: a repeat of
// what is there is a success.
var oneStream = porcupine.Model{
	Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
		by := map[int][]porcupine.Operation{}
		for _, o := range all {
			by[o.Input.(asked).stream] = append(by[o.Input.(asked).stream], o)
		}
		var parts [][]porcupine.Operation
		for _, part := range by {
			parts = append(parts, part)
		}
		return parts
	},
	Init:  func() any { return (*line)(nil) },
	Equal: func(a, b any) bool { return a.(*line).same(b.(*line)) },
	Step: func(state, input, output any) (bool, any) {
		l, in, out := state.(*line), input.(asked), output.(answered)
		if in.read {
			return out.unknown || out.length == l.size() && out.chain == l.sum(), l
		}
		next, done := l, false
		switch {
		case int64(in.expected) == l.size()-1:
			next, done = l.with(in.id), true
		case int64(in.expected) < l.size()-1:
			done = l.at(in.expected+1).id == in.id
		}
		return out.unknown || done != out.moved, next
	},
}

func (l *line) sum() uint64 {
	if l == nil {
		return 0
	}
	return l.chain
}

func (l *line) same(o *line) bool { return l.size() == o.size() && l.sum() == o.sum() }

// Eight writers and readers race on each stream while the way to the node is cut, silenced and slowed
// down, and the node killed; what they were answered must be what one stream could have answered one by one.
func TestAppend_is_linearizable(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	const writers = 8
	streams, each := storetest.Scale(2, 250), 50 // operations = streams × writers × each
	r := newMortalRig(t)
	stop, ended := make(chan struct{}), make(chan storetest.Faults)
	go func() {
		ended <- storetest.Trouble(r.proxy, rand.New(rand.NewPCG(seed, 0)), r.process.Restart, stop)
	}()
	h := &history{began: time.Now()}
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(w)+1))
			for s := range streams {
				for range each {
					h.one(t, r, w, s, rng)
				}
			}
		})
	}
	all.Wait()
	close(stop)
	faults := <-ended
	asked := len(h.operations)
	h.settle(r, streams)
	began := time.Now()
	res := porcupine.CheckOperationsTimeout(oneStream, h.operations, storetest.Scale(time.Minute, 10*time.Minute))
	t.Logf("%d operations by %d writers: %d moved, %d unknown, linearizable: %s (in %v); %s", asked, writers,
		h.moved.Load(), h.unknown.Load(), res, time.Since(began).Round(time.Millisecond), faults)
	if res != porcupine.Ok {
		t.Errorf("the history is %s", res)
	}
}

// history is what was asked and answered.
type history struct {
	began          time.Time
	mu             sync.Mutex
	operations     []porcupine.Operation
	known          sync.Map // by stream: the revision it was last known to have
	moved, unknown atomic.Int64
}

// one does one operation: mostly an append at the revision that the stream is believed to have.
func (h *history) one(t *testing.T, r *rig, writer, stream int, rng *rand.Rand) {
	in := asked{stream: stream, read: rng.IntN(5) == 0, expected: eventlog.None, id: uuid.New()}
	if at, ok := h.known.Load(stream); ok {
		in.expected = at.(eventlog.Revision)
	}
	ctx := within(t, time.Duration(20+rng.IntN(2000))*time.Millisecond)
	called := time.Since(h.began).Nanoseconds()
	var out answered
	if in.read {
		out = h.read(ctx, r, in, func(uuid.UUID) {})
	} else {
		out = h.append(ctx, t, r, in)
	}
	returned := time.Since(h.began).Nanoseconds()
	if out.unknown {
		h.unknown.Add(1)
		returned = math.MaxInt64 // it may be done at any later time
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations = append(h.operations, porcupine.Operation{
		ClientId: writer, Input: in, Output: out, Call: called, Return: returned,
	})
}

func name(stream int) string { return fmt.Sprint("line-", stream) }

// settle reads each stream once more, after all else, and leaves out what is not known and has changed
// nothing by then: reads, and appends of events that are not there. Wherever they are put they fit, so
// they say nothing, and the check would try them in every place.
func (h *history) settle(r *rig, streams int) {
	r.t.Helper()
	there := map[uuid.UUID]bool{}
	for s := range streams {
		in := asked{stream: s, read: true}
		called := time.Since(h.began).Nanoseconds()
		out := h.read(r.ctx(), r, in, func(id uuid.UUID) { there[id] = true })
		if out.unknown {
			r.t.Fatalf("%s cannot be read after the troubles", name(s))
		}
		h.operations = append(h.operations, porcupine.Operation{
			Input: in, Output: out, Call: called, Return: time.Since(h.began).Nanoseconds(),
		})
	}
	h.operations = slices.DeleteFunc(h.operations, func(o porcupine.Operation) bool {
		return o.Output.(answered).unknown && !there[o.Input.(asked).id]
	})
}

func (h *history) read(ctx context.Context, r *rig, in asked, each func(uuid.UUID)) (out answered) {
	for e, err := range r.store.Read(ctx, name(in.stream), 0, eventlog.Forwards, 0) {
		if err != nil {
			return answered{unknown: true}
		}
		out.length, out.chain = out.length+1, chained(out.chain, e.ID)
		each(e.ID)
	}
	h.known.Store(in.stream, eventlog.Revision(out.length-1))
	return out
}

func (h *history) append(ctx context.Context, t *testing.T, r *rig, in asked) answered {
	e := event("line.v1", "{}")
	e.ID = in.id
	done, err := r.store.Append(ctx, name(in.stream), in.expected, []eventlog.Proposed{e})
	switch {
	case errors.Is(err, eventlog.ErrMoved):
		h.moved.Add(1)
		h.known.Store(in.stream, in.expected+1)
		return answered{moved: true}
	case errors.Is(err, eventlog.ErrUnavailable):
		return answered{unknown: true}
	case err != nil:
		t.Error(err)
	}
	h.known.Store(in.stream, done.Revision)
	return answered{}
}

// What the check is worth: histories that no stream could have answered are found.
func TestOneStream_finds(t *testing.T) {
	t.Parallel()
	a, b := uuid.New(), uuid.New()
	add := func(at eventlog.Revision, id uuid.UUID, out answered) porcupine.Operation {
		return porcupine.Operation{Input: asked{expected: at, id: id}, Output: out}
	}
	look := func(ids ...uuid.UUID) porcupine.Operation {
		var out answered
		for _, id := range ids {
			out.length, out.chain = out.length+1, chained(out.chain, id)
		}
		return porcupine.Operation{Input: asked{read: true}, Output: out}
	}
	for what, c := range map[string]struct {
		ops  []porcupine.Operation
		want bool
	}{
		"nothing wrong":            {[]porcupine.Operation{add(-1, a, answered{}), look(a), add(0, b, answered{})}, true},
		"a repeat":                 {[]porcupine.Operation{add(-1, a, answered{}), add(-1, a, answered{}), look(a)}, true},
		"one lost":                 {[]porcupine.Operation{add(-1, a, answered{}), look()}, false},
		"one stored twice":         {[]porcupine.Operation{add(-1, a, answered{}), look(a, a)}, false},
		"one refused, and stored":  {[]porcupine.Operation{add(-1, a, answered{moved: true}), look(a)}, false},
		"two at one revision":      {[]porcupine.Operation{add(-1, a, answered{}), add(-1, b, answered{})}, false},
		"one that may be done":     {[]porcupine.Operation{add(-1, a, answered{unknown: true}), look(a)}, true},
		"one refused for no cause": {[]porcupine.Operation{add(-1, a, answered{moved: true})}, false},
	} {
		for i := range c.ops { // one after the other
			c.ops[i].Call, c.ops[i].Return = int64(2*i), int64(2*i+1)
		}
		if got := porcupine.CheckOperations(oneStream, c.ops); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}
