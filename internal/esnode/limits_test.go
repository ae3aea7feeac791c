package esnode

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestLimits(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i, c := range []struct {
		name, meta string
		want       []int64
	}{
		{"none", `{}`, []int64{0, 1, 2, 3, 4}},
		{"a count", `{"$maxCount":2}`, []int64{3, 4}},
		{"a count above all", `{"$maxCount":9}`, []int64{0, 1, 2, 3, 4}},
		{"a count of 0 is none", `{"$maxCount":0}`, []int64{0, 1, 2, 3, 4}},
		{"a bound", `{"$tb":3}`, []int64{3, 4}},
		{"a bound beyond the end", `{"$tb":9}`, nil},
		{"the narrower of both", `{"$tb":1,"$maxCount":2}`, []int64{3, 4}},
		{"the narrower of both, the bound", `{"$tb":4,"$maxCount":2}`, []int64{4}},
		{"an age that all have", `{"$maxAge":3600}`, []int64{0, 1, 2, 3, 4}},
		{"a deleted stream", `{"$tb":9223372036854775807}`, []int64{-1}},
		{"no JSON", `{"$maxCount":2`, []int64{0, 1, 2, 3, 4}},
		{"one malformed field voids all", `{"$maxCount":2,"$maxAge":"1"}`, []int64{0, 1, 2, 3, 4}},
		{"a fraction", `{"$maxCount":2.5}`, []int64{0, 1, 2, 3, 4}},
		{"null", `{"$maxCount":null,"$tb":3}`, []int64{0, 1, 2, 3, 4}},
		{"a list of rights", `{"$maxCount":2,"$acl":{"$r":"a","$w":["b","c"]}}`, []int64{3, 4}},
		{"rights as a word", `{"$maxCount":2,"$acl":"$userStreamAcl"}`, []int64{0, 1, 2, 3, 4}},
		{"rights as a number", `{"$maxCount":2,"$acl":{"$r":1}}`, []int64{0, 1, 2, 3, 4}},
		{"fields of one's own", `{"$maxCount":2,"own":{"x":[1]}}`, []int64{3, 4}},
	} {
		name := fmt.Sprint("s", i)
		r.must(name, noStream, "a", "b", "c", "d", "e")
		r.setMeta(name, c.meta)
		if got := r.revisions(name); !slices.Equal(got, c.want) {
			t.Errorf("%s: the stream shows %v, want %v", c.name, got, c.want)
		}
	}
}

func TestLimits_the_last_metadata_count(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.setMeta("s", `{"$maxCount":1}`)
	r.must("s", noStream, "a", "b", "c")
	r.setMeta("s", `{"$maxCount":2}`)
	r.must("s", 2, "d")
	if got := r.revisions("s"); !slices.Equal(got, []int64{2, 3}) {
		t.Errorf("the stream shows %v", got)
	}
	if got := r.revisions("$$s"); !slices.Equal(got, []int64{1}) {
		t.Errorf("the metastream shows %v", got)
	}
}

func TestLimits_age(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	now := time.Now()
	r.node.writer.now = func() time.Time { return now.Add(-time.Hour) }
	r.must("s", noStream, "a", "b")
	r.node.writer.now = func() time.Time { return now }
	r.must("s", 1, "c")
	r.setMeta("s", `{"$maxAge":1800}`)
	if got := r.revisions("s"); !slices.Equal(got, []int64{2}) {
		t.Errorf("the stream shows %v", got)
	}
}

// The clock of a machine may step back; the times in the log do not.
func TestCreated_does_not_go_back(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	now := time.Now()
	for i, step := range []time.Duration{0, -time.Hour, time.Second} {
		r.node.writer.now = func() time.Time { return now.Add(step) }
		r.must("s", int64(i)-1, fmt.Sprint(i))
	}
	got, err := r.read(ofStream("s"))
	if err != nil {
		t.Fatal(err)
	}
	var last string
	for _, m := range got {
		created := m.GetEvent().GetEvent().GetMetadata()["created"]
		if created < last {
			t.Errorf("%s after %s", created, last)
		}
		last = created
	}
}
