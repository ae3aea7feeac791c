package conformance

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protowire"

	"prelude/test/conformance/wire"
)

// checkpointInterval asks for what is not there: then the checkpoints are at every so many events
// of the whole log, whoever wrote them.
func checkpointInterval(t *testing.T, c *wire.Client) {
	t.Helper()
	const window, multiplier, several = 3, 2, 4
	at := scattered(c, named(t, "s"), several*window*multiplier+1)
	got, err := c.Read(wire.Count(wire.From(at[0]), several*window*multiplier+1))
	if err != nil {
		t.Fatal(err)
	}
	log := wire.PositionsOf(got)[1:] // what comes after the first
	sub := c.Subscribe(wire.Filtered(wire.From(at[0]), wire.Filter{
		Prefixes: []string{"never-" + uuid.NewString()}, Window: window, Multiplier: multiplier,
	}))
	for i := range several {
		sub.Expect(fmt.Sprint("checkpoint ", log[(i+1)*window*multiplier-1]))
	}
}

// The place of the last event considered is told before the subscription is live.
func checkpointAtEnd(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	last := scattered(c, s, 5)[4]
	c.Must(named(t, "other"), wire.NoStream, s)
	sub := c.Subscribe(only(wire.From(last), "never-"+s))
	m, err := sub.Call.Recv()
	if err != nil || m.GetCheckpoint().GetCommitPosition() <= uint64(last) {
		t.Errorf("the first message is %v, %v", m, err)
	}
	sub.Expect("caught up")
}

func nothingRepeated(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	at := scattered(c, s, 20)
	sub := c.Subscribe(wire.Filtered(wire.From(at[0]), wire.Filter{
		Prefixes: []string{s + "1"}, Window: 2, Multiplier: 1,
	}))
	last := uint64(at[0])
	for word := false; !word; {
		m, err := sub.Call.Recv()
		if err != nil {
			t.Fatal(err)
		}
		pos := max(m.GetEvent().GetCommitPosition(), m.GetCheckpoint().GetCommitPosition())
		word = m.GetCaughtUp() != nil
		// A checkpoint may name the event that was just sent.
		if !word && (pos < last || pos == last && m.GetEvent() != nil) {
			t.Errorf("%d comes after %d", pos, last)
		}
		last = max(last, pos)
	}
}

// unknown takes apart the fields of a message that this module's protocol does not know.
func unknown(t *testing.T, b []byte) map[protowire.Number]any {
	t.Helper()
	all := map[protowire.Number]any{}
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			t.Fatal(protowire.ParseError(n))
		}
		b = b[n:]
		switch kind {
		case protowire.VarintType:
			v, n := protowire.ConsumeVarint(b)
			all[field], b = v, b[max(n, 0):]
		case protowire.BytesType:
			v, n := protowire.ConsumeBytes(b)
			all[field], b = v, b[max(n, 0):]
		default:
			t.Fatalf("field %d has the wire type %d", field, kind)
		}
	}
	return all
}

// recent says whether a field holds a Timestamp of about now.
func recent(t *testing.T, field any) bool {
	t.Helper()
	b, ok := field.([]byte)
	seconds, _ := unknown(t, b)[1].(uint64)
	return ok && time.Since(time.Unix(int64(seconds), 0)).Abs() < time.Hour
}

// untilCaughtUp skips messages up to the one that says so.
func untilCaughtUp(t *testing.T, sub *wire.Subscriber) map[protowire.Number]any {
	t.Helper()
	for {
		m, err := sub.Call.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if m.GetCaughtUp() != nil {
			return unknown(t, m.GetCaughtUp().ProtoReflect().GetUnknown())
		}
	}
}

func caughtUpInStream(t *testing.T, c *wire.Client) {
	t.Helper()
	s := stream(t, c, 3)
	got := untilCaughtUp(t, c.Subscribe(wire.OfStream(s)))
	if !recent(t, got[1]) || got[2] != uint64(2) || got[3] != nil {
		t.Errorf("got %v", got)
	}
}

func caughtUpInAll(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	at := scattered(c, s, 3)
	got := untilCaughtUp(t, c.Subscribe(only(wire.From(at[0]), s)))
	place, _ := got[3].([]byte)
	position := unknown(t, place)
	commit, _ := position[1].(uint64)
	if !recent(t, got[1]) || got[2] != nil || commit < uint64(at[2]) || position[2] != commit {
		t.Errorf("got %v, position %v, the last event is at %d", got, position, at[2])
	}
}

func checkpointSaysWhen(t *testing.T, c *wire.Client) {
	t.Helper()
	at := scattered(c, named(t, "s"), 3)
	sub := c.Subscribe(wire.Filtered(wire.From(at[0]), wire.Filter{
		Prefixes: []string{"never-" + uuid.NewString()}, Window: 1, Multiplier: 1,
	}))
	m, err := sub.Call.Recv()
	if err != nil || m.GetCheckpoint() == nil {
		t.Fatalf("got %v, %v", m, err)
	}
	if got := unknown(t, m.GetCheckpoint().ProtoReflect().GetUnknown()); !recent(t, got[3]) {
		t.Errorf("got %v", got)
	}
}
