package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"prelude/internal/eventlog"
	"prelude/internal/eventstore"
)

// meter stands between a server and Postgres and counts the statements that are run.
type meter struct {
	dsn  string
	mu   sync.Mutex
	ran  []string
	cut  bool       // connections are broken off
	open []net.Conn // to Postgres
}

// shut breaks all connections off and lets no new one through, until it is called with false.
func (m *meter) shut(cut bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cut = cut
	for _, c := range m.open {
		_ = c.Close()
	}
	m.open = nil
}

// through says whether a connection may go through, and notes it.
func (m *meter) through(to net.Conn) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open = append(m.open, to)
	return !m.cut
}

// newMeter listens on loopback and passes everything on to the socket of dsn.
func newMeter(t *testing.T, dsn string) *meter {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(u.Query().Get("host"), ".s.PGSQL.5432")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	m := &meter{dsn: fmt.Sprintf("postgres://prelude@%s%s?sslmode=disable", l.Addr(), u.Path)}
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("unix", socket)
			if err != nil {
				_ = from.Close()
				return
			}
			if !m.through(to) {
				_, _ = from.Close(), to.Close()
				continue
			}
			go m.pass(from, to)
		}
	}()
	return m
}

// pass copies both ways, and reads what the client sends.
func (m *meter) pass(from, to net.Conn) {
	go func() {
		_, _ = io.Copy(from, to)
		_ = from.Close()
	}()
	defer func() { _ = to.Close() }()
	var length [4]byte
	if _, err := io.ReadFull(from, length[:]); err != nil { // the start has no type
		return
	}
	rest := make([]byte, binary.BigEndian.Uint32(length[:])-4)
	if _, err := io.ReadFull(from, rest); err != nil {
		return
	}
	if _, err := to.Write(append(length[:], rest...)); err != nil {
		return
	}
	prepared := map[string]string{}
	for {
		var head [5]byte
		if _, err := io.ReadFull(from, head[:]); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
		if _, err := io.ReadFull(from, body); err != nil {
			return
		}
		m.see(head[0], body, prepared)
		if _, err := to.Write(append(head[:], body...)); err != nil {
			return
		}
	}
}

// see notes a statement when it is bound, or sent as text.
func (m *meter) see(kind byte, body []byte, prepared map[string]string) {
	part := bytes.SplitN(body, []byte{0}, 3)
	m.mu.Lock()
	defer m.mu.Unlock()
	switch kind {
	case 'P':
		prepared[string(part[0])] = string(part[1])
	case 'B':
		m.ran = append(m.ran, prepared[string(part[1])])
	case 'Q':
		m.ran = append(m.ran, string(part[0]))
	}
}

// count runs work and gives the statements that were run meanwhile and that match, without set_config.
func (m *meter) count(match func(sql string) bool, work func()) []string {
	m.mu.Lock()
	before := len(m.ran)
	m.mu.Unlock()
	work()
	m.mu.Lock()
	defer m.mu.Unlock()
	var ran []string
	for _, sql := range m.ran[before:] {
		if !strings.HasPrefix(sql, "SELECT set_config") && match(sql) {
			ran = append(ran, sql)
		}
	}
	return ran
}

func metered(t *testing.T) (*rig, *meter) {
	t.Helper()
	r := start(t)
	r.stop()
	m := newMeter(t, r.dsn)
	r.dsn = m.dsn
	r.serve()
	return r, m
}

// question says whether a statement asks the views, and is not a reader's own work.
func question(sql string) bool {
	return strings.HasPrefix(sql, "SELECT") && !strings.Contains(sql, "prelude.checkpoints") &&
		!strings.Contains(sql, "prelude.parked") && !strings.Contains(sql, "JOIN unnest")
}

// TestTwoStatements counts what each question costs when keys, rights and names are known.
func TestTwoStatements(t *testing.T) {
	t.Parallel()
	r, m := metered(t)
	id := r.preset("counted")
	session := r.session()
	turn := r.do("POST", "/v1/sessions/"+session+"/messages", doc{"content": "Hello"}).want(201)
	reply := turn.str("reply", "id")
	for _, path := range []string{
		"/v1/presets", "/v1/presets/" + id, "/v1/presets/counted", "/v1/presets/counted/versions",
		"/v1/presets/counted/versions/1", "/v1/presets/counted/labels", "/v1/presets/counted/labels/latest",
		"/v1/presets/counted/history", "/v1/search/presets?q=counted", "/v1/sessions", "/v1/sessions/" + session,
		"/v1/sessions/" + session + "/messages", "/v1/sessions/" + session + "/context", "/v1/replies/" + reply,
		"/v1/replies/" + reply + "/context?include=request", "/v1/replies/" + reply + "/stream",
		"/v1/audit", "/v1/models", "/v1/models/preset:counted", "/v1/me", "/v1/users", "/v1/api-keys", "/v1/usage",
	} {
		t.Run(path, func(t *testing.T) {
			ask := func() {
				if a := r.do("GET", path, nil); a.Status != 200 {
					t.Errorf("status %d: %s", a.Status, a.Body)
				}
			}
			ask() // warm
			ran := m.count(question, ask)
			if len(ran) > 2 {
				t.Errorf("%d statements: %s", len(ran), strings.Join(ran, "\n"))
			}
		})
	}
}

// TestTurnCost: a turn is two appends however long its reply is, and no statement is run per token.
func TestTurnCost(t *testing.T) {
	t.Parallel()
	r, m := metered(t)
	session := r.session()
	post := func(chunks int) func() {
		return func() {
			r.do("POST", "/v1/sessions/"+session+"/messages",
				doc{"content": fmt.Sprintf("demo:chunks=%d", chunks)}).want(201)
			r.do("GET", "/v1/sessions/"+session, nil).want(200)
		}
	}
	post(20)()
	all := func(string) bool { return true }
	short, long := len(m.count(all, post(20))), len(m.count(all, post(2000)))
	t.Logf("statements of a turn: %d with 20 chunks, %d with 2,000", short, long)
	if long > short+50 {
		t.Errorf("%d statements with 20 chunks, %d with 2,000", short, long)
	}
	for i, events := range steps(t, r, session)[1:] { // the first started the session
		if want := []int{3, 1}[i%2]; events != want {
			t.Errorf("append %d has %d events, want %d", i, events, want)
		}
	}
}

// steps gives the number of events of each append to a session.
func steps(t *testing.T, r *rig, session string) []int {
	t.Helper()
	at := eventstore.Config{Address: r.away}
	if r.away == "" {
		at.Socket = filepath.Join(r.data, "node.sock")
	}
	store, err := eventstore.Open(at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	org := r.do("GET", "/v1/me", nil).want(200).str("org", "id")
	stream := "session-" + strings.TrimPrefix(org, "org_") + "_" + strings.TrimPrefix(session, "ses_")
	var counts []int
	var last uuid.UUID
	for raw, err := range store.Read(t.Context(), stream, 0, eventlog.Forwards, 0) {
		if err != nil {
			t.Fatal(err)
		}
		rec, err := eventlog.Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		if rec.Meta.Step != last {
			counts, last = append(counts, 0), rec.Meta.Step
		}
		counts[len(counts)-1]++
	}
	return counts
}
