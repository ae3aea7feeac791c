package esnode

import (
	"math"
	"slices"
	"testing"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc/codes"

	"prelude/test/conformance/wire"
)

// at asks for events from a position that has two parts.
func at(commit, prepare uint64) *api.ReadReq_Options {
	o := wire.Options()
	o.GetAll().AllOption = &api.ReadReq_Options_AllOptions_Position{
		Position: &api.ReadReq_Options_Position{CommitPosition: commit, PreparePosition: prepare},
	}
	return o
}

// A position within an event, beyond the end or at it is none that a read refuses.
func TestPosition_of_a_read(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	one := uint64(r.Must("s", noStream, "a").Pos)
	two := uint64(r.Must("s", 0, "b").Pos)
	const end = math.MaxUint64
	for name, rule := range map[string]struct {
		o    *api.ReadReq_Options
		want []int64
	}{
		"within the first":            {at(one+1, one+1), []int64{int64(two)}},
		"within the last":             {at(two+1, two+1), nil},
		"beyond the end":              {at(two+1000, two+1000), nil},
		"the largest":                 {at(math.MaxInt64, math.MaxInt64), nil},
		"the end":                     {at(end, end), nil},
		"back from within the last":   {wire.Backwards(at(two+1, two+1)), []int64{int64(two), int64(one)}},
		"back from within the first":  {wire.Backwards(at(one+1, one+1)), []int64{int64(one)}},
		"back from beyond the end":    {wire.Backwards(at(two+1000, two+1000)), []int64{int64(two), int64(one)}},
		"back from the end":           {wire.Backwards(at(end, end)), []int64{int64(two), int64(one)}},
		"back from the end, filtered": {filteredBy(wire.Backwards(at(end, end)), "s", 32), []int64{int64(two), int64(one)}},
		"from the end, filtered":      {filteredBy(at(end, end), "s", 32), nil},
	} {
		got, err := r.Read(rule.o)
		if positions := wire.PositionsOf(got); err != nil || !slices.Equal(positions, rule.want) {
			t.Errorf("%s: got %v, want %v, %v", name, positions, rule.want, err)
		}
	}
}

// What can be no position ends a read with UNKNOWN, and a subscription after it was confirmed.
func TestPosition_that_is_none(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Must("s", noStream, "a")
	for name, o := range map[string]func() *api.ReadReq_Options{
		"commit before prepare":   func() *api.ReadReq_Options { return at(1, 2) },
		"commit alone is the end": func() *api.ReadReq_Options { return at(math.MaxUint64, 1) },
		"prepare alone is":        func() *api.ReadReq_Options { return at(1, math.MaxUint64) },
		"beyond 2^63":             func() *api.ReadReq_Options { return at(1<<63, 1<<63) },
	} {
		if _, err := r.Read(o()); wire.Code(err) != codes.Unknown {
			t.Errorf("%s: a read ends with %v", name, err)
		}
		sub := r.Subscribe(o()) // which waits for the confirmation
		if _, err := sub.Call.Recv(); wire.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: a subscription ends with %v", name, err)
		}
	}
}

// A subscription from within an event or from beyond the end is taken, and shows what comes after.
func TestPosition_of_a_subscription(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	one := uint64(r.Must("s", noStream, "a").Pos)
	within, beyond := r.Subscribe(at(one+1, one+1)), r.Subscribe(at(one+200, one+200))
	within.Expect("caught up")
	beyond.Expect("caught up")
	second := r.Must("s", 0, "b").Pos
	within.Expect(`{"id":"b"}`)
	if second > int64(one+200) {
		t.Fatal("an event is larger than the test thought")
	}
	for rev := int64(1); ; rev++ {
		a := r.Must("s", rev, "later")
		if a.Pos <= int64(one+200) {
			continue
		}
		m, err := beyond.Call.Recv()
		if err != nil || m.GetEvent().GetCommitPosition() != uint64(a.Pos) {
			t.Errorf("from beyond comes %v, %v", m, err)
		}
		return
	}
}

// The end of a stream, as a word or as -1 in a number without a sign, is no place to read forwards from; a
// subscription is live from there.
func TestPosition_in_a_stream(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Must("s", noStream, "a", "b")
	for name, o := range map[string]func() *api.ReadReq_Options{
		"the end": func() *api.ReadReq_Options { return wire.AtEnd(wire.OfStream("s")) },
		"-1":      func() *api.ReadReq_Options { return wire.AtRevision(wire.OfStream("s"), math.MaxUint64) },
	} {
		if _, err := r.Read(o()); wire.Code(err) != codes.Unknown {
			t.Errorf("%s: a read forwards ends with %v", name, err)
		}
		got, err := r.Read(wire.Backwards(o()))
		if revs := wire.RevisionsOf(got); err != nil || !slices.Equal(revs, []int64{1, 0}) {
			t.Errorf("%s: backwards come %v, %v", name, revs, err)
		}
	}
	sub := r.Subscribe(wire.AtRevision(wire.OfStream("s"), math.MaxUint64))
	sub.Expect("caught up")
	r.Must("s", 1, "c")
	sub.Expect(`{"id":"c"}`)
}
