package conformance

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	"prelude/test/conformance/wire"
)

func TestRead(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T, *wire.Client){
		"a stream from a revision, included":          readFromRevision,
		"a stream backwards":                          readBackwards,
		"a stream of many pages":                      readManyPages,
		"no more than the count":                      readCount,
		"a count up to the largest number":            readLargestCount,
		"a missing stream is not found":               readMissing,
		"from beyond the end is empty":                readBeyondEnd,
		"truncated to nothing is empty":               readTruncated,
		"events as they were sent":                    readAsSent,
		"ids in the form that is asked for":           readIDForms,
		"metadata show their last event only":         readMetastream,
		"all forwards from a position, included":      readAllForwards,
		"all backwards from a position, excluded":     readAllBackwards,
		"nothing after the end or before the start":   readAllBeyond,
		"all from within an event":                    readAllWithin,
		"all from the largest number, the end":        readAllFromLargest,
		"all filtered by stream prefix":               filterPrefix,
		"all filtered by stream pattern":              filterPattern,
		"all filtered by event type":                  filterType,
		"all filtered backwards":                      filterBackwards,
		"a filter needs no window":                    filterWithoutWindow,
		"a pattern of the clients' default arguments": filterLookAhead,
		"a pattern that is none is refused":           filterMalformed,
		"a filtered read stops at its count":          filterCount,
		"links with what they point to":               linksResolved,
		"links alone where the target is gone":        linksBroken,
		"links as they are where not asked":           linksUnresolved,
		"the last revision for those who understand":  tellsLast,
		"the first revision for those who understand": tellsFirst,
		"neither for those who do not":                tellsNobodyElse,
		"what lacks an option is refused":             readRefuses,
		"the client gets its own errors":              clientReadErrors,
		"the client reads what it wrote":              clientReads,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, plain(t))
		})
	}
}

// stream makes a stream of n events.
func stream(t *testing.T, c *wire.Client, n int) string {
	t.Helper()
	s := named(t, "s")
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprint(s, i)
	}
	c.Must(s, wire.NoStream, ids...)
	return s
}

func revisions(t *testing.T, c *wire.Client, o *api.ReadReq_Options) []int64 {
	t.Helper()
	got, err := c.Read(o)
	if err != nil {
		t.Fatal(err)
	}
	return wire.RevisionsOf(got)
}

func readFromRevision(t *testing.T, c *wire.Client) {
	t.Helper()
	s := stream(t, c, 5)
	got := revisions(t, c, wire.AtRevision(wire.OfStream(s), 3))
	if !slices.Equal(got, []int64{3, 4}) {
		t.Errorf("got %v", got)
	}
}

func readBackwards(t *testing.T, c *wire.Client) {
	t.Helper()
	s := stream(t, c, 5)
	got := revisions(t, c, wire.Backwards(wire.AtEnd(wire.OfStream(s))))
	if !slices.Equal(got, []int64{4, 3, 2, 1, 0}) {
		t.Errorf("from the end: %v", got)
	}
	got = revisions(t, c, wire.Backwards(wire.AtRevision(wire.OfStream(s), 1)))
	if !slices.Equal(got, []int64{1, 0}) {
		t.Errorf("from 1: %v", got)
	}
	got = revisions(t, c, wire.Backwards(wire.AtRevision(wire.OfStream(s), 99)))
	if !slices.Equal(got, []int64{4, 3, 2, 1, 0}) {
		t.Errorf("from beyond the end: %v", got)
	}
}

func readManyPages(t *testing.T, c *wire.Client) {
	t.Helper()
	const n = 700
	s := stream(t, c, n)
	forwards := revisions(t, c, wire.OfStream(s))
	back := revisions(t, c, wire.Backwards(wire.AtEnd(wire.OfStream(s))))
	slices.Reverse(back)
	if len(forwards) != n || !slices.IsSorted(forwards) || !slices.Equal(forwards, back) {
		t.Errorf("forwards %d events, backwards %d", len(forwards), len(back))
	}
}

