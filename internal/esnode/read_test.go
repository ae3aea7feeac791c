package esnode

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc/codes"
)

func at(position int64) *api.ReadReq_Options_All {
	return &api.ReadReq_Options_All{All: &api.ReadReq_Options_AllOptions{
		AllOption: &api.ReadReq_Options_AllOptions_Position{Position: &api.ReadReq_Options_Position{
			CommitPosition: uint64(position), PreparePosition: uint64(position),
		}},
	}}
}

func backwards(o *api.ReadReq_Options) *api.ReadReq_Options {
	o.ReadDirection = api.ReadReq_Options_Backwards
	return o
}

func positions(got []*api.ReadResp) (all []int64) {
	for _, m := range got {
		if e := m.GetEvent(); e != nil {
			all = append(all, int64(e.GetCommitPosition()))
		}
	}
	return all
}

func TestRead_all(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var all []int64
	for i := range 600 { // more than two pages
		all = append(all, r.must(fmt.Sprint("s", i%7), int64(i/7)-1, fmt.Sprint(i)).pos)
	}
	if all[0] == 0 || all[1]-all[0] < 2 {
		t.Errorf("positions begin %v", all[:2])
	}
	end := options()
	end.GetAll().AllOption = &api.ReadReq_Options_AllOptions_End{End: empty}
	from := func(position int64) *api.ReadReq_Options {
		o := options()
		o.StreamOption = at(position)
		return o
	}
	few := options()
	few.CountOption = &api.ReadReq_Options_Count{Count: 3}
	reversed := slices.Clone(all)
	slices.Reverse(reversed)
	for _, c := range []struct {
		name string
		o    *api.ReadReq_Options
		want []int64
	}{
		{"all from the start", options(), all},
		{"forwards includes the position", from(all[400]), all[400:]},
		{"backwards excludes it", backwards(from(all[3])), reversed[597:]},
		{"backwards from the end", backwards(end), reversed},
		{"the count ends it", few, all[:3]},
		{"nothing lies before the start", backwards(options()), nil},
	} {
		got, err := r.read(c.o)
		if err != nil || !slices.Equal(positions(got), c.want) {
			t.Errorf("%s: %d events, want %d, %v", c.name, len(got), len(c.want), err)
		}
	}
	end.ReadDirection = api.ReadReq_Options_Forwards
	if got, err := r.read(end); err != nil || len(got) > 0 {
		t.Errorf("something lies after the end: %v, %v", got, err)
	}
	for _, wrong := range []int64{all[2] + 1, all[599] + 1, all[599] + 1000} {
		if _, err := r.read(from(wrong)); code(err) != codes.Unknown {
			t.Errorf("position %d: %v", wrong, err)
		}
		if _, err := r.read(subscribed(from(wrong))); code(err) != codes.InvalidArgument {
			t.Errorf("subscription from %d: %v", wrong, err)
		}
	}
}

func TestRead_stream(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i := range 300 {
		r.must("s", int64(i)-1, fmt.Sprint(i))
	}
	read := func(change func(o *api.ReadReq_Options)) (revs []int64) {
		t.Helper()
		o := ofStream("s")
		change(o)
		got, err := r.read(o)
		if err != nil {
			t.Error(err)
		}
		for _, m := range got {
			revs = append(revs, int64(m.GetEvent().GetEvent().GetStreamRevision()))
		}
		return revs
	}
	revision := func(o *api.ReadReq_Options, rev uint64) {
		o.GetStream().RevisionOption = &api.ReadReq_Options_StreamOptions_Revision{Revision: rev}
	}
	if got := read(func(*api.ReadReq_Options) {}); len(got) != 300 || got[299] != 299 {
		t.Errorf("forwards: %d events", len(got))
	}
	got := read(func(o *api.ReadReq_Options) { revision(o, 298) })
	if !slices.Equal(got, []int64{298, 299}) {
		t.Errorf("from 298: %v", got)
	}
	if got := read(func(o *api.ReadReq_Options) { revision(o, 300) }); got != nil {
		t.Errorf("from beyond the end: %v", got)
	}
	back := read(func(o *api.ReadReq_Options) {
		o.GetStream().RevisionOption = &api.ReadReq_Options_StreamOptions_End{End: empty}
		backwards(o)
	})
	if len(back) != 300 || back[0] != 299 || back[299] != 0 {
		t.Errorf("backwards: %d events", len(back))
	}
	got = read(func(o *api.ReadReq_Options) { revision(backwards(o), 1) })
	if !slices.Equal(got, []int64{1, 0}) {
		t.Errorf("backwards from 1: %v", got)
	}
	if got := r.revisions("never"); !slices.Equal(got, []int64{-1}) {
		t.Errorf("a missing stream: %v", got)
	}
}

