package esnode

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"prelude/test/conformance/wire"
)

// An append of no events repeats nothing: where it expects what is past, it is refused.
func TestAppend_of_nothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Must("s", noStream, "a", "b")
	r.Must("gone", noStream, "c")
	if a := r.Delete("gone", anyRevision); a.Err != nil {
		t.Fatal(a.Err)
	}
	end := r.Must("other", noStream, "d").Pos
	for _, rule := range []struct {
		stream   string
		expected int64
		wrong    bool
	}{
		{"s", noStream, true}, {"s", 0, true}, {"s", 2, true}, {"never", 0, true}, {"never", streamExists, true},
		{"gone", noStream, true},
		{"s", 1, false}, {"s", anyRevision, false}, {"s", streamExists, false}, {"never", noStream, false},
		{"never", anyRevision, false}, {"gone", 0, false},
	} {
		a := r.Append(rule.stream, rule.expected)
		if a.Err != nil || (a.Wrong != nil) != rule.wrong {
			t.Errorf("%s at %d: %v, %v", rule.stream, rule.expected, a.Wrong, a.Err)
		}
		if !rule.wrong && a.Pos != end {
			t.Errorf("%s at %d: position %d, the end is %d", rule.stream, rule.expected, a.Pos, end)
		}
	}
	b := r.Batch(wire.Within(t))
	b.Send(wire.Text(uuid.New()), wire.BatchOptions("never", noStream), true)
	got := b.Next().GetSuccess()
	if got.GetNoStream() == nil || got.GetPosition().GetCommitPosition() != uint64(end) {
		t.Errorf("in a batch: %v, the end is %d", got, end)
	}
}

