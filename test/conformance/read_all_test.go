package conformance

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	"prelude/test/conformance/wire"
)

// own gives the positions of one's own events among those of an answer.
func own(got []*api.ReadResp, s string) (all []int64) {
	for _, m := range got {
		e := m.GetEvent()
		if strings.HasPrefix(string(e.GetEvent().GetStreamIdentifier().GetStreamName()), s) {
			all = append(all, int64(e.GetCommitPosition()))
		}
	}
	return all
}

// scattered appends to three streams that begin with s, in turn, and gives the events' positions.
func scattered(c *wire.Client, s string, n int) (at []int64) {
	c.T.Helper()
	for i := range n {
		at = append(at, c.Must(fmt.Sprint(s, i%3), int64(i/3)-1, fmt.Sprint(s, i)).Pos)
	}
	return at
}

func readAllForwards(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	at := scattered(c, s, 9)
	got, err := c.Read(wire.Count(wire.From(at[2]), math.MaxUint64))
	if mine := own(got, s); err != nil || !slices.Equal(mine, at[2:]) {
		t.Errorf("got %v, want %v, %v", mine, at[2:], err)
	}
	if first := wire.PositionsOf(got); len(first) == 0 || first[0] != at[2] {
		t.Errorf("the first is not the event at the position")
	}
	if !slices.IsSorted(wire.PositionsOf(got)) {
		t.Error("the log is out of order")
	}
}

func readAllBackwards(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	at := scattered(c, s, 9)
	got, err := c.Read(wire.Backwards(wire.From(at[8])))
	mine := own(got, s)
	slices.Reverse(mine)
	if err != nil || !slices.Equal(mine, at[:8]) {
		t.Errorf("got %v, want %v, %v", mine, at[:8], err)
	}
	got, err = c.Read(wire.Backwards(wire.FromEnd()))
	mine = own(got, s)
	slices.Reverse(mine)
	if err != nil || !slices.Equal(mine, at) {
		t.Errorf("from the end: got %v, want %v, %v", mine, at, err)
	}
}

func readAllBeyond(t *testing.T, c *wire.Client) {
	t.Helper()
	for name, o := range map[string]*api.ReadReq_Options{
		"after the end": wire.FromEnd(), "before the start": wire.Backwards(wire.Options()),
	} {
		if got, err := c.Read(o); err != nil || len(got) > 0 {
			t.Errorf("%s: %d events, %v", name, len(got), err)
		}
	}
}

// A read from within an event goes on from the next, or is refused; it shows nothing else.
func readAllWithin(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	at := scattered(c, s, 3)
	got, err := c.Read(wire.Count(wire.From(at[0]+1), math.MaxUint64))
	if mine := own(got, s); err == nil && !slices.Equal(mine, at[1:]) {
		t.Errorf("got %v, want %v", mine, at[1:])
	}
	if err != nil && wire.Code(err) != codes.Unknown {
		t.Errorf("it ends with %v", err)
	}
}

// Clients for .NET read from the log's end by the largest number twice.
func readAllFromLargest(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	at := scattered(c, s, 3)
	f := wire.Filter{Prefixes: []string{s}, Window: 32, Multiplier: 1}
	for name, o := range map[string]*api.ReadReq_Options{
		"plain":    wire.Count(wire.Backwards(wire.From(-1)), math.MaxUint64),
		"filtered": wire.Filtered(wire.Count(wire.Backwards(wire.From(-1)), math.MaxUint64), f),
	} {
		got, err := c.Read(o)
		mine := own(got, s)
		slices.Reverse(mine)
		if err != nil || !slices.Equal(mine, at) {
			t.Errorf("%s backwards: got %v, want %v, %v", name, mine, at, err)
		}
	}
	for name, o := range map[string]*api.ReadReq_Options{
		"plain": wire.From(-1), "filtered": wire.Filtered(wire.From(-1), f),
		"beyond the end": wire.From(math.MaxInt64),
	} {
		if got, err := c.Read(o); err != nil || len(got) > 0 {
			t.Errorf("%s forwards: %d events, %v", name, len(got), err)
		}
	}
}

// filtered reads what a filter lets pass and gives one's own positions.
func filtered(t *testing.T, c *wire.Client, o *api.ReadReq_Options, s string, f wire.Filter) []int64 {
	t.Helper()
	got, err := c.Read(wire.Filtered(wire.Count(o, math.MaxUint64), f))
	if err != nil {
		t.Fatal(err)
	}
	mine := own(got, s)
	if f.ByType || len(mine) == len(got) {
		return mine
	}
	t.Errorf("%d events passed that should not have", len(got)-len(mine))
	return mine
}

