package eventstore_test

import (
	"strings"
	"testing"
	"time"

	"prelude/internal/esnode"
	"prelude/internal/eventlog"
	"prelude/internal/eventstore"
	"prelude/internal/eventstore/storetest"
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

// Over TLS the user and the password go along; what is wrong about either is told, and not what they are.
func TestOpen_behind_a_password(t *testing.T) {
	t.Parallel()
	cert, key, _ := storetest.Certificate(t)
	n, err := esnode.Start(t.Context(), esnode.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0",
		CertFile: cert, KeyFile: key, User: "prelude", Password: "secret word"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	trusts := n.Addr() + "?tlsCAFile=" + cert
	right := to(t, "esdb://prelude:secret%20word@"+trusts)
	a, err := right.Append(within(t, 10*time.Second), "s-1", eventlog.None, events(2))
	if err != nil {
		t.Fatal(err)
	}
	for s, err := range right.Subscribe(within(t, 10*time.Second), 0, eventlog.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if s.Position == a.Position {
			break
		}
	}
	for what, address := range map[string]string{
		"a wrong password":             "esdb://prelude:wrong@" + trusts,
		"no password":                  "esdb://" + trusts,
		"a certificate of others":      "esdb://prelude:secret%20word@" + n.Addr(),
		"a plain connection":           "esdb://prelude:secret%20word@" + n.Addr() + "?tls=false",
		"a certificate that is not":    "esdb://prelude:secret%20word@" + n.Addr() + "?tlsCAFile=" + key,
		"a certificate file not there": "esdb://prelude:secret%20word@" + n.Addr() + "?tlsCAFile=nowhere",
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s, err := eventstore.Open(eventstore.Config{Address: address})
			if err == nil {
				_, err = s.Append(within(t, time.Second), "s-1", 1, events(1))
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
			if err == nil || strings.Contains(err.Error(), "secret word") || strings.Contains(err.Error(), "wrong@") {
				t.Errorf("it answers %v", err)
			}
			if what == "a wrong password" && !strings.Contains(err.Error(), "refuses the user or the password") {
				t.Errorf("it does not say that it was not let in: %v", err)
			}
		})
	}
}