// sendAt appends at a revision as the wire has it.
func (r *rig) sendAt(t *testing.T, stream string, revision uint64) *api.AppendResp {
	t.Helper()
	call, err := r.Streams.Append(wire.Within(t))
	if err != nil {
		t.Fatal(err)
	}
	o := &api.AppendReq_Options{
		StreamIdentifier:       wire.Stream(stream),
		ExpectedStreamRevision: &api.AppendReq_Options_Revision{Revision: revision},
	}
	for _, m := range []*api.AppendReq{
		{Content: &api.AppendReq_Options_{Options: o}},
		{Content: &api.AppendReq_ProposedMessage_{ProposedMessage: wire.Message(uuid.New(), "tested", "{}")}},
	} {
		if err := call.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	resp, err := call.CloseAndRecv()
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// -1 as a number without a sign is no stream; the largest revision is one that no stream has.
func TestAppend_at_the_largest_revisions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if got := r.sendAt(t, "s", math.MaxUint64); got.GetSuccess() == nil {
		t.Errorf("-1 of a missing stream: %v", got)
	}
	if w := r.sendAt(t, "s", math.MaxUint64).GetWrongExpectedVersion(); w.GetExpectedNoStream() == nil {
		t.Errorf("-1 of one that is there: %v", w)
	}
	if w := r.sendAt(t, "s", math.MaxInt64).GetWrongExpectedVersion(); w.GetExpectedRevision() != math.MaxInt64 {
		t.Errorf("the largest: %v", w)
	}
}

// Clients of version 20.6 read a refusal from fields of their own.
func TestAppend_refuses_in_both_versions_fields(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Must("s", noStream, "a", "b")
	w := r.Append("s", 5, "c").Wrong
	if w.GetExpectedRevision_20_6_0() != 5 || w.GetCurrentRevision_20_6_0() != 1 ||
		w.GetExpectedRevision() != 5 || w.GetCurrentRevision() != 1 {
		t.Errorf("an exact one: %v", w)
	}
	w = r.Append("never", streamExists, "c").Wrong
	if w.GetStreamExists_20_6_0() == nil || w.GetNoStream_20_6_0() == nil {
		t.Errorf("exists: %v", w)
	}
	if w = r.Append("s", anyRevision, "b", "x").Wrong; w.GetAny_20_6_0() == nil {
		t.Errorf("any: %v", w)
	}
}

// A repeat is found in the log; its position only where the stream shows the event.
func TestAppend_repeat_of_what_is_hidden_has_no_position(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, hide := range map[string]func(s string){
		"truncated": func(s string) { r.SetMeta(s, `{"$tb":2}`) },
		"counted":   func(s string) { r.SetMeta(s, `{"$maxCount":1}`) },
		"deleted": func(s string) {
			if a := r.Delete(s, anyRevision); a.Err != nil {
				t.Fatal(a.Err)
			}
		},
	} {
		first := r.Must(name, noStream, name+"a", name+"b")
		r.Must(name, 1, name+"c")
		for _, expected := range []int64{noStream, anyRevision} {
			if a := r.Must(name, expected, name+"a", name+"b"); a.Pos != first.Pos || a.Rev != 1 {
				t.Errorf("before it is %s, expected %d: %d at %d", name, expected, a.Rev, a.Pos)
			}
		}
		hide(name)
		for _, expected := range []int64{noStream, anyRevision} {
			if a := r.Must(name, expected, name+"a", name+"b"); a.Pos != 0 || a.Rev != 1 {
				t.Errorf("%s, expected %d: %d at %d", name, expected, a.Rev, a.Pos)
			}
		}
		b := r.Batch(wire.Within(t))
		b.Send(wire.Text(uuid.New()), wire.BatchOptions(name, noStream), true, name+"a", name+"b")
		if got := b.Next().GetSuccess(); got.GetNoPosition() == nil || got.GetCurrentRevision() != 1 {
			t.Errorf("%s, in a batch: %v", name, got)
		}
	}
}

// What a real store meets an exception in ends with UNKNOWN and without a reason; in a batch it is a bad
// request.
func TestRefusal_as_an_exception(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	untyped := wire.Message(uuid.New(), "", "{}")
	nameless := wire.Message(uuid.Nil, "tested", "{}")
	for name, m := range map[string]*api.AppendReq_ProposedMessage{"no type": untyped, "no id": nameless} {
		a := r.Send("s", noStream, m)
		if wire.Code(a.Err) != codes.Unknown || !strings.Contains(a.Err.Error(), "Exception was thrown by handler.") {
			t.Errorf("%s: %v", name, a.Err)
		}
		b := r.Batch(wire.Within(t))
		b.SendMessages(wire.Text(uuid.New()), wire.BatchOptions("s", noStream), true,
			&api.BatchAppendReq_ProposedMessage{Id: m.Id, Metadata: m.Metadata, Data: m.Data})
		if e := b.Next().GetError(); codes.Code(e.GetCode()) != codes.InvalidArgument {
			t.Errorf("%s, in a batch: %v", name, e)
		}
	}
	delete(untyped.Metadata, "type")
	if a := r.Send("s", noStream, untyped); wire.Code(a.Err) != codes.InvalidArgument ||
		!strings.Contains(a.Err.Error(), "Required Metadata Property 'type' is missing") {
		t.Errorf("a missing type: %v", a.Err)
	}
	pattern := wire.Filtered(wire.Options(), wire.Filter{Regex: "(?<", Window: 32, Multiplier: 1})
	if _, err := r.Read(pattern); wire.Code(err) != codes.Unknown {
		t.Errorf("a pattern that is none: %v", err)
	}
	if _, err := r.Read(wire.Subscribed(filteredBy(wire.Options(), "s", 0))); wire.Code(err) != codes.Unknown {
		t.Errorf("a subscription with a window of 0: %v", err)
	}
}

func TestRefusal_of_a_removal_says_so(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	want := "Delete failed due to WrongExpectedVersion. Stream: never, Expected version: 0, Actual version: -1"
	for name, a := range map[string]wire.Answer{"delete": r.Delete("never", 0), "tombstone": r.Tombstone("never", 0)} {
		if wire.Code(a.Err) != codes.FailedPrecondition || !strings.Contains(a.Err.Error(), want) {
			t.Errorf("%s: %v", name, a.Err)
		}
	}
}

// A real store that finds a tombstone of a deleted stream's metadata cannot start again: our node makes none.
func TestTombstone_of_metadata_is_refused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Must("s", noStream, "a")
	r.SetMeta("s", `{"$maxCount":1}`)
	for _, name := range []string{"$$s", "$$never", "$$$settings"} {
		a := r.Tombstone(name, anyRevision)
		if wire.Code(a.Err) != codes.InvalidArgument || !strings.Contains(a.Err.Error(), "cannot start again") {
			t.Errorf("%s: %v", name, a.Err)
		}
	}
	if a := r.Delete("s", anyRevision); a.Err != nil {
		t.Error(a.Err)
	}
	r.SetMeta("s", `{"$maxCount":2}`)
}

