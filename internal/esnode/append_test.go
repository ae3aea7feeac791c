package esnode

import (
	"testing"
)

// After a restart a real store knows no ids: what expects no exact revision is appended again.
func TestAppend_any_knows_no_ids_from_before_the_start(t *testing.T) {
	t.Parallel()
	for name, expected := range map[string]int64{"any": anyRevision, "exists": streamExists} {
		r := newRig(t)
		first := r.Must("s", noStream, "a")
		if again := r.Must("s", expected, "a"); again.Pos != first.Pos {
			t.Errorf("%s: before it a repeat is at %d, not %d", name, again.Pos, first.Pos)
		}
		r.stop()
		r.start(t)
		r.Must("s", expected, "a")
		if got := r.Revisions("s"); len(got) != 2 {
			t.Errorf("%s: the stream has %v", name, got)
		}
		if again := r.Must("s", noStream, "a"); again.Pos != first.Pos {
			t.Errorf("%s: an exact repeat is at %d, not %d", name, again.Pos, first.Pos)
		}
	}
}

// An id has its first place: in another stream it is no repeat, however often it comes.
func TestAppend_any_keeps_an_ids_first_place(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Must("one", anyRevision, "x")
	r.Must("two", anyRevision, "x")
	r.Must("two", anyRevision, "x")
	if got := r.Revisions("two"); len(got) != 2 {
		t.Errorf("the second stream has %v", got)
	}
	r.Must("one", anyRevision, "x")
	if got := r.Revisions("one"); len(got) != 1 {
		t.Errorf("the first stream has %v", got)
	}
}
