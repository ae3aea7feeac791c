package esnode

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is followed from memory is what the file holds, whatever has been dropped of it.
func TestFresh_is_the_end_of_the_log(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	f, log := fresh{after: 40}, []record(nil)
	pos := int64(40)
	for range 300 {
		var commit []record
		for range 1 + rng.IntN(5) {
			pos += 1 + rng.Int64N(90)
			commit = append(commit, record{pos: pos, frame: make([]byte, rng.IntN(64<<10))})
		}
		f.add(commit)
		log = append(log, commit...)
		if f.bytes > 2*freshBytes {
			t.Fatalf("%d bytes are kept", f.bytes)
		}
		after := 30 + rng.Int64N(pos-20)
		p, ok := f.page(after, 7)
		if ok != (after >= f.after) {
			t.Fatalf("after %d, kept after %d: %t", after, f.after, ok)
		}
		if !ok {
			continue
		}
		want, bytes := []int64(nil), 0
		for _, r := range log {
			if r.pos > after && len(want) < 7 && bytes < pageBytes {
				want, bytes = append(want, r.pos), bytes+len(r.frame)
			}
		}
		var got []int64
		for _, r := range p.records {
			got = append(got, r.pos)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("after %d:\n%s", after, diff)
		}
		if last := len(want) == 0 || want[len(want)-1] == pos; p.end && !last {
			t.Errorf("after %d it says that it is all, and ends at %d of %d", after, want, pos)
		}
	}
	if f.after == 40 || len(f.records) == 0 {
		t.Errorf("of %d records %d are kept, after %d", len(log), len(f.records), f.after)
	}
}
