package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"prelude/internal/esnode"
	"prelude/internal/eventstore/storetest"
)

// TestDoctorOfAStore: each thing that may be wrong with the way to a store is told with its remedy, and of what was not
// looked at nothing is said to be wrong.
func TestDoctorOfAStore(t *testing.T) {
	t.Parallel()
	r := start(t) // its database has a vault and readers
	r.preset("one")
	r.stop()
	dir := t.TempDir()
	cert, key, _ := storetest.Certificate(t)
	others, _, _ := storetest.Certificate(t)
	n, err := esnode.Start(t.Context(), shapeNode(esnode.Config{Dir: dir, Listen: "127.0.0.1:0", CertFile: cert, KeyFile: key,
		User: "prelude", Password: "hunter2", Socket: filepath.Join(storetest.Folder(t), "s")}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	_, port, err := net.SplitHostPort(n.Addr())
	if err != nil {
		t.Fatal(err)
	}
	right, file := "?tlsCaFile="+cert, filepath.Join(dir, "password")
	if err := os.WriteFile(file, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		address string
		says    []string
		within  time.Duration
	}{
		"an unknown authority": {"esdb://prelude:hunter2@" + n.Addr(), []string{"authority that is not trusted", "set tlsCaFile in PRELUDE_EVENTSTORE"}, time.Second},
		"another authority":    {"esdb://prelude:hunter2@" + n.Addr() + "?tlsCaFile=" + others, []string{"authority that is not trusted"}, time.Second},
		"a wrong password":     {"esdb://prelude:hunter3@" + n.Addr() + right, []string{"the store refuses the user or the password of PRELUDE_EVENTSTORE"}, time.Second},
		"no user":              {"esdb://" + n.Addr() + right, []string{"PRELUDE_EVENTSTORE names none"}, time.Second},
		"a wrong host":         {"esdb://prelude:hunter2@localhost:" + port + right, []string{"not for the host"}, time.Second},
		"a wrong tls=":         {"esdb://prelude:hunter2@" + n.Addr() + "?tls=false", []string{"speaks TLS, and the address says tls=false"}, time.Second},
		"a file not there":     {"esdb://prelude:hunter2@" + n.Addr() + "?tlsCaFile=/nowhere", []string{"tlsCaFile /nowhere is not there"}, time.Second},
		"nobody":               {"esdb://127.0.0.1:1?tls=false", []string{"nobody answers", "start the store that PRELUDE_EVENTSTORE names"}, doctorPatience + time.Second},
		"a foreign server":     {"esdb://" + foreignWeb(t, false) + "?tls=false", []string{"speaks HTTP/1"}, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			out, err := r.doctor("--database-url", r.dsn, "--eventstore", c.address)
			if took := time.Since(began); took > 5*c.within {
				t.Errorf("it takes %s, want at most %s on a machine that has nothing else to do", took, c.within)
			}
			if err == nil || strings.Contains(out, "restore the newest backup") || strings.Contains(out, "all 0 keys") ||
				strings.Contains(out, "hunter") || strings.Count(out, "wrong") != 1 {
				t.Errorf("%v\n%s", err, out)
			}
			contains(t, out, c.says...)
			contains(t, out, "-      log: not looked at: the event store ",
				"-      reader rights: not looked at", "and was not held against the log")
		})
	}
	t.Run("well", func(t *testing.T) {
		out, err := r.doctor("--database-url", r.dsn, "--eventstore", "esdb://prelude@"+n.Addr()+right,
			"--eventstore-password-file", file)
		if err == nil { // it is another log
			t.Errorf("%s", out)
		}
		contains(t, out, "ok     event store (PRELUDE_EVENTSTORE): "+n.Addr()+", EventStoreDB 24.", "leader",
			"ok     event store's rights: it may read $all, append, read streams, read streams' metadata",
			"knows events that the log does not have")
	})
}

// played is a script before the store of a server, and how a doctor is called on it.
func (r *rig) played(t *testing.T) (*storetest.Script, func() (string, error)) {
	t.Helper()
	script := storetest.NewScript(t, filepath.Join(r.data, "node.sock"))
	return script, func() (string, error) {
		return r.doctor("--database-url", r.dsn, "--eventstore", plainly(script.Addr))
	}
}

// TestDoctorNamesTheMissingRight has each right missing alone: that one is named, and no other.
func TestDoctorNamesTheMissingRight(t *testing.T) {
	t.Parallel()
	embedded(t)
	r := start(t)
	script, doctor := r.played(t)
	denied := status.Error(codes.PermissionDenied, "Access Denied")
	readOf := func(name func(stream string) bool) storetest.Part {
		return storetest.Part{RefuseRead: func(stream string) error {
			if name(stream) {
				return denied
			}
			return nil
		}}
	}
	metadata := func(stream string) bool { return strings.HasPrefix(stream, "$$") }
	for right, part := range map[string]storetest.Part{
		"append":                 {Refuse: map[storetest.Call]error{storetest.Batch: denied}},
		"read $all":              readOf(func(stream string) bool { return stream == "$all" }),
		"read streams":           readOf(func(stream string) bool { return stream != "$all" && !metadata(stream) }),
		"read streams' metadata": readOf(metadata),
	} {
		script.Play(part)
		out, err := doctor()
		if err == nil || strings.Count(out, "it may not") != 1 || strings.Count(out, "wrong") != 1 {
			t.Errorf("%s: %v\n%s", right, err, out)
		}
		contains(t, out, "wrong  event store's rights: it may not "+right+": ")
	}
}

// TestDoctorOfAMood: what a store does not answer to anybody is its fault, and no right that is missing.
func TestDoctorOfAMood(t *testing.T) {
	t.Parallel()
	embedded(t)
	r := start(t)
	const mute, elsewhere = "the event store takes connections and does not answer", "the event store's node handles no calls"
	silent := func(c storetest.Call) storetest.Part { return storetest.Part{Silent: map[storetest.Call]bool{c: true}} }
	ends := func(c storetest.Call, code codes.Code, text string) storetest.Part {
		return storetest.Part{Refuse: map[storetest.Call]error{c: status.Error(code, text)}}
	}
	for name, c := range map[string]struct {
		part     storetest.Part
		says     string
		readable bool
	}{
		"it takes no appends":        {storetest.Part{NotHandled: "Server Is Not Ready", Appends: true}, elsewhere, true},
		"it is not ready":            {storetest.Part{NotHandled: "Server Is Not Ready"}, elsewhere, false},
		"it is too busy for reads":   {ends(storetest.Read, codes.Unavailable, "Server Is Too Busy"), elsewhere, false},
		"appends get no answer":      {silent(storetest.Batch), mute, true},
		"reads get no answer":        {silent(storetest.Read), mute, false},
		"reads are late":             {ends(storetest.Read, codes.DeadlineExceeded, "Timeout"), mute, false},
		"its connections are closed": {ends(storetest.Read, codes.Unavailable, "closing"), "ends each connection", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script, doctor := r.played(t)
			script.Play(c.part)
			began := time.Now()
			out, err := doctor()
			inTime(t, "the doctor", time.Since(began), doctorPatience+time.Second)
			if err == nil || strings.Contains(out, "it may not") || strings.Contains(out, "rpc error") ||
				strings.Count(out, "wrong") != 1 || strings.Contains(out, "-      reader views") == c.readable {
				t.Errorf("%v\n%s", err, out)
			}
			contains(t, out, "wrong  event store (PRELUDE_EVENTSTORE): ", c.says,
				"event store's rights: not looked at: the event store does not answer")
			if !c.readable {
				contains(t, out, "reader views: not looked at: the event store does not answer")
			}
		})
	}
}
