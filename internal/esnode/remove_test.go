package esnode

import (
	"slices"
	"testing"

	"google.golang.org/grpc/codes"
)

func TestDelete(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.must("s", noStream, "a", "b", "c")
	at, err := r.delete("s", 2)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.revisions("s"); !slices.Equal(got, []int64{-1}) {
		t.Errorf("a deleted stream shows %v", got)
	}
	if got := r.revisions("$$s"); !slices.Equal(got, []int64{0}) {
		t.Errorf("the metastream shows %v", got)
	}
	again, err := r.delete("s", anyRevision)
	if err != nil || again <= at {
		t.Errorf("deleting again answers %d, %v", again, err)
	}
	r.must("s", 2, "d", "e")
	if got := r.revisions("s"); !slices.Equal(got, []int64{3, 4}) {
		t.Errorf("an undeleted stream shows %v", got)
	}
	if got := r.meta("s"); got != `{"$tb":3}` {
		t.Errorf("its metadata are %s", got)
	}
}

func (r *rig) meta(name string) string {
	r.t.Helper()
	got, err := r.read(ofStream("$$" + name))
	if err != nil || len(got) != 1 {
		r.t.Fatalf("read metadata: %v, %v", got, err)
	}
	return string(got[0].GetEvent().GetEvent().GetData())
}

func TestDelete_refuses(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.must("s", noStream, "a", "b")
	for _, c := range []struct {
		stream   string
		expected int64
	}{
		{"s", 0}, {"s", 2}, {"s", noStream}, {"never", anyRevision}, {"never", streamExists},
	} {
		if _, err := r.delete(c.stream, c.expected); code(err) != codes.FailedPrecondition {
			t.Errorf("%s at %d: %v", c.stream, c.expected, err)
		}
	}
	if got := r.revisions("s"); len(got) != 2 {
		t.Errorf("the stream shows %v", got)
	}
}

func TestDelete_metadata_bring_the_stream_back_empty(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.must("s", noStream, "a", "b")
	if _, err := r.delete("s", anyRevision); err != nil {
		t.Fatal(err)
	}
	r.setMeta("s", `{"$maxCount":7,"own":true}`)
	if got := r.revisions("s"); len(got) != 0 {
		t.Errorf("the stream shows %v", got)
	}
	if got := r.meta("s"); got != `{"$maxCount":7,"$tb":2,"own":true}` {
		t.Errorf("its metadata are %s", got)
	}
	r.must("s", 1, "c")
	if got := r.revisions("s"); !slices.Equal(got, []int64{2}) {
		t.Errorf("the stream shows %v", got)
	}
}

func TestTombstone(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"abc", "abc deleted", "meta", ""} {
		r := newRig(t)
		r.prepare("s", state, []string{"a", "b", "c"})
		if err := r.tombstone("s"); err != nil {
			t.Fatalf("%q: %v", state, err)
		}
		for range 2 {
			if _, err := r.read(ofStream("s")); code(err) != codes.FailedPrecondition {
				t.Errorf("%q: read: %v", state, err)
			}
			if a := r.append("$$s", anyRevision, "m"); a.exception() != "stream-deleted" {
				t.Errorf("%q: its metadata can be written: %v", state, a.err)
			}
			if _, err := r.delete("s", anyRevision); code(err) != codes.FailedPrecondition {
				t.Errorf("%q: delete: %v", state, err)
			}
			if err := r.tombstone("s"); code(err) != codes.FailedPrecondition {
				t.Errorf("%q: tombstone: %v", state, err)
			}
			r.stop()
			r.start()
		}
	}
}
