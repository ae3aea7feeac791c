package conformance

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	"prelude/test/conformance/wire"
)

func TestSubscribe(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T, *wire.Client){
		"a stream from its start, then live":          subscribeStream,
		"a stream after a revision":                   subscribeAfterRevision,
		"a stream from its end":                       subscribeFromEnd,
		"a stream that does not exist yet":            subscribeMissing,
		"a deleted stream waits":                      subscribeDeleted,
		"a tombstone refuses":                         subscribeBuried,
		"a tombstone while live ends it":              subscribeBuriedLive,
		"truncated events are not shown":              subscribeTruncated,
		"links are resolved":                          subscribeLinks,
		"all after a position":                        subscribeAllAfter,
		"all from the end":                            subscribeAllFromEnd,
		"all from within an event":                    subscribeAllWithin,
		"all from the largest number, the end":        subscribeAllFromLargest,
		"all from no position is refused":             subscribeAllInvalid,
		"all filtered by stream and by type":          subscribeFiltered,
		"checkpoints come at their interval":          checkpointInterval,
		"a checkpoint comes before caught up":         checkpointAtEnd,
		"an event passed is not repeated":             nothingRepeated,
		"a filter without a window is refused":        subscribeRefuses,
		"caught up says when and where in a stream":   caughtUpInStream,
		"caught up says when and where in all":        caughtUpInAll,
		"checkpoints say when":                        checkpointSaysWhen,
		"last and first revision are never sent":      subscribeTellsNothing,
		"the client gets events and checkpoints":      clientSubscribes,
		"the client sees a tombstone as gRPC's error": clientSeesTombstone,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, plain(t))
		})
	}
}

func data(s string, ids ...any) (all []string) {
	for _, i := range ids {
		all = append(all, fmt.Sprintf(`{"id":"%s%v"}`, s, i))
	}
	return all
}

func subscribeStream(t *testing.T, c *wire.Client) {
	t.Helper()
	s := stream(t, c, 3)
	sub := c.Subscribe(wire.OfStream(s))
	sub.Expect(append(data(s, 0, 1, 2), "caught up")...)
	c.Must(named(t, "other"), wire.NoStream, "x")
	c.Must(s, 2, s+"3", s+"4")
	sub.Expect(data(s, 3, 4)...)
}

func subscribeAfterRevision(t *testing.T, c *wire.Client) {
	t.Helper()
	s := stream(t, c, 3)
	c.Subscribe(wire.AtRevision(wire.OfStream(s), 1)).Expect(append(data(s, 2), "caught up")...)
}

func subscribeFromEnd(t *testing.T, c *wire.Client) {
	t.Helper()
	s := stream(t, c, 3)
	sub := c.Subscribe(wire.AtEnd(wire.OfStream(s)))
	sub.Expect("caught up")
	c.Must(s, 2, s+"3")
	sub.Expect(data(s, 3)...)
}

func subscribeMissing(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	sub := c.Subscribe(wire.OfStream(s))
	sub.Expect("caught up")
	c.Must(s, wire.NoStream, s+"a")
	sub.Expect(data(s, "a")...)
}

func subscribeDeleted(t *testing.T, c *wire.Client) {
	t.Helper()
	s := stream(t, c, 3)
	if a := c.Delete(s, wire.Any); a.Err != nil {
		t.Fatal(a.Err)
	}
	sub := c.Subscribe(wire.OfStream(s))
	sub.Expect("caught up")
	c.Must(s, 2, s+"3")
	sub.Expect(data(s, 3)...)
}

func subscribeBuried(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	prepare(c, s, "buried", nil)
	_, err := c.Read(wire.Subscribed(wire.OfStream(s)))
	if wire.Code(err) != codes.FailedPrecondition {
		t.Errorf("it ends with %v", err)
	}
}

