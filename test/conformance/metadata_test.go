package conformance

import (
	"slices"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"

	"prelude/test/conformance/wire"
)

// limitRule says what of five events a stream shows under its metadata.
type limitRule struct {
	name, meta string
	want       []int64
}

var limitRules = []limitRule{
	{"none", `{}`, []int64{0, 1, 2, 3, 4}},
	{"a count", `{"$maxCount":2}`, []int64{3, 4}},
	{"a count above all", `{"$maxCount":9}`, []int64{0, 1, 2, 3, 4}},
	{"a count of 0 is none", `{"$maxCount":0}`, []int64{0, 1, 2, 3, 4}},
	{"a count below 0 is none", `{"$maxCount":-1,"$tb":3}`, []int64{3, 4}},
	{"a bound", `{"$tb":3}`, []int64{3, 4}},
	{"a bound beyond the end", `{"$tb":9}`, nil},
	{"the narrower of both", `{"$tb":1,"$maxCount":2}`, []int64{3, 4}},
	{"the narrower of both, the bound", `{"$tb":4,"$maxCount":2}`, []int64{4}},
	{"an age that all have", `{"$maxAge":3600}`, []int64{0, 1, 2, 3, 4}},
	{"a deleted stream", `{"$tb":9223372036854775807}`, []int64{-1}},
	{"no JSON", `{"$maxCount":2`, []int64{0, 1, 2, 3, 4}},
	{"one malformed field voids all", `{"$maxCount":2,"$maxAge":"1"}`, []int64{0, 1, 2, 3, 4}},
	{"a malformed time for caches voids all", `{"$maxCount":2,"$cacheControl":"5"}`, []int64{0, 1, 2, 3, 4}},
	{"a malformed mark voids all", `{"$maxCount":2,"$tmp":1}`, []int64{0, 1, 2, 3, 4}},
	{"a malformed bound voids all", `{"$maxCount":2,"$tb":"3"}`, []int64{0, 1, 2, 3, 4}},
	{"a list and not an object", `[{"$maxCount":2}]`, []int64{0, 1, 2, 3, 4}},
	{"rights that shut all out", `{"$acl":{"$r":[]},"$tb":3}`, []int64{3, 4}},
	{"a fraction", `{"$maxCount":2.5}`, []int64{0, 1, 2, 3, 4}},
	{"null", `{"$maxCount":null,"$tb":3}`, []int64{0, 1, 2, 3, 4}},
	{"a list of rights", `{"$maxCount":2,"$acl":{"$r":"a","$w":["b","c"]}}`, []int64{3, 4}},
	{"rights as a word", `{"$maxCount":2,"$acl":"$userStreamAcl"}`, []int64{0, 1, 2, 3, 4}},
	{"rights as a number", `{"$maxCount":2,"$acl":{"$r":1}}`, []int64{0, 1, 2, 3, 4}},
	{"fields of one's own", `{"$maxCount":2,"own":{"x":[1]}}`, []int64{3, 4}},
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	c := plain(t)
	for _, rule := range limitRules {
		t.Run(rule.name, func(t *testing.T) {
			c, s := c.For(t), named(t, "s")
			c.Must(s, wire.NoStream, s+"a", s+"b", s+"c", s+"d", s+"e")
			c.SetMeta(s, rule.meta)
			if got := c.Revisions(s); !slices.Equal(got, rule.want) {
				t.Errorf("the stream shows %v, want %v", got, rule.want)
			}
		})
	}
	for name, test := range map[string]func(*testing.T, *wire.Client){
		"only the last event counts":       lastMetadataCount,
		"hidden events stay in the log":    hiddenStayInLog,
		"bounds hold in both directions":   boundsBothWays,
		"what has its age is hidden":       ageHides,
		"an empty stream may have them":    metadataBeforeEvents,
		"a bound before the first event":   boundBeforeEvents,
		"the client writes and reads them": clientMetadata,
	} {
		t.Run(name, func(t *testing.T) { test(t, c.For(t)) })
	}
}

