package esnode

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	"prelude/test/conformance/wire"
)

// sized is an event that counts as many bytes towards the limits.
func sized(name string, bytes int) *api.AppendReq_ProposedMessage {
	m := wire.Message(wire.ID(name), "tested", "")
	m.CustomMetadata = nil
	m.Data = make([]byte, bytes-2*len("tested"))
	return m
}

func TestSizes_events_up_to_16_MiB(t *testing.T) {
	t.Parallel()
	r := newRigWith(t, Config{MaxAppendSize: largestAppend})
	if a := r.Send("s", noStream, sized("whole", maxEvent)); a.Err != nil || a.Rev != 0 {
		t.Fatalf("the largest event: %v", a.Err)
	}
	got, err := r.Read(wire.OfStream("s"))
	if err != nil || len(got) != 1 || len(got[0].GetEvent().GetEvent().GetData()) < maxEvent-100 {
		t.Errorf("it is read as %d events, %v", len(got), err)
	}
	a := r.Send("s", 0, sized("over", maxEvent+1))
	if wire.Code(a.Err) != codes.InvalidArgument ||
		a.Exception() != "maximum-append-event-size-exceeded" ||
		a.Trailer("maximum-append-event-size") != strconv.Itoa(maxEvent) ||
		a.Trailer("proposed-event-size") != strconv.Itoa(maxEvent+1) ||
		a.Trailer("event-id") != wire.ID("over").String() {
		t.Errorf("one byte more: %v, %v", a.Err, a.Trailers)
	}
	b, large := r.Batch(wire.Within(t)), sized("over", maxEvent+1)
	b.SendMessages(wire.Text(uuid.New()), wire.BatchOptions("s", 0), true,
		&api.BatchAppendReq_ProposedMessage{Id: large.Id, Metadata: large.Metadata, Data: large.Data})
	e := b.Next().GetError()
	if codes.Code(e.GetCode()) != codes.InvalidArgument || len(e.GetDetails()) != 1 ||
		e.GetDetails()[0].TypeUrl !=
			"type.googleapis.com/event_store.client.MaximumAppendEventSizeExceeded" {
		t.Errorf("in a batch: %v", e)
	}
	b.Send(wire.Text(uuid.New()), wire.BatchOptions("s", 0), true, "small")
	if got := b.Next(); got.GetSuccess().GetCurrentRevision() != 1 {
		t.Errorf("after it: %v", got)
	}
}

func TestSizes_appends_up_to_64_MiB(t *testing.T) {
	t.Parallel()
	r := newRigWith(t, Config{MaxAppendSize: largestAppend})
	var many []*api.AppendReq_ProposedMessage
	for i := range largestAppend/maxEvent + 1 {
		many = append(many, sized(fmt.Sprint(i), maxEvent))
	}
	a := r.Send("s", noStream, many...)
	if wire.Code(a.Err) != codes.InvalidArgument || a.Exception() != "maximum-append-size-exceeded" ||
		a.Trailer("maximum-append-size") != strconv.Itoa(largestAppend) {
		t.Errorf("it ends with %v, %v", a.Err, a.Trailers)
	}
	b := r.Batch(wire.Within(t))
	id := wire.Text(uuid.New())
	b.Send(id, wire.BatchOptions("s", noStream), false)
	for i, m := range many {
		b.SendMessages(id, nil, i == len(many)-1, &api.BatchAppendReq_ProposedMessage{
			Id: m.Id, Metadata: m.Metadata, Data: m.Data,
		})
	}
	e := b.Next().GetError()
	if codes.Code(e.GetCode()) != codes.InvalidArgument || len(e.GetDetails()) != 1 ||
		!strings.HasSuffix(e.GetDetails()[0].TypeUrl, ".MaximumAppendSizeExceeded") {
		t.Errorf("in a batch: %v", e)
	}
	if got := r.Revisions("s"); !slices.Equal(got, []int64{-1}) {
		t.Errorf("something was appended: %v", got)
	}
}

// A name ends up in every record and in the trailers of errors, which have limits of their own.
func TestSizes_names(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, bad := range []string{"", "$$", strings.Repeat("x", maxName+1), strings.Repeat("x", 10_000), "\xff"} {
		if a := r.Append(bad, anyRevision, "a"); wire.Code(a.Err) != codes.InvalidArgument {
			t.Errorf("append to a name of %d bytes: %v", len(bad), a.Err)
		}
		if a := r.Delete(bad, anyRevision); wire.Code(a.Err) != codes.InvalidArgument {
			t.Errorf("delete a name of %d bytes: %v", len(bad), a.Err)
		}
		if a := r.Tombstone(bad, anyRevision); wire.Code(a.Err) != codes.InvalidArgument {
			t.Errorf("bury a name of %d bytes: %v", len(bad), a.Err)
		}
		if _, err := r.Read(wire.OfStream(bad)); wire.Code(err) != codes.InvalidArgument {
			t.Errorf("read a name of %d bytes: %v", len(bad), err)
		}
	}
	long := strings.Repeat("ü", maxName/2)
	r.Must(long, noStream, "a")
	if a := r.Tombstone(long, anyRevision); a.Err != nil {
		t.Fatal(a.Err)
	}
	if a := r.Append(long, anyRevision, "b"); a.Exception() != "stream-deleted" {
		t.Errorf("the longest name: %v, %v", a.Err, a.Exception())
	}
}