func readCount(t *testing.T, c *wire.Client) {
	t.Helper()
	s := stream(t, c, 50)
	for _, n := range []uint64{1, 3, 32, 33} {
		if got := revisions(t, c, wire.Count(wire.OfStream(s), n)); uint64(len(got)) != n {
			t.Errorf("%d asked for, %d came", n, len(got))
		}
	}
}

func readLargestCount(t *testing.T, c *wire.Client) {
	t.Helper()
	s := stream(t, c, 3)
	for _, n := range []uint64{math.MaxInt64, math.MaxInt64 + 1, math.MaxUint64} {
		if got := revisions(t, c, wire.Count(wire.OfStream(s), n)); len(got) != 3 {
			t.Errorf("%d asked for: %v", n, got)
		}
	}
}

func readMissing(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "never")
	for _, o := range []*api.ReadReq_Options{
		wire.OfStream(s), wire.Backwards(wire.AtEnd(wire.OfStream(s))),
	} {
		got, err := c.Read(o)
		if err != nil || len(got) != 1 ||
			string(got[0].GetStreamNotFound().GetStreamIdentifier().GetStreamName()) != s {
			t.Errorf("got %v, %v", got, err)
		}
	}
}

func readBeyondEnd(t *testing.T, c *wire.Client) {
	t.Helper()
	s := stream(t, c, 3)
	for _, rev := range []uint64{3, 1000, math.MaxInt64} {
		if got, err := c.Read(wire.AtRevision(wire.OfStream(s), rev)); err != nil || len(got) > 0 {
			t.Errorf("from %d: %v, %v", rev, got, err)
		}
	}
}

func readTruncated(t *testing.T, c *wire.Client) {
	t.Helper()
	s := stream(t, c, 3)
	c.SetMeta(s, `{"$tb":3}`)
	for _, o := range []*api.ReadReq_Options{
		wire.OfStream(s), wire.Backwards(wire.AtEnd(wire.OfStream(s))),
	} {
		if got, err := c.Read(o); err != nil || len(got) > 0 {
			t.Errorf("got %v, %v", got, err)
		}
	}
}

func readAsSent(t *testing.T, c *wire.Client) {
	t.Helper()
	s, before := named(t, "s"), time.Now().Add(-time.Minute)
	other := wire.Message(uuid.New(), "other", "\x00\xff")
	other.Metadata["content-type"] = "text/plain"
	other.Metadata["dropped"] = "as all keys but two are"
	text := wire.Message(wire.ID(s), "tested", `{"a":1}`)
	text.Id = wire.Text(wire.ID(s))
	a := c.Send(s, wire.NoStream, text, other)
	got, err := c.Read(wire.OfStream(s))
	if err != nil || len(got) != 2 {
		t.Fatalf("%d events, %v, %v", len(got), err, a.Err)
	}
	one, two := got[0].GetEvent().GetEvent(), got[1].GetEvent().GetEvent()
	if string(one.Data) != `{"a":1}` || string(one.CustomMetadata) != `{"by":"test"}` ||
		one.Metadata["type"] != "tested" || one.Metadata["content-type"] != "application/json" ||
		string(one.StreamIdentifier.StreamName) != s || one.StreamRevision != 0 {
		t.Errorf("the first is %v", one)
	}
	if string(two.Data) != "\x00\xff" || two.Metadata["content-type"] != "application/octet-stream" ||
		two.StreamRevision != 1 || two.Metadata["dropped"] != "" {
		t.Errorf("the second is %v", two)
	}
	if two.CommitPosition != uint64(a.Pos) || two.PreparePosition != uint64(a.Pos) ||
		got[1].GetEvent().GetCommitPosition() != uint64(a.Pos) {
		t.Errorf("the positions of %v are not %d", two, a.Pos)
	}
	ticks, err := strconv.ParseInt(one.Metadata["created"], 10, 64)
	if created := time.Unix(0, ticks*100); err != nil || created.Before(before) ||
		created.After(time.Now().Add(time.Minute)) {
		t.Errorf("created %q", one.Metadata["created"])
	}
}

