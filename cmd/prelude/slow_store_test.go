package main

import (
	"testing"
	"time"

	"prelude/internal/esnode"
	"prelude/internal/eventstore/storetest"
)

// TestServer_on_a_slow_store: a store that takes a hundred milliseconds for each answer, a thousand times what one beside
// it takes, is slow, and nothing else: the server becomes ready, and each command is done once.
func TestServer_on_a_slow_store(t *testing.T) {
	t.Parallel()
	n, err := esnode.Start(t.Context(), shapeNode(esnode.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	way := storetest.NewProxy(t, "127.0.0.1:0", n.Addr())
	way.Delay(100 * time.Millisecond)
	r := start(t, "--eventstore", "esdb://"+way.Path+"?tls=false")
	t.Cleanup(r.stop)
	r.do("GET", "/readyz", nil).want(200)
	id := r.preset("slow")
	session := r.do("POST", "/v1/sessions", doc{"preset": "slow"}).want(201).str("id")
	turn := r.do("POST", "/v1/sessions/"+session+"/messages", doc{"content": "Hello"})
	if got := turn.want(201).str("reply", "status"); got != "completed" {
		t.Errorf("the reply is %s", got)
	}
	at := turn.Header.Get("Prelude-Position")
	got := r.do("GET", "/v1/sessions/"+session+"?consistency=strict&min_position="+at, nil).want(200)
	if n := got.num("messages"); n != 2 {
		t.Errorf("there are %d messages", n)
	}
	r.do("GET", "/v1/presets/"+id+"/history", nil).want(200)
}
