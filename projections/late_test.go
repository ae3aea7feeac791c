package projections

import (
	"context"
	"slices"
	"testing"

	"prelude/domain/session"
	"prelude/internal/eventlog"
)

// heldBack is a log in which one session waits for its unparking, with the reader of it stopped at the log's end.
type heldBack struct {
	*author
	session *thing[session.Session, session.Event]
	dsn     string
	engine  *Engine
	out     Reader
	hand    func(eventlog.CloudEvent) // what the consumer does with each event
	sent    []eventlog.CloudEvent     // of the session, as they came
}

func newHeldBack(t *testing.T, seed uint64) *heldBack {
	t.Helper()
	log := newLog(t)
	pool, dsn := database(t)
	h := &heldBack{author: write(t, log, seed, 20), dsn: dsn, hand: func(eventlog.CloudEvent) {}}
	h.session = h.sessions[0]
	h.out = OutReader(takers{func(_ context.Context, ev eventlog.CloudEvent) error {
		if ev.Subject == h.session.stream.Object() {
			h.sent = append(h.sent, ev)
			h.hand(ev)
		}
		return nil
	}})
	h.engine = newEngine(log, pool, h.out)
	h.park(0)
	h.pass()
	if len(h.sent) > 0 {
		t.Fatalf("%d events of the parked stream were sent", len(h.sent))
	}
	return h
}

// park holds the session back from a position on.
func (h *heldBack) park(from eventlog.Position) {
	h.t.Helper()
	execute(h.t, h.dsn, `INSERT INTO prelude.parked (reader, version, stream, pos, error, parked_at)
		VALUES ('out', 1, $1, $2, 'a test', clock_timestamp())`, h.session.stream.String(), int64(from))
}

// pass brings the reader to the log's end.
func (h *heldBack) pass() {
	h.t.Helper()
	if err := h.engine.Build(h.t.Context(), h.out, h.last, nil); err != nil {
		h.t.Fatal(err)
	}
}

// unpark unparks the session, and expects that it was sent out late, in order, from a revision on.
func (h *heldBack) unpark(from eventlog.Revision) {
	h.t.Helper()
	if err := h.engine.Unpark(h.t.Context(), h.out, h.session.stream); err != nil {
		h.t.Fatal(err)
	}
	var want []eventlog.Position
	records, err := h.engine.history(h.t.Context(), h.session.stream, from)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, rec := range records {
		want = append(want, rec.Position)
	}
	got := column(h.sent, func(ev eventlog.CloudEvent) eventlog.Position { return ev.Position })
	if !slices.Equal(got, want) || len(want) == 0 {
		h.t.Errorf("sent %v\nwant %v", got, want)
	}
	if slices.ContainsFunc(h.sent, func(ev eventlog.CloudEvent) bool { return !ev.Late }) {
		h.t.Error("an event is not marked as late")
	}
	if n := ask[int](h.t, h.dsn, "SELECT count(*) FROM prelude.parked"); n > 0 {
		h.t.Errorf("%d streams are parked", n)
	}
}

// A database ends transactions that stand idle, and a consumer may take as long as it likes.
func TestUnpark_holds_no_transaction_while_it_sends_out(t *testing.T) {
	t.Parallel()
	h := newHeldBack(t, 71)
	asked := 0
	h.hand = func(eventlog.CloudEvent) {
		asked++
		if n := ask[int](t, h.dsn, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
			AND pid <> pg_backend_pid() AND xact_start IS NOT NULL`); n > 0 {
			t.Errorf("%d transactions are open", n)
		}
	}
	h.unpark(0)
	if asked == 0 {
		t.Error("the consumer was not called")
	}
}

// What the reader passes while a stream is sent out is held back too: it comes after it, once.
func TestUnpark_sends_out_what_was_passed_meanwhile(t *testing.T) {
	t.Parallel()
	h := newHeldBack(t, 72)
	records, err := h.engine.history(t.Context(), h.session.stream, 0)
	if err != nil {
		t.Fatal(err)
	}
	newest, rounds := records[len(records)-1].Position, 1
	h.hand = func(ev eventlog.CloudEvent) {
		if ev.Position == newest && rounds < 4 {
			rounds++
			h.end(h.session, 0)
			h.post(h.session)
			newest = h.last
			h.pass()
		}
	}
	h.unpark(0)
	if rounds < 4 {
		t.Errorf("it was sent out in %d rounds, want 4", rounds)
	}
}

// A stream that others unparked and parked again waits from another event on: only that is sent.
func TestUnpark_begins_anew_where_a_stream_was_parked_anew(t *testing.T) {
	t.Parallel()
	h := newHeldBack(t, 73)
	h.end(h.session, 0)
	h.post(h.session)
	h.pass()
	from, at := h.session.revision, h.last
	h.hand = func(ev eventlog.CloudEvent) {
		if ev.Position == at { // the last of the first round
			execute(t, h.dsn, "DELETE FROM prelude.parked")
			h.park(at)
			h.sent, h.hand = nil, func(eventlog.CloudEvent) {}
		}
	}
	h.unpark(from)
}
