package eventstore_test

import (
	"bytes"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"prelude/internal/esnode"
	"prelude/internal/eventlog"
	"prelude/internal/eventstore"
	"prelude/internal/eventstore/storetest"
)

// secureNode runs a node behind TLS, a user and a password, and gives its address.
func secureNode(t *testing.T, cert, key, password string) string {
	t.Helper()
	n, err := esnode.Start(t.Context(), esnode.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0",
		CertFile: cert, KeyFile: key, User: "prelude", Password: password})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n.Addr()
}

// TestReady_says_why: each thing that may be wrong with the way to a store has a sentence and a remedy, at once where
// waiting does not mend it, and neither has anything of the address in it.
func TestReady_says_why(t *testing.T) {
	t.Parallel()
	cert, key, _ := storetest.Certificate(t)
	others, _, _ := storetest.Certificate(t)
	_, port, err := net.SplitHostPort(secureNode(t, cert, key, "word"))
	if err != nil {
		t.Fatal(err)
	}
	here := "127.0.0.1:" + port
	old, oldKey := storetest.Expired(t)
	expired := secureNode(t, old, oldKey, "word")
	mute := listen(t)
	t.Cleanup(func() { _ = mute.Close() })
	for what, c := range map[string]struct{ address, says, mend string }{
		"an unknown authority": {"esdb://prelude:word@" + here, "authority that is not trusted", "tlsCaFile"},
		"another authority": {"esdb://prelude:word@" + here + "?tlsCaFile=" + others, "authority that is not trusted",
			"tlsCaFile"},
		"a wrong password": {"esdb://prelude:other@" + here + "?tlsCaFile=" + cert,
			"refuses the user or the password of PRELUDE_EVENTSTORE", "percent-encoded"},
		"a wrong user": {"esdb://other:word@" + here + "?tlsCaFile=" + cert,
			"refuses the user or the password of PRELUDE_EVENTSTORE", "percent-encoded"},
		"no user": {"esdb://" + here + "?tlsCaFile=" + cert, "PRELUDE_EVENTSTORE names none", "user and the password"},
		"a wrong host": {"esdb://prelude:word@localhost:" + port + "?tlsCaFile=" + cert, "not for the host",
			"certificate"},
		"an expired certificate": {"esdb://prelude:word@" + expired + "?tlsCaFile=" + old, "expired", "valid now"},
		"tls=false":              {"esdb://prelude:word@" + here + "?tls=false", "speaks TLS", "tls=false"},
		"tls=true":               {"esdb://prelude:word@" + web(t, nil), "speaks no TLS", "tls=false"},
		"a web server":           {plainly(web(t, nil)), "speaks HTTP/1", "EventStoreDB"},
		"an unknown host":        {"esdb://nowhere.invalid?tls=false", "is not known", "looked up"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			store := to(t, c.address)
			began := time.Now()
			err := store.Ready(within(t, 20*time.Second))
			r := eventstore.ReasonOf(err)
			if r == nil || !r.Lasting || !strings.Contains(r.Text, c.says) || !strings.Contains(r.Remedy, c.mend) {
				t.Errorf("it is ready with %v, because of %+v", err, r)
			}
			if took := time.Since(began); took > 5*time.Second { // a second on a machine that has nothing else to do
				t.Errorf("it takes %s to say so", took)
			}
			if text := errors.Join(err, r).Error(); strings.Contains(text, "word@") || strings.Contains(text, "other@") {
				t.Errorf("it quotes the address: %s", text)
			}
		})
	}
	for what, c := range map[string]struct{ address, says string }{
		"nobody":                      {plainly("127.0.0.1:1"), "nobody answers"},
		"one that is mute":            {plainly(mute.Addr().String()), "does not answer"},
		"one that hangs up":           {plainly(talker(t, "")), "ends each connection"},
		"one that hangs up, over TLS": {"esdb://u:p@" + talker(t, ""), "ends each connection"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			err := to(t, c.address).Ready(within(t, 4*time.Second))
			if r := eventstore.ReasonOf(err); r == nil || r.Lasting || !strings.Contains(r.Text, c.says) {
				t.Errorf("it is ready with %v", err)
			}
		})
	}
}

