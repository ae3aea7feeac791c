package eventstore_test

import (
	"testing"

	"prelude/internal/esnode"
	"prelude/internal/eventlog"
	"prelude/internal/eventstore"
)

// The node is reached over TCP too, as one node and as what discovery finds.
func TestOpen_addresses(t *testing.T) {
	t.Parallel()
	n, err := esnode.Start(t.Context(), esnode.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, scheme := range []string{"esdb", "esdb+discover"} {
		s, err := eventstore.Open(eventstore.Config{Address: scheme + "://" + n.Addr() + "?tls=false"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Append(t.Context(), scheme, eventlog.None, events(1)); err != nil {
			t.Errorf("%s: %v", scheme, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
