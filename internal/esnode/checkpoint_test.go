package esnode

import (
	"fmt"
	"math"
	"testing"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"

	"prelude/test/conformance/wire"
)

// filteredBy asks for the streams that begin with a prefix, with a checkpoint each interval events.
func filteredBy(o *api.ReadReq_Options, prefix string, interval uint32) *api.ReadReq_Options {
	return wire.Filtered(o, wire.Filter{Prefixes: []string{prefix}, Window: interval, Multiplier: 1})
}

const never = 1 << 20 // events between checkpoints

// The checkpoint before caught-up says where the reader was, not where the log ends.
func TestCheckpoint_before_caught_up(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := r.Must("mine-1", noStream, "a").Pos
	second := r.Must("mine-1", 0, "b").Pos
	end := r.Must("other-1", noStream, "c").Pos
	const beforeAll uint64 = math.MaxUint64
	for name, rule := range map[string]struct {
		o    *api.ReadReq_Options
		want []string
	}{
		"nothing matched, from the start": {
			filteredBy(wire.Options(), "never-", never),
			[]string{fmt.Sprint("checkpoint ", beforeAll), "caught up"},
		},
		"nothing matched, from a position": {
			filteredBy(wire.From(second), "mine-", never),
			[]string{fmt.Sprint("checkpoint ", second), "caught up"},
		},
		"from the log's first position": {
			filteredBy(wire.From(0), "never-", never), []string{"checkpoint 0", "caught up"},
		},
		"the last that matched": {
			filteredBy(wire.From(first), "mine-", never),
			[]string{`{"id":"b"}`, fmt.Sprint("checkpoint ", second), "caught up"},
		},
		"the last of its interval": {
			filteredBy(wire.From(second), "never-", 1),
			[]string{fmt.Sprint("checkpoint ", end), fmt.Sprint("checkpoint ", end), "caught up"},
		},
		"beyond the end":  {filteredBy(wire.From(end+1000), "mine-", never), []string{fmt.Sprint("checkpoint ", end+1000), "caught up"}},
		"from the end":    {filteredBy(wire.FromEnd(), "mine-", never), []string{"caught up"}},
		"from -1 twice":   {filteredBy(wire.From(-1), "mine-", never), []string{"caught up"}},
		"without filters": {wire.From(second), []string{`{"id":"c"}`, "caught up"}},
	} {
		t.Run(name, func(t *testing.T) { r.For(t).Subscribe(rule.o).Expect(rule.want...) })
	}
}

func TestCheckpoint_names_both_positions_before_the_first_event(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	sub := r.Subscribe(filteredBy(wire.Options(), "never-", never))
	m, err := sub.Call.Recv()
	c := m.GetCheckpoint()
	if err != nil || c.GetCommitPosition() != math.MaxUint64 || c.GetPreparePosition() != math.MaxUint64 {
		t.Errorf("got %v, %v", m, err)
	}
}

// While it catches up, checkpoints are at each interval of what was considered, whoever wrote it.
func TestCheckpoint_at_its_interval(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var at []int64
	for i := range 13 {
		at = append(at, r.Must(fmt.Sprint("s", i%3), int64(i/3)-1, fmt.Sprint(i)).Pos)
	}
	sub := r.Subscribe(wire.Filtered(wire.Options(), wire.Filter{
		Prefixes: []string{"never-"}, Window: 3, Multiplier: 2,
	}))
	for _, i := range []int{5, 11, 11} {
		sub.Expect(fmt.Sprint("checkpoint ", at[i]))
	}
	sub.Expect("caught up")
	var last int64
	for i := range 5 { // with the one that is over, an interval
		last = r.Must("live", int64(i)-1, fmt.Sprint("live", i)).Pos
	}
	sub.Expect(fmt.Sprint("checkpoint ", last))
}

// While it is live, nothing is told of events that do not match until an interval of them was considered,
// however many are appended at once.
func TestCheckpoint_not_after_each_append(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	sub := r.Subscribe(filteredBy(wire.FromEnd(), "mine-", 1000))
	sub.Expect("caught up")
	rev, many := int64(-1), make([]string, 300)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	for i := range 20 {
		r.Must("other", rev, fmt.Sprint("single", i))
		rev++
	}
	r.Must("other", rev, many...)
	r.Must("mine-1", noStream, "a")
	word := sub.Next()
	for word == "caught up" { // again, where it fell behind
		word = sub.Next()
	}
	if word != `{"id":"a"}` {
		t.Errorf("got %s", word)
	}
}

// Stores up to 24.x do not say in their notices when they were sent, nor where.
func TestNotices(t *testing.T) {
	t.Parallel()
	for version, says := range map[int]bool{0: true, 24: false, 25: true} {
		r := newRigWith(t, Config{Notices: version})
		r.Must("s", noStream, "a")
		for name, o := range map[string]*api.ReadReq_Options{
			"all": filteredBy(wire.Options(), "never-", 1), "stream": wire.OfStream("s"),
		} {
			sub, seen := r.Subscribe(o), 0
			for over := false; !over; {
				m, err := sub.Call.Recv()
				if err != nil {
					t.Fatal(err)
				}
				fields := m.GetCheckpoint().ProtoReflect().GetUnknown()
				if over = m.GetCaughtUp() != nil; over {
					fields = m.GetCaughtUp().ProtoReflect().GetUnknown()
				}
				if m.GetEvent() != nil {
					continue
				}
				if seen++; (len(fields) > 0) != says {
					t.Errorf("%d, %s: %v", version, name, m)
				}
			}
			if seen == 0 {
				t.Errorf("%d, %s: no notice came", version, name)
			}
		}
	}
}