func readIDForms(t *testing.T, c *wire.Client) {
	t.Helper()
	s := named(t, "s")
	text, numbers := wire.Message(uuid.New(), "tested", "{}"), wire.Message(wire.ID(s), "tested", "{}")
	text.Id = wire.Text(wire.ID(s + "text"))
	c.Send(s, wire.NoStream, text, numbers)
	asText := wire.OfStream(s)
	asText.UuidOption.Content = &api.ReadReq_Options_UUIDOption_String_{String_: wire.Empty}
	for name, o := range map[string]*api.ReadReq_Options{"text": asText, "numbers": wire.OfStream(s)} {
		got, err := c.Read(o)
		if err != nil || len(got) != 2 {
			t.Fatalf("%s: %d events, %v", name, len(got), err)
		}
		for i, want := range []uuid.UUID{wire.ID(s + "text"), wire.ID(s)} {
			form := wire.Structured(want)
			if name == "text" {
				form = wire.Text(want)
			}
			if id := got[i].GetEvent().GetEvent().GetId(); id.String() != form.String() {
				t.Errorf("%s: id %v, want %v", name, id, form)
			}
		}
	}
}

func readMetastream(t *testing.T, c *wire.Client) {
	t.Helper()
	s := stream(t, c, 1)
	for _, meta := range []string{`{"$maxCount":1}`, `{"$maxCount":2}`, `{"$maxCount":3}`} {
		c.SetMeta(s, meta)
	}
	got := revisions(t, c, wire.OfStream("$$"+s))
	if !slices.Equal(got, []int64{2}) || c.Meta(s) != `{"$maxCount":3}` {
		t.Errorf("got %v", got)
	}
}

func readRefuses(t *testing.T, c *wire.Client) {
	t.Helper()
	for name, rule := range map[string]struct {
		change func(*api.ReadReq_Options)
		want   codes.Code
	}{
		"no filter":  {func(o *api.ReadReq_Options) { o.FilterOption = nil }, codes.InvalidArgument},
		"no id form": {func(o *api.ReadReq_Options) { o.UuidOption = nil }, codes.InvalidArgument},
		"no stream":  {func(o *api.ReadReq_Options) { o.StreamOption = nil }, codes.InvalidArgument},
		"a subscription backwards": {func(o *api.ReadReq_Options) {
			wire.Backwards(wire.Subscribed(o))
		}, codes.InvalidArgument},
	} {
		o := wire.Options()
		rule.change(o)
		if _, err := c.Read(o); wire.Code(err) != rule.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func clientReadErrors(t *testing.T, w *wire.Client) {
	t.Helper()
	c := official(t)
	read := func(s string) error {
		r, err := c.ReadStream(wire.Within(t), s, esdb.ReadStreamOptions{}, 1)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = r.Recv()
		return err
	}
	if got := codeOf(t, read(named(t, "never"))); got != esdb.ErrorCodeResourceNotFound {
		t.Errorf("a missing stream has the code %d", got)
	}
	s := named(t, "s")
	prepare(w, s, "buried", nil)
	if got := codeOf(t, read(s)); got != esdb.ErrorCodeStreamDeleted {
		t.Errorf("a tombstone has the code %d", got)
	}
}

func clientReads(t *testing.T, w *wire.Client) {
	t.Helper()
	c, s := official(t), stream(t, w, 3)
	r, err := c.ReadStream(wire.Within(t), s, esdb.ReadStreamOptions{
		Direction: esdb.Backwards, From: esdb.End{},
	}, 10)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for rev := 2; rev >= 0; rev-- {
		e, err := r.Recv()
		if err != nil {
			t.Fatal(err)
		}
		o := e.OriginalEvent()
		if o.EventNumber != uint64(rev) || o.EventID != wire.ID(fmt.Sprint(s, rev)) ||
			o.StreamID != s || o.EventType != "tested" || time.Since(o.CreatedDate) > time.Hour {
			t.Errorf("event %d is %v", rev, o)
		}
	}
	if _, err := r.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("it ends with %v", err)
	}
}
