package esnode

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"prelude/test/conformance/wire"
)

func TestLimits_age(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	now := time.Now()
	r.node.writer.now = func() time.Time { return now.Add(-time.Hour) }
	r.Must("s", noStream, "a", "b")
	r.node.writer.now = func() time.Time { return now }
	r.Must("s", 1, "c")
	r.SetMeta("s", `{"$maxAge":1800}`)
	if got := r.Revisions("s"); !slices.Equal(got, []int64{2}) {
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
		r.Must("s", int64(i)-1, fmt.Sprint(i))
	}
	got, err := r.Read(wire.OfStream("s"))
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