// The metadata of a stream with a tombstone can be written, and not read; they bring nothing back.
func TestTombstone_metadata_can_still_be_written(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, before := range map[string]func(s string){
		"of events":   func(s string) { r.Must(s, noStream, s) },
		"of metadata": func(s string) { r.SetMeta(s, `{"$maxCount":1}`) },
		"deleted": func(s string) {
			r.Must(s, noStream, s)
			if a := r.Delete(s, anyRevision); a.Err != nil {
				t.Fatal(a.Err)
			}
		},
		"of nothing": func(string) {},
	} {
		before(name)
		if a := r.Tombstone(name, anyRevision); a.Err != nil {
			t.Fatal(a.Err)
		}
		meta := r.Send("$$"+name, anyRevision, wire.Message(uuid.New(), metadataType, `{"$maxCount":9}`))
		must(r, meta)
		if got, err := r.Read(wire.From(meta.Pos)); err != nil || len(got) != 1 {
			t.Errorf("%s: more was written: %v, %v", name, got, err)
		}
		for _, s := range []string{name, "$$" + name} {
			if _, err := r.Read(wire.OfStream(s)); wire.Code(err) != codes.FailedPrecondition {
				t.Errorf("%s can be read: %v", s, err)
			}
			if _, err := r.Read(wire.Subscribed(wire.OfStream(s))); wire.Code(err) != codes.FailedPrecondition {
				t.Errorf("%s can be subscribed to: %v", s, err)
			}
		}
		if a := r.Append(name, anyRevision, "more"); a.Exception() != "stream-deleted" {
			t.Errorf("%s can be written: %v", name, a.Err)
		}
	}
}

// In one commit refusals overtake what was written.
func TestBatchAppend_refusals_overtake(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if a := r.Tombstone("buried", anyRevision); a.Err != nil {
		t.Fatal(a.Err)
	}
	release := r.held()
	b := r.Batch(wire.Within(t))
	// The writer is held within the first; the others are one commit.
	for i, s := range []string{"first", "ok", "wrong", "fine", "buried"} {
		expected := int64(noStream)
		if s == "wrong" {
			expected = 7
		}
		b.Send(wire.Text(wire.ID(s)), wire.BatchOptions(s, expected), true, string(rune('a'+i)))
	}
	b.Send(wire.Text(uuid.New()), wire.BatchOptions("", noStream), true)
	b.Next() // a mistake needs no writer: those before it were handed in
	release()
	var got []string
	for range 5 {
		got = append(got, string(b.Next().GetStreamIdentifier().GetStreamName()))
	}
	at := func(s string) int { return slices.Index(got, s) }
	if at("wrong") > at("ok") || at("buried") > at("fine") || at("wrong") > at("buried") || at("ok") > at("fine") {
		t.Errorf("the answers came in the order %v", got)
	}
}