func subscribeBuriedLive(t *testing.T, c *wire.Client) {
	t.Helper()
	s := stream(t, c, 1)
	sub := c.Subscribe(wire.OfStream(s))
	sub.Expect(append(data(s, 0), "caught up")...)
	prepare(c, s, "buried", nil)
	m, err := sub.Call.Recv()
	e := m.GetEvent().GetEvent()
	if err != nil || e.GetMetadata()["type"] != "$streamDeleted" || e.GetStreamRevision() != 1<<63-1 {
		t.Errorf("got %v, %v", m, err)
	}
	sub.Expect(codes.FailedPrecondition.String())
}

func subscribeTruncated(t *testing.T, c *wire.Client) {
	t.Helper()
	s := stream(t, c, 5)
	c.SetMeta(s, `{"$tb":3}`)
	c.Subscribe(wire.OfStream(s)).Expect(append(data(s, 3, 4), "caught up")...)
}

func subscribeLinks(t *testing.T, c *wire.Client) {
	t.Helper()
	s := stream(t, c, 2)
	links := linked(t, c, "1@"+s)
	sub := c.Subscribe(resolved(wire.OfStream(links)))
	sub.Expect(append(data(s, 1), "caught up")...)
	a := c.Send(links, 0, wire.Message(uuid.New(), "$>", "0@"+s))
	if a.Err != nil {
		t.Fatal(a.Err)
	}
	sub.Expect(data(s, 0)...)
}

// only lets pass what is the test's own; its checkpoints are so rare that none comes between.
func only(o *api.ReadReq_Options, s string) *api.ReadReq_Options {
	return wire.Filtered(o, wire.Filter{Prefixes: []string{s}, Window: 1 << 20, Multiplier: 100})
}

func subscribeAllAfter(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	at := scattered(c, s, 5)
	sub := c.Subscribe(only(wire.From(at[1]), s))
	sub.Expect(data(s, 2, 3, 4)...)
	m, err := sub.Call.Recv() // a checkpoint comes where others wrote meanwhile
	for err == nil && m.GetCheckpoint() != nil {
		m, err = sub.Call.Recv()
	}
	if err != nil || m.GetCaughtUp() == nil {
		t.Fatalf("got %v, %v", m, err)
	}
	c.Must(s+"x", wire.NoStream, s+"5")
	sub.Expect(data(s, 5)...)
}

func subscribeAllFromEnd(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	scattered(c, s, 3)
	sub := c.Subscribe(only(wire.FromEnd(), s))
	for word := ""; word != "caught up"; {
		if word = sub.Next(); word == data(s, 2)[0] {
			t.Fatal("an event from before came")
		}
	}
	c.Must(s+"x", wire.NoStream, s+"3")
	sub.Expect(data(s, 3)...)
}