func filterPrefix(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	at := scattered(c, s, 9)
	f := wire.Filter{Prefixes: []string{"gone-", s + "1", s + "2"}, Window: 32, Multiplier: 1}
	want := []int64{at[1], at[2], at[4], at[5], at[7], at[8]}
	if got := filtered(t, c, wire.Options(), s, f); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func filterPattern(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	at := scattered(c, s, 6)
	f := wire.Filter{Regex: "^" + s + "[02]$", Window: 32, Multiplier: 1}
	want := []int64{at[0], at[2], at[3], at[5]}
	if got := filtered(t, c, wire.Options(), s, f); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func filterType(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	kind := "typed-" + uuid.NewString()
	c.Must(s, wire.NoStream, s+"a")
	a := c.Send(s, 0, wire.Message(uuid.New(), kind+".v1", "{}"))
	b := c.Send(s, 1, wire.Message(uuid.New(), kind+".v2", "{}"))
	for name, f := range map[string]wire.Filter{
		"a prefix":  {ByType: true, Prefixes: []string{kind}, Window: 32, Multiplier: 1},
		"a pattern": {ByType: true, Regex: `^` + kind + `\.v\d$`, Window: 32, Multiplier: 1},
	} {
		got := filtered(t, c, wire.Options(), s, f)
		if !slices.Equal(got, []int64{a.Pos, b.Pos}) {
			t.Errorf("%s: got %v", name, got)
		}
	}
	f := wire.Filter{ByType: true, Prefixes: []string{kind + ".v2"}, Window: 32, Multiplier: 1}
	if got := filtered(t, c, wire.Options(), s, f); !slices.Equal(got, []int64{b.Pos}) {
		t.Errorf("one type: got %v", got)
	}
}

func filterBackwards(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	at := scattered(c, s, 9)
	f := wire.Filter{Prefixes: []string{s + "1"}, Window: 32, Multiplier: 1}
	got := filtered(t, c, wire.Backwards(wire.FromEnd()), s, f)
	if want := []int64{at[7], at[4], at[1]}; !slices.Equal(got, want) {
		t.Errorf("from the end: got %v, want %v", got, want)
	}
	got = filtered(t, c, wire.Backwards(wire.From(at[7])), s, f)
	if want := []int64{at[4], at[1]}; !slices.Equal(got, want) {
		t.Errorf("from a position: got %v, want %v", got, want)
	}
}

func filterWithoutWindow(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	at := scattered(c, s, 3)
	f := wire.Filter{Prefixes: []string{s}}
	o := wire.Filtered(wire.Options(), f)
	o.GetFilter().Window = &api.ReadReq_Options_FilterOptions_Count{Count: wire.Empty}
	got, err := c.Read(o)
	if err != nil || !slices.Equal(own(got, s), at) {
		t.Errorf("got %v, want %v, %v", own(got, s), at, err)
	}
}

// The clients for Python exclude system events with a look-ahead, if nothing else is asked.
func filterLookAhead(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	at := scattered(c, s, 3)
	c.SetMeta(s+"0", `{"$maxCount":9}`)
	f := wire.Filter{ByType: true, Regex: `^(?!(\$.+|PersistentConfig\d+)$)`, Window: 32, Multiplier: 5}
	got, err := c.Read(wire.Filtered(wire.Count(wire.From(at[0]), math.MaxUint64), f))
	if err != nil || !slices.Equal(own(got, s), at) {
		t.Errorf("got %v, want %v, %v", own(got, s), at, err)
	}
	for _, m := range got {
		if kind := m.GetEvent().GetEvent().GetMetadata()["type"]; strings.HasPrefix(kind, "$") {
			t.Errorf("%s passed", kind)
		}
	}
}

func filterMalformed(t *testing.T, c *wire.Client) {
	t.Helper()
	o := wire.Filtered(wire.Options(), wire.Filter{Regex: "(?<", Window: 32, Multiplier: 1})
	_, err := c.Read(o)
	mistaken(t, "it", err)
	o = wire.Filtered(wire.Options(), wire.Filter{Window: 32, Multiplier: 1})
	o.GetFilter().Filter = nil
	if _, err := c.Read(o); wire.Code(err) != codes.InvalidArgument {
		t.Errorf("a filter of nothing ends with %v", err)
	}
}

func filterCount(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	at := scattered(c, s, 9)
	o := wire.Filtered(wire.Count(wire.Options(), 2),
		wire.Filter{Prefixes: []string{s + "0"}, Window: 32, Multiplier: 1})
	got, err := c.Read(o)
	if err != nil || !slices.Equal(wire.PositionsOf(got), []int64{at[0], at[3]}) {
		t.Errorf("got %v, %v", wire.PositionsOf(got), err)
	}
}