// TestOpen_looks_at_files: a file that an option names is looked at before anything is connected to, and named.
func TestOpen_looks_at_files(t *testing.T) {
	t.Parallel()
	cert, key, _ := storetest.Certificate(t)
	dir := t.TempDir()
	read := func(path string) []byte {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	file := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("no certificate")})
	for what, c := range map[string]struct{ option, says string }{
		"none there":          {"tlsCaFile=" + filepath.Join(dir, "nowhere"), "tlsCaFile " + dir + "/nowhere is not there"},
		"a folder":            {"tlsCaFile=" + dir, "is no file"},
		"10 MB":               {"tlsCaFile=" + file("large", make([]byte, 10<<20)), "has more than"},
		"nothing in it":       {"tlsCaFile=" + file("empty", nil), "holds no certificate"},
		"a text":              {"tlsCaFile=" + file("text", []byte("hello")), "holds no certificate"},
		"a broken one":        {"tlsCaFile=" + file("broken", block), "holds a certificate that cannot be read"},
		"with a key in it":    {"tlsCaFile=" + file("both", append(read(cert), read(key)...)), "holds a private key"},
		"a key alone":         {"tlsCaFile=" + key, "holds a private key"},
		"without end of line": {"tlsCaFile=" + file("open", bytes.TrimRight(read(cert), "\n")), ""},
		"two authorities":     {"tlsCaFile=" + file("two", append(read(cert), read(cert)...)), ""},
		"of the user, not there": {"userCertFile=" + cert + "&userKeyFile=" + filepath.Join(dir, "nowhere"),
			"userKeyFile " + dir + "/nowhere is not there"},
		"of the user, no pair": {"userCertFile=" + cert + "&userKeyFile=" + cert, "are no certificate and its key"},
		"of the user":          {"userCertFile=" + cert + "&userKeyFile=" + key, ""},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s, err := eventstore.Open(eventstore.Config{Address: "esdb://u:secret@localhost?" + c.option})
			if err == nil {
				err = s.Close()
			}
			if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("it opens with %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("it quotes the address: %v", err)
			}
		})
	}
}

// A password in a file, and the authorities' file, can be exchanged while the store is open.
func TestStore_takes_new_files(t *testing.T) {
	t.Parallel()
	cert, key, _ := storetest.Certificate(t)
	next, nextKey, _ := storetest.Certificate(t)
	dir := t.TempDir()
	password, authorities := filepath.Join(dir, "password"), filepath.Join(dir, "ca.pem")
	put := func(path string, text []byte) {
		t.Helper()
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	copyTo := func(path, from string) {
		t.Helper()
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		put(path, text)
	}
	put(password, []byte("first\n"))
	copyTo(authorities, cert)
	config := esnode.Config{Dir: filepath.Join(dir, "log"), Listen: "127.0.0.1:0", CertFile: cert, KeyFile: key,
		User: "prelude", Password: "first"}
	n, err := esnode.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	store, err := eventstore.Open(eventstore.Config{PasswordFile: password,
		Address: "esdb://prelude@" + n.Addr() + "?tlsCaFile=" + authorities})
	if err != nil {
		t.Fatal(err)
	}
	appendOne := func(at eventlog.Revision) {
		t.Helper()
		if _, err := store.Append(within(t, 20*time.Second), "s-1", at, events(1)); err != nil {
			t.Fatal(err)
		}
	}
	appendOne(eventlog.None)
	// The node comes back with another password and another certificate.
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	config.Listen, config.Password, config.CertFile, config.KeyFile = n.Addr(), "second", next, nextKey
	if n, err = esnode.Start(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if err := store.Ready(within(t, 5*time.Second)); err == nil {
		t.Error("it is ready with the authority of before")
	}
	copyTo(authorities, next)
	put(password, []byte("second"))
	appendOne(0)
	if err := errors.Join(store.Close(), n.Close()); err != nil {
		t.Error(err)
	}
}
