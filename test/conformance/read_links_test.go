package conformance

import (
	"slices"
	"testing"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"

	"prelude/test/conformance/wire"
)

// linked makes a stream of links to the given targets.
func linked(t *testing.T, c *wire.Client, targets ...string) (links string) {
	t.Helper()
	links = named(t, "links")
	for i, target := range targets {
		a := c.Send(links, int64(i)-1, wire.Message(uuid.New(), "$>", target))
		if a.Err != nil || a.Wrong != nil {
			t.Fatal(a.Err, a.Wrong)
		}
	}
	return links
}

func resolved(o *api.ReadReq_Options) *api.ReadReq_Options {
	o.ResolveLinks = true
	return o
}

func linksResolved(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	c.Must(s, wire.NoStream, s+"a")
	at := c.Must(s, 0, s+"b").Pos
	links := linked(t, c, "1@"+s)
	got, err := c.Read(resolved(wire.OfStream(links)))
	if err != nil || len(got) != 1 {
		t.Fatalf("%d events, %v", len(got), err)
	}
	e := got[0].GetEvent()
	if string(e.GetEvent().GetData()) != `{"id":"`+s+`b"}` || e.GetEvent().GetStreamRevision() != 1 ||
		e.GetEvent().GetCommitPosition() != uint64(at) ||
		e.GetEvent().GetPreparePosition() != uint64(at) {
		t.Errorf("the target is %v", e.GetEvent())
	}
	if string(e.GetLink().GetStreamIdentifier().GetStreamName()) != links ||
		e.GetLink().GetCommitPosition() != e.GetCommitPosition() ||
		e.GetLink().GetPreparePosition() != e.GetCommitPosition() {
		t.Errorf("the link is %v", e.GetLink())
	}
}

func linksBroken(t *testing.T, c *wire.Client) {
	t.Helper()
	s, gone := stream(t, c, 3), named(t, "gone")
	prepare(c, gone, "abc deleted", []string{gone + "a", gone + "b", gone + "c"})
	c.SetMeta(s, `{"$tb":1}`)
	counted, buried := stream(t, c, 3), named(t, "buried")
	c.SetMeta(counted, `{"$maxCount":1}`)
	prepare(c, buried, "abc buried", []string{buried + "a", buried + "b", buried + "c"})
	links := linked(t, c, "0@"+s, "9@"+s, "0@"+gone, "0@"+named(t, "never"), "1@"+counted, "0@"+buried)
	got, err := c.Read(resolved(wire.OfStream(links)))
	if err != nil || len(got) != 6 {
		t.Fatalf("%d events, %v", len(got), err)
	}
	for i, m := range got {
		if e := m.GetEvent(); e.GetEvent() != nil || e.GetLink().GetStreamRevision() != uint64(i) {
			t.Errorf("link %d gives %v", i, e)
		}
	}
}

func linksUnresolved(t *testing.T, c *wire.Client) {
	t.Helper()
	s := stream(t, c, 1)
	got, err := c.Read(wire.OfStream(linked(t, c, "0@"+s)))
	if err != nil || len(got) != 1 {
		t.Fatalf("%d events, %v", len(got), err)
	}
	if e := got[0].GetEvent(); e.GetLink() != nil || string(e.GetEvent().GetData()) != "0@"+s {
		t.Errorf("got %v", e)
	}
}

// told is a read by a client that understands where a stream begins and ends.
func told(o *api.ReadReq_Options) *api.ReadReq_Options {
	o.ControlOption = &api.ReadReq_Options_ControlOption{Compatibility: 1}
	return o
}

func tellsLast(t *testing.T, c *wire.Client) {
	t.Helper()
	s := stream(t, c, 5)
	for name, o := range map[string]*api.ReadReq_Options{
		"forwards": wire.OfStream(s), "backwards": wire.Backwards(wire.AtEnd(wire.OfStream(s))),
		"beyond the end": wire.AtRevision(wire.OfStream(s), 5),
	} {
		got, err := c.Read(told(o))
		if err != nil || len(got) == 0 {
			t.Fatalf("%s: %d messages, %v", name, len(got), err)
		}
		last, ok := got[len(got)-1].GetContent().(*api.ReadResp_LastStreamPosition)
		if !ok || last.LastStreamPosition != 4 {
			t.Errorf("%s: the last message is %v", name, got[len(got)-1])
		}
	}
}

func tellsFirst(t *testing.T, c *wire.Client) {
	t.Helper()
	s := stream(t, c, 100)
	c.SetMeta(s, `{"$tb":50}`)
	firsts := func(o *api.ReadReq_Options) (all []uint64) {
		t.Helper()
		got, err := c.Read(told(o))
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range got {
			if f, ok := m.GetContent().(*api.ReadResp_FirstStreamPosition); ok {
				all = append(all, f.FirstStreamPosition)
				if i != 0 {
					t.Errorf("it comes as number %d", i)
				}
			}
		}
		return all
	}
	// Pages have 32 events, or fewer where fewer are asked for.
	if got := firsts(wire.OfStream(s)); !slices.Equal(got, []uint64{50}) {
		t.Errorf("from the start: %v", got)
	}
	if got := firsts(wire.Count(wire.AtRevision(wire.OfStream(s), 45), 3)); !slices.Equal(got, []uint64{50}) {
		t.Errorf("a small page from 45: %v", got)
	}
	if got := firsts(wire.AtRevision(wire.OfStream(s), 40)); got != nil {
		t.Errorf("a page that reaches the bound: %v", got)
	}
	if got := firsts(wire.Backwards(wire.AtEnd(wire.OfStream(s)))); got != nil {
		t.Errorf("backwards: %v", got)
	}
}

func tellsNobodyElse(t *testing.T, c *wire.Client) {
	t.Helper()
	s := stream(t, c, 2)
	all := told(wire.Filtered(wire.Options(), wire.Filter{Prefixes: []string{s}, Window: 32, Multiplier: 1}))
	for name, o := range map[string]*api.ReadReq_Options{"older": wire.OfStream(s), "all": all} {
		if got, err := c.Read(o); err != nil || len(got) != 2 {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
}
