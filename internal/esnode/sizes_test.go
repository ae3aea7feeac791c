package esnode

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
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

// The largest append there can be is one event, or many.
func TestSizes_appends_up_to_16_MiB(t *testing.T) {
	t.Parallel()
	r := newRigWith(t, Config{MaxAppendSize: largestAppend})
	if a := r.Send("s", noStream, sized("whole", largestAppend)); a.Err != nil || a.Rev != 0 {
		t.Fatalf("the largest event: %v", a.Err)
	}
	got, err := r.Read(wire.OfStream("s"))
	if err != nil || len(got) != 1 || len(got[0].GetEvent().GetEvent().GetData()) < largestAppend-100 {
		t.Errorf("it is read as %d events, %v", len(got), err)
	}
	const half = largestAppend / 2
	for name, many := range map[string][]*api.AppendReq_ProposedMessage{
		"one": {sized("over", largestAppend+1)}, "two": {sized("a", half), sized("b", half+1)},
	} {
		a := r.Send("s", 0, many...)
		if wire.Code(a.Err) != codes.InvalidArgument || a.Exception() != "maximum-append-size-exceeded" ||
			a.Trailer("maximum-append-size") != strconv.Itoa(largestAppend) {
			t.Errorf("%s: %v, %v", name, a.Err, a.Trailers)
		}
		b, id := r.Batch(wire.Within(t)), wire.Text(uuid.New())
		b.Send(id, wire.BatchOptions("s", 0), false)
		for i, m := range many {
			b.SendMessages(id, nil, i == len(many)-1, &api.BatchAppendReq_ProposedMessage{
				Id: m.Id, Metadata: m.Metadata, Data: m.Data,
			})
		}
		e, detail := b.Next().GetError(), &shared.MaximumAppendSizeExceeded{}
		if codes.Code(e.GetCode()) != codes.InvalidArgument || len(e.GetDetails()) != 1 ||
			e.GetDetails()[0].UnmarshalTo(detail) != nil || detail.MaxAppendSize != largestAppend {
			t.Errorf("%s, in a batch: %v", name, e)
		}
	}
	if got := r.Revisions("s"); !slices.Equal(got, []int64{0}) {
		t.Errorf("something was appended: %v", got)
	}
	b := r.Batch(wire.Within(t))
	b.Send(wire.Text(uuid.New()), wire.BatchOptions("s", 0), true, "small")
	answered(t, b, 1)
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