func lastMetadataCount(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	c.SetMeta(s, `{"$maxCount":1}`)
	c.Must(s, wire.NoStream, s+"a", s+"b", s+"c")
	c.SetMeta(s, `{"$maxCount":2}`)
	c.Must(s, 2, s+"d")
	if got := c.Revisions(s); !slices.Equal(got, []int64{2, 3}) {
		t.Errorf("the stream shows %v", got)
	}
	if got := c.Revisions("$$" + s); !slices.Equal(got, []int64{1}) {
		t.Errorf("the metastream shows %v", got)
	}
}

func hiddenStayInLog(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	a := c.Must(s, wire.NoStream, s+"a")
	c.Must(s, 0, s+"b")
	c.SetMeta(s, `{"$tb":1}`)
	got, err := c.Read(wire.Count(wire.From(a.Pos), 1))
	if err != nil || !slices.Equal(wire.PositionsOf(got), []int64{a.Pos}) {
		t.Errorf("the log shows %v, %v", got, err)
	}
}

func boundsBothWays(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	c.Must(s, wire.NoStream, s+"a", s+"b", s+"c", s+"d")
	c.SetMeta(s, `{"$maxCount":2}`)
	got, err := c.Read(wire.Backwards(wire.AtEnd(wire.OfStream(s))))
	if revs := wire.RevisionsOf(got); err != nil || !slices.Equal(revs, []int64{3, 2}) {
		t.Errorf("backwards it shows %v, %v", revs, err)
	}
	c.Must(s, 3, s+"e")
	if got := c.Revisions(s); !slices.Equal(got, []int64{3, 4}) {
		t.Errorf("after one more it shows %v", got)
	}
}

// ageHides polls: an age is in whole seconds, and the stores' clocks are their own.
func ageHides(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	c.Must(s, wire.NoStream, s+"a")
	c.SetMeta(s, `{"$maxAge":1}`)
	soon, tick := time.After(20*time.Second), time.NewTicker(50*time.Millisecond)
	defer tick.Stop()
	for len(c.Revisions(s)) > 0 {
		select {
		case <-tick.C:
		case <-soon:
			t.Fatal("an event older than its stream's age is shown")
		}
	}
	c.Must(s, 0, s+"b")
}

func metadataBeforeEvents(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	c.SetMeta(s, `{"$maxCount":1}`)
	if got := c.Revisions(s); !slices.Equal(got, []int64{-1}) {
		t.Errorf("a stream with metadata alone shows %v", got)
	}
	c.Must(s, wire.NoStream, s+"a", s+"b")
	if got := c.Revisions(s); !slices.Equal(got, []int64{1}) {
		t.Errorf("the stream shows %v", got)
	}
}

// What a copy of a stream without its beginning relies on.
func boundBeforeEvents(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	c.SetMeta(s, `{"$tb":2}`)
	for rev, id := range []string{s + "a", s + "b", s + "c"} {
		c.Must(s, int64(rev)-1, id)
		want := []int64{2}[:max(0, rev-1)]
		if got := c.Revisions(s); !slices.Equal(got, want) {
			t.Errorf("with %d events the stream shows %v, want %v", rev+1, got, want)
		}
	}
}

func clientMetadata(t *testing.T, _ *wire.Client) {
	t.Helper()
	c, s := official(t), named(t, "s")
	var want esdb.StreamMetadata
	want.SetMaxCount(7)
	want.SetMaxAge(90 * time.Second)
	want.SetTruncateBefore(3)
	want.SetCacheControl(5 * time.Second)
	_, err := c.SetStreamMetadata(wire.Within(t), s, esdb.AppendToStreamOptions{}, want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.GetStreamMetadata(wire.Within(t), s, esdb.ReadStreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if *got.MaxCount() != 7 || *got.MaxAge() != 90*time.Second || *got.TruncateBefore() != 3 ||
		*got.CacheControl() != 5*time.Second {
		t.Errorf("got %v", got)
	}
}