// A subscription from within an event goes on from the next, or is refused.
func subscribeAllWithin(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	at := scattered(c, s, 1)[0]
	call, err := c.Streams.Read(wire.Within(t), &api.ReadReq{
		Options: wire.Subscribed(only(wire.From(at+1), s)),
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Must(s+"x", wire.NoStream, s+"1")
	for {
		m, err := call.Recv()
		switch {
		case wire.Code(err) == codes.InvalidArgument:
			return
		case err != nil:
			t.Fatal(err)
		case m.GetEvent() == nil:
		case string(m.GetEvent().GetEvent().GetData()) != data(s, 1)[0]:
			t.Fatalf("got %v", m)
		default:
			return
		}
	}
}

// From the largest number twice it is live at once, as from the end.
func subscribeAllFromLargest(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	scattered(c, s, 3)
	sub := c.Subscribe(only(wire.From(-1), s))
	word := sub.Next()
	for strings.HasPrefix(word, "checkpoint") {
		word = sub.Next()
	}
	if word != "caught up" {
		t.Fatalf("got %s", word)
	}
	c.Must(s+"x", wire.NoStream, s+"3")
	sub.Expect(data(s, 3)...)
}

// What can be no position is refused, before the subscription is confirmed or after it.
func subscribeAllInvalid(t *testing.T, c *wire.Client) {
	t.Helper()
	o := wire.From(1)
	o.GetAll().GetPosition().PreparePosition = 2
	_, err := c.Read(wire.Subscribed(o))
	mistaken(t, "it", err)
}

func subscribeFiltered(t *testing.T, c *wire.Client) {
	t.Helper()
	s, kind := named(t, "s"), "typed-"+uuid.NewString()
	scattered(c, s, 6)
	c.Send(s+"typed", wire.NoStream, wire.Message(uuid.New(), kind, `"typed"`))
	const window, multiplier = 1 << 20, 100
	for name, rule := range map[string]struct {
		f    wire.Filter
		want []string
	}{
		"prefixes":   {wire.Filter{Prefixes: []string{"no-", s + "0"}}, data(s, 0, 3)},
		"a pattern":  {wire.Filter{Regex: "^" + s + "[01]$"}, data(s, 0, 1, 3, 4)},
		"look-ahead": {wire.Filter{Regex: "^" + s + "(?![01])[^t]"}, data(s, 2, 5)},
		"a type":     {wire.Filter{ByType: true, Prefixes: []string{kind}}, []string{`"typed"`}},
		"type's end": {wire.Filter{ByType: true, Regex: kind[6:] + "$"}, []string{`"typed"`}},
	} {
		rule.f.Window, rule.f.Multiplier = window, multiplier
		sub := c.Subscribe(wire.Filtered(wire.Options(), rule.f))
		for _, want := range rule.want {
			if got := sub.Next(); got != want {
				t.Errorf("%s: got %s, want %s", name, got, want)
			}
		}
	}
}

func subscribeRefuses(t *testing.T, c *wire.Client) {
	t.Helper()
	for name, f := range map[string]wire.Filter{
		"no interval":   {Prefixes: []string{"a"}, Window: 32},
		"no expression": {Regex: "(?<", Window: 32, Multiplier: 1},
	} {
		_, err := c.Read(wire.Subscribed(wire.Filtered(wire.Options(), f)))
		mistaken(t, name, err)
	}
}

func subscribeTellsNothing(t *testing.T, c *wire.Client) {
	t.Helper()
	s := stream(t, c, 2)
	c.Subscribe(told(wire.OfStream(s))).Expect(append(data(s, 0, 1), "caught up")...)
}

func clientSubscribes(t *testing.T, w *wire.Client) {
	t.Helper()
	c, s := official(t), named(t, "s")
	at := scattered(w, s, 6)
	sub, err := c.SubscribeToAll(wire.Within(t), esdb.SubscribeToAllOptions{
		From:               esdb.Position{Commit: uint64(at[0]), Prepare: uint64(at[0])},
		CheckpointInterval: 1, MaxSearchWindow: 2,
		Filter: &esdb.SubscriptionFilter{Type: esdb.StreamFilterType, Prefixes: []string{s + "1"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := sub.Close(); err != nil {
			t.Error(err)
		}
	}()
	var events []uint64
	var checkpoints int
	for live := false; !live; {
		m := sub.Recv()
		switch {
		case m.SubscriptionDropped != nil:
			t.Fatal(m.SubscriptionDropped.Error)
		case m.EventAppeared != nil:
			events = append(events, m.EventAppeared.OriginalEvent().Position.Commit)
		case m.CheckPointReached != nil:
			checkpoints++
		case m.CaughtUp != nil:
			live = true
		}
	}
	if want := []uint64{uint64(at[1]), uint64(at[4])}; !slices.Equal(events, want) || checkpoints < 2 {
		t.Errorf("got %v and %d checkpoints, want %v", events, checkpoints, want)
	}
}

func clientSeesTombstone(t *testing.T, w *wire.Client) {
	t.Helper()
	c, s := official(t), stream(t, w, 1)
	sub, err := c.SubscribeToStream(wire.Within(t), s, esdb.SubscribeToStreamOptions{From: esdb.Start{}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := sub.Close(); err != nil {
			t.Error(err)
		}
	}()
	prepare(w, s, "buried", nil)
	for {
		m := sub.Recv()
		if m.SubscriptionDropped != nil {
			if got := wire.Code(m.SubscriptionDropped.Error); got != codes.FailedPrecondition {
				t.Errorf("it ends with %v", got)
			}
			return
		}
	}
}