// A link whose text is none is an event as any other.
func TestLinks_that_are_none(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Must("s", noStream, "a")
	for rev, text := range []string{"", "0", "@s", "no number@s", "0.5@s", "0@s", "9@s"} {
		a := r.Send("links", int64(rev)-1, wire.Message(uuid.New(), linkType, text))
		if a.Err != nil || a.Wrong != nil {
			t.Fatal(a.Err, a.Wrong)
		}
	}
	o := wire.OfStream("links")
	o.ResolveLinks = true
	got, err := r.Read(o)
	if err != nil || len(got) != 7 {
		t.Fatalf("%d events, %v", len(got), err)
	}
	for i, m := range got {
		e := m.GetEvent()
		if none := i < 5; (e.GetLink() == nil) != none || (e.GetEvent() == nil) != (i == 6) {
			t.Errorf("link %d is given as %v", i, e)
		}
	}
}

// Requests may be compressed.
func TestRequests_compressed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	call, err := r.Streams.BatchAppend(wire.Within(t), grpc.UseCompressor("gzip"))
	if err != nil {
		t.Fatal(err)
	}
	err = call.Send(&api.BatchAppendReq{
		CorrelationId: wire.Text(uuid.New()), Options: wire.BatchOptions("s", noStream), IsFinal: true,
		ProposedMessages: wire.BatchMessages(strings.Repeat("a", 10_000)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := call.Recv(); err != nil || got.GetSuccess() == nil {
		t.Errorf("got %v, %v", got, err)
	}
	o := &api.ReadReq{Options: wire.OfStream("s")}
	read, err := r.Streams.Read(wire.Within(t), o, grpc.UseCompressor("gzip"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read.Recv(); err != nil || got.GetEvent() == nil {
		t.Errorf("read %v, %v", got, err)
	}
}

// The default limit of an append is a real store's, and is told in each kind of call's own way.
func TestSizes_of_an_append(t *testing.T) {
	t.Parallel()
	for name, rule := range map[string]struct {
		cfg   Config
		limit int
	}{"by default": {Config{}, 1 << 20}, "raised": {Config{MaxAppendSize: 3 << 20}, 3 << 20}} {
		r := newRigWith(t, rule.cfg)
		half := rule.limit / 2
		if a := r.Send("s", noStream, sized("a", half), sized("b", half)); a.Err != nil {
			t.Fatalf("%s: the largest: %v", name, a.Err)
		}
		for what, sizes := range map[string][]int{"two": {half, half + 1}, "one": {rule.limit + 1}} {
			var one []*api.AppendReq_ProposedMessage
			var batch []*api.BatchAppendReq_ProposedMessage
			for i, size := range sizes {
				m := sized(what+string(rune('a'+i)), size)
				one = append(one, m)
				batch = append(batch, &api.BatchAppendReq_ProposedMessage{Id: m.Id, Metadata: m.Metadata, Data: m.Data})
			}
			a := r.Send("s", 1, one...)
			if wire.Code(a.Err) != codes.InvalidArgument || a.Exception() != "maximum-append-size-exceeded" {
				t.Errorf("%s, %s: %v, %v", name, what, a.Err, a.Trailers)
			}
			b, detail := r.Batch(wire.Within(t)), &shared.MaximumAppendSizeExceeded{}
			b.SendMessages(wire.Text(uuid.New()), wire.BatchOptions("s", 1), true, batch...)
			e := b.Next().GetError()
			if codes.Code(e.GetCode()) != codes.InvalidArgument || len(e.GetDetails()) != 1 ||
				e.GetDetails()[0].UnmarshalTo(detail) != nil || detail.MaxAppendSize != uint32(rule.limit) {
				t.Errorf("%s, %s, in a batch: %v", name, what, e)
			}
		}
	}
	for _, size := range []int{-1, largestAppend + 1} {
		if _, err := Start(t.Context(), Config{Dir: t.TempDir(), MaxAppendSize: size}); err == nil ||
			!strings.Contains(err.Error(), "largest append") {
			t.Errorf("a limit of %d: %v", size, err)
		}
	}
}