func TestRead_gives_events_as_they_were_sent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	before := time.Now().UnixNano() / 100
	binary := message(id("b"), "other", "\x00\xff")
	binary.Metadata["content-type"] = "text/plain"
	text := message(id("a"), "tested", `{"a":1}`)
	text.Id = &shared.UUID{Value: &shared.UUID_String_{String_: id("a").String()}}
	a := r.send("s", noStream, text, binary)
	if a.err != nil {
		t.Fatal(a.err)
	}
	for _, asString := range []bool{false, true} {
		o := ofStream("s")
		if asString {
			o.UuidOption.Content = &api.ReadReq_Options_UUIDOption_String_{String_: empty}
		}
		got, err := r.read(o)
		if err != nil || len(got) != 2 {
			t.Fatalf("%d events, %v", len(got), err)
		}
		first, second := got[0].GetEvent().GetEvent(), got[1].GetEvent().GetEvent()
		if i, err := uuidOf(first.GetId()); err != nil || i != id("a") {
			t.Errorf("id %v, %v", i, err)
		}
		if (first.GetId().GetStructured() == nil) != asString {
			t.Errorf("the id has the other form")
		}
		if string(first.Data) != `{"a":1}` || string(first.CustomMetadata) != `{"by":"test"}` ||
			string(second.Data) != "\x00\xff" || first.Metadata["type"] != "tested" ||
			first.Metadata["content-type"] != contentJSON ||
			second.Metadata["content-type"] != contentBinary ||
			string(first.StreamIdentifier.StreamName) != "s" || second.StreamRevision != 1 {
			t.Errorf("got %v and %v", first, second)
		}
		if second.CommitPosition != uint64(a.pos) || second.PreparePosition != uint64(a.pos) ||
			got[1].GetEvent().GetCommitPosition() != uint64(a.pos) {
			t.Errorf("the positions of %v are not %d", second, a.pos)
		}
		created, err := strconv.ParseInt(first.Metadata["created"], 10, 64)
		if err != nil || created < before || created > time.Now().UnixNano()/100 {
			t.Errorf("created %q", first.Metadata["created"])
		}
	}
}

func TestRead_links(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.must("s", noStream, "a", "b")
	for i, target := range []string{"1@s", "5@s", "0@gone", "nonsense"} {
		if a := r.send("links", int64(i)-1, message(id(target), linkType, target)); a.err != nil {
			t.Fatal(a.err)
		}
	}
	o := ofStream("links")
	o.ResolveLinks = true
	got, err := r.read(o)
	if err != nil || len(got) != 4 {
		t.Fatalf("%d events, %v", len(got), err)
	}
	for i, m := range got {
		e := m.GetEvent()
		if e.GetLink().GetStreamRevision() != uint64(i) || string(e.GetLink().GetData()) == "" {
			t.Errorf("link %d is %v", i, e.GetLink())
		}
		found := string(e.GetEvent().GetData()) == `{"id":"b"}`
		if found != (i == 0) || !found && e.GetEvent() != nil {
			t.Errorf("target %d is %v", i, e.GetEvent())
		}
	}
}

func TestRead_refuses(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.must("s", noStream, "a")
	for _, c := range []struct {
		name   string
		change func(*api.ReadReq_Options)
		want   codes.Code
	}{
		{"no filter", func(o *api.ReadReq_Options) { o.FilterOption = nil }, codes.InvalidArgument},
		{"no id form", func(o *api.ReadReq_Options) { o.UuidOption = nil }, codes.InvalidArgument},
		{"no stream", func(o *api.ReadReq_Options) { o.StreamOption = nil }, codes.InvalidArgument},
		{"a count of 0", func(o *api.ReadReq_Options) {
			o.CountOption = &api.ReadReq_Options_Count{}
		}, codes.Unknown},
		{"a subscription backwards", func(o *api.ReadReq_Options) {
			backwards(subscribed(o))
		}, codes.InvalidArgument},
	} {
		o := options()
		c.change(o)
		if _, err := r.read(o); code(err) != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// What is committed but not yet published must not be seen, whichever way one looks.
func TestRead_ends_at_the_durable_position(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.must("s", noStream, "a")
	if got := r.revisions("s"); len(got) != 1 {
		t.Fatalf("the stream shows %v", got)
	}
	sub := r.subscribe(options())
	sub.expect(`{"id":"a"}`, "caught up")
	w := r.node.writer // idle now, and not woken before the end of the test
	s, err := w.state("s")
	if err == nil {
		err = w.conn.begin.do()
	}
	if err == nil {
		_, err = w.write("s", s, 1, &event{id: id("b"), kind: "tested", data: []byte("b")})
	}
	if err == nil {
		err = w.conn.commit.do()
	}
	if err != nil {
		t.Fatal(err)
	}
	r.node.book.states = newCache[string, state](9) // so that all is looked up again
	if got := r.revisions("s"); len(got) != 1 {
		t.Errorf("the stream shows %v", got)
	}
	r.subscribe(options()).expect(`{"id":"a"}`, "caught up")
	back := ofStream("s")
	back.GetStream().RevisionOption = &api.ReadReq_Options_StreamOptions_End{End: empty}
	for name, o := range map[string]*api.ReadReq_Options{
		"all": options(), "backwards": backwards(back),
	} {
		if got, err := r.read(o); err != nil || len(got) != 1 {
			t.Errorf("%s shows %d events, %v", name, len(got), err)
		}
	}
	r.node.book.publish(w.at.last, w.touched)
	if got := r.revisions("s"); len(got) != 2 {
		t.Errorf("after publishing the stream shows %v", got)
	}
	sub.expect("b")
}
