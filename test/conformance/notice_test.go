package conformance

import (
	"fmt"
	"testing"
	"time"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protowire"

	"prelude/test/conformance/wire"
)

// checkpointInterval asks for what is not there: then checkpoints come for about every so many events of the
// whole log, whoever wrote them. While it catches up, a store may place them by its own pages.
func checkpointInterval(t *testing.T, c *wire.Client) {
	t.Helper()
	const window, multiplier, several = 3, 2, 40
	s := named(t, "s")
	from := c.Must(s, wire.NoStream, s).Pos
	var ids []string
	for i := range several * window * multiplier {
		ids = append(ids, fmt.Sprint(s, i))
	}
	end := c.Must(s, 0, ids...).Pos
	sub := c.Subscribe(wire.Filtered(wire.From(from), wire.Filter{
		Prefixes: []string{"never-" + uuid.NewString()}, Window: window, Multiplier: multiplier,
	}))
	between := 0
	for word := false; !word; {
		m, err := sub.Call.Recv()
		if err != nil || m.GetEvent() != nil {
			t.Fatalf("got %v, %v", m, err)
		}
		word = m.GetCaughtUp() != nil
		c := m.GetCheckpoint()
		if c.GetPreparePosition() != c.GetCommitPosition() {
			t.Errorf("got %v", c)
		}
		if at := int64(c.GetCommitPosition()); at > from && at <= end {
			between++
		}
	}
	if between == 0 {
		t.Errorf("no checkpoint came in %d events", len(ids))
	}
}

// The checkpoint before caught-up is anywhere from the last event that matched, or where the subscription
// began, to the log's end. From the start and without a match that is before the first event: the largest
// number.
func checkpointAtEnd(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	at := scattered(c, s, 5)
	c.Must(named(t, "other"), wire.NoStream, s)
	for name, rule := range map[string]struct {
		o      *api.ReadReq_Options
		events int
		least  uint64
	}{
		"after a match":              {only(wire.From(at[0]), s), 4, uint64(at[4])},
		"without a match":            {only(wire.From(at[4]), "never-"+s), 0, uint64(at[4])},
		"from the start, without it": {only(wire.Options(), "never-"+s), 0, 1},
	} {
		sub := c.Subscribe(rule.o)
		for range rule.events {
			if m, err := sub.Call.Recv(); err != nil || m.GetEvent() == nil {
				t.Fatalf("%s: got %v, %v", name, m, err)
			}
		}
		m, err := sub.Call.Recv()
		if err != nil || m.GetCheckpoint().GetCommitPosition() < rule.least ||
			m.GetCheckpoint().GetPreparePosition() != m.GetCheckpoint().GetCommitPosition() {
			t.Errorf("%s: the message before caught-up is %v, %v", name, m, err)
		}
		sub.Expect("caught up")
	}
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
	if len(got) == 0 {
		return // up to version 24 it says neither
	}
	if !recent(t, got[1]) || got[2] != uint64(2) || got[3] != nil {
		t.Errorf("got %v", got)
	}
}

func caughtUpInAll(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	at := scattered(c, s, 3)
	got := untilCaughtUp(t, c.Subscribe(only(wire.From(at[0]), s)))
	if len(got) == 0 {
		return // up to version 24 it says neither
	}
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
	got := unknown(t, m.GetCheckpoint().ProtoReflect().GetUnknown())
	if len(got) > 0 && !recent(t, got[3]) {
		t.Errorf("got %v", got)
	}
}
