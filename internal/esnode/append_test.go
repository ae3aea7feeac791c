package esnode

import (
	"testing"
)

func TestAppend_any_knows_ids_from_before_the_start(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Must("s", noStream, "a")
	r.stop()
	r.start(t)
	r.Must("s", anyRevision, "a")
	if got := r.Revisions("s"); len(got) != 1 {
		t.Errorf("the stream has %v", got)
	}
}
