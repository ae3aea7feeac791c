package eventstore_test

import (
	"bytes"
	"testing"

	"prelude/internal/eventlog"
)

// TestContent: whether an event's data are JSON is kept, and its bytes are.
func TestContent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	all := events(2)
	all[1].Binary, all[1].Data = true, []byte{0xff, 0, 1}
	if _, err := r.store.Append(r.ctx(), "s", eventlog.None, all); err != nil {
		t.Fatal(err)
	}
	n := 0
	for e, err := range r.store.Read(r.ctx(), "s", 0, eventlog.Forwards, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Binary != all[n].Binary || !bytes.Equal(e.Data, all[n].Data) {
			t.Errorf("event %d is binary: %t, and holds %q", n, e.Binary, e.Data)
		}
		n++
	}
	if n != len(all) {
		t.Errorf("there are %d events", n)
	}
}
