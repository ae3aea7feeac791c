package main

import (
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"prelude/internal/eventlog"
	"prelude/test/conformance/wire"
)

// compact stops the node, compacts its log, and starts it again.
func (n *nodeRig) compact() {
	n.t.Helper()
	n.stop()
	if out, err := n.command("log", "compact"); err != nil {
		n.t.Fatalf("%v\n%s", err, out)
	}
	n.start()
}

// bury deletes a stream for good.
func (n *nodeRig) bury(t *testing.T, stream string) {
	n.t.Helper()
	target := strings.TrimSuffix(strings.TrimPrefix(n.address, "esdb://"), "?tls=false")
	c := wire.Dial(t, target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if a := c.Tombstone(stream, wire.Any); a.Err != nil {
		n.t.Fatal(a.Err)
	}
	if err := c.Conn.Close(); err != nil {
		n.t.Fatal(err)
	}
}

// metadata are those of a stream that count.
func (n *nodeRig) metadata(stream string) (data string) {
	n.t.Helper()
	for e, err := range n.store.Read(n.t.Context(), "$$"+stream, eventlog.Last, eventlog.Backwards, 1) {
		if err != nil {
			n.t.Fatal(err)
		}
		data = string(e.Data)
	}
	return data
}

func sameMetadata(t *testing.T, from, to *nodeRig, streams ...string) {
	t.Helper()
	for _, s := range streams {
		if a, b := from.metadata(s), to.metadata(s); a != b || a == "" {
			t.Errorf("the metadata of %s are %q in the source and %q in the target", s, a, b)
		}
	}
}

// shows are the revisions that readers of a stream are given.
func (n *nodeRig) shows(stream string) (all []eventlog.Revision) {
	n.t.Helper()
	for e, err := range n.store.Read(n.t.Context(), stream, 0, eventlog.Forwards, 0) {
		if err != nil {
			n.t.Fatal(err)
		}
		all = append(all, e.Revision)
	}
	return all
}

func sameShown(t *testing.T, from, to *nodeRig, streams ...string) {
	t.Helper()
	for _, s := range streams {
		if a, b := from.shows(s), to.shows(s); !slices.Equal(a, b) {
			t.Errorf("%s shows %v in the source and %v in the target", s, a, b)
		}
	}
}

// subscribed are the places of all events that a subscriber to everything is given, up to now.
func (n *nodeRig) subscribed() (all []string) {
	n.t.Helper()
	for s, err := range n.store.Subscribe(n.t.Context(), 0, eventlog.Filter{}) {
		if err != nil {
			n.t.Fatal(err)
		}
		switch {
		case s.Kind == eventlog.CaughtUp:
			return all
		case s.Kind == eventlog.Event && ours(s.Raw):
			all = append(all, fmt.Sprint(s.Raw.Stream, " ", s.Raw.Revision, " ", s.Raw.Type))
		case s.Kind == eventlog.Event && isFiller(s.Raw):
			n.t.Errorf("a subscriber is given a filler of %s", s.Raw.Stream)
		}
	}
	return all
}

// TestCopyBeheaded: streams whose beginning was removed for good keep their revisions, by whichever limit it went. What
// stands for it is shown to nobody, also when the limits become wider, and goes on into a copy of the copy.
func TestCopyBeheaded(t *testing.T) {
	t.Parallel()
	from, to := newNodeRig(t), newNodeRig(t)
	streams := []string{"thing-acme_cut", "thing-acme_counted", "thing-acme_deleted", "thing-acme_back", "thing-acme_buried"}
	for i, meta := range []string{`{"$tb":4}`, `{"$maxCount":2}`, `{"$tb":9223372036854775807}`, `{"$tb":7}`} {
		from.fill(streams[i], 9)
		from.append("$$"+streams[i], eventlog.None, "$metadata", meta)
	}
	from.fill("thing-acme_buried", 3)
	from.bury(t, "thing-acme_buried")
	from.fill("thing-acme_whole", 2)
	from.compact()
	from.append("$$thing-acme_back", 0, "$metadata", `{"own":true}`) // nothing hides any more what is not there
	from.append("thing-acme_counted", 8, "tested", `{"n":9}`)
	out, err := from.copyTo(to)
	digest := copied(t, out, err)
	contains(t, out, "thing-acme_cut begins at revision 4, as in the source", "thing-acme_counted begins at revision 7",
		"thing-acme_deleted begins at revision 8", "thing-acme_back begins at revision 7",
		"not kept: that 1 streams were deleted for good", "in 6 streams")
	if a, b := contents(t, from.store), contents(t, to.store); a != b {
		t.Errorf("the source holds\n%s\nthe target\n%s", a, b)
	}
	if a, b := from.subscribed(), to.subscribed(); !slices.Equal(a, b) || len(a) == 0 {
		t.Errorf("the source gives\n%q\nthe target\n%q", a, b)
	}
	sameShown(t, from, to, append(streams[:4:4], "thing-acme_whole")...)
	if got := to.shows("thing-acme_buried"); len(got) > 0 {
		t.Errorf("what was deleted for good shows %v", got)
	}
	if got := to.metadata("thing-acme_back"); !strings.Contains(got, `"own":true`) || !strings.Contains(got, `"$tb":7`) {
		t.Errorf("the metadata are %s", got)
	}
	third := newNodeRig(t)
	for _, c := range []struct {
		from, to *nodeRig
		says     string
	}{{from, to, " 0 events copied"}, {to, third, "thing-acme_cut begins at revision 4"},
		{from, third, " 0 events copied"}} {
		out, err := c.from.copyTo(c.to)
		if copied(t, out, err) != digest {
			t.Error("the digest is another one")
		}
		contains(t, " "+out, c.says)
	}
	to.compact()
	sameShown(t, from, to, streams[:4]...)
	to.append("thing-acme_cut", 8, "tested", `{"n":9}`)
	to.append("thing-acme_counted", 9, "tested", `{"n":9}`)
}

// TestCopyCompactedLater: what was copied whole and has lost its beginning in the source since is the same still.
func TestCopyCompactedLater(t *testing.T) {
	t.Parallel()
	from, to := newNodeRig(t), newNodeRig(t)
	from.fill("thing-acme_1", 9)
	out, err := from.copyTo(to)
	copied(t, out, err)
	from.append("$$thing-acme_1", eventlog.None, "$metadata", `{"$tb":4}`)
	from.compact()
	from.append("thing-acme_1", 8, "tested", `{"n":9}`)
	out, err = from.copyTo(to)
	copied(t, out, err)
	contains(t, out, "1 events copied, 5 were there already")
	sameShown(t, from, to, "thing-acme_1")
}

// TestCopyCutLater: where the source has lost all that was copied of a stream, and has newer, the copy goes on after that.
func TestCopyCutLater(t *testing.T) {
	t.Parallel()
	from, to := newNodeRig(t), newNodeRig(t)
	if _, err := identify(t.Context(), from.store); err != nil { // by which the target is known as a copy
		t.Fatal(err)
	}
	from.fill("thing-acme_1", 3)
	from.fill("thing-acme_2", 3)
	out, err := from.copyTo(to)
	copied(t, out, err)
	from.append("thing-acme_2", 2, "tested", `{"n":3}`)
	from.append("thing-acme_2", 3, "tested", `{"n":4}`)
	from.append("$$thing-acme_2", eventlog.None, "$metadata", `{"$maxCount":1}`)
	from.compact()
	out, err = from.copyTo(to)
	copied(t, out, err)
	sameShown(t, from, to, "thing-acme_1", "thing-acme_2")
}

// TestCopyMetadata: metadata are copied of each stream that has any, as they are where they can be.
func TestCopyMetadata(t *testing.T) {
	t.Parallel()
	from, to := newNodeRig(t), newNodeRig(t)
	from.append("$$thing-acme_before", eventlog.None, "$metadata", `{"$maxCount":3}`)
	from.fill("thing-acme_gone", 3)
	from.append("$$thing-acme_gone", eventlog.None, "$metadata", `{"$tb":9223372036854775807}`)
	from.fill("thing-acme_void", 3)
	from.fill("thing-acme_shown", 3)
	from.append("$$thing-acme_shown", eventlog.None, "$metadata", `{"$tb":9223372036854775807}`)
	from.append("$$thing-acme_void", eventlog.None, "$metadata", `{"$maxCount":1,"$maxAge":"1"}`)
	from.fill("thing-acme_text", 3)
	from.append("$$thing-acme_text", eventlog.None, "$metadata", `{"$maxCount":1`)
	from.append("$own", eventlog.None, "tested", `{}`)
	from.append("$$$own", eventlog.None, "$metadata", `{"$maxCount":1}`)
	for range 2 {
		out, err := from.copyTo(to)
		copied(t, out, err)
		contains(t, out, "metadata of 5 streams copied, 1 of them without events", "not copied: 2 events of the store's own")
	}
	sameMetadata(t, from, to, "thing-acme_before", "thing-acme_gone", "thing-acme_void")
	sameShown(t, from, to, "thing-acme_gone", "thing-acme_void", "thing-acme_text")
	if got := to.metadata("thing-acme_text"); got != "{}" && got != `{"$tb":0}` {
		t.Errorf("metadata that are no JSON are %s", got)
	}
	if got := to.metadata("$own"); got != "" {
		t.Errorf("the store's own stream has %s", got)
	}
	from.append("thing-acme_gone", 2, "tested", `{}`) // which brings it back
	from.append("$$thing-acme_void", 0, "$metadata", `{"$maxCount":2}`)
	from.append("$$thing-acme_shown", 0, "$metadata", `{"own":1}`) // which the store brings back by metadata of its own
	from.append("$$thing-acme_shown", 2, "$metadata", `{"own":2}`) // and these show all there was
	out, err := from.copyTo(to)
	copied(t, out, err)
	sameMetadata(t, from, to, "thing-acme_gone", "thing-acme_void", "thing-acme_shown")
	sameShown(t, from, to, "thing-acme_gone", "thing-acme_void", "thing-acme_shown")
	if got := to.shows("thing-acme_shown"); len(got) != 3 {
		t.Errorf("what is not deleted any more shows %v", got)
	}
}

// TestCopyAged: what was too old to be shown is not shown for being young in the copy.
func TestCopyAged(t *testing.T) {
	t.Parallel()
	from, to := newNodeRig(t), newNodeRig(t)
	from.fill("thing-acme_1", 3)
	from.append("$$thing-acme_1", eventlog.None, "$metadata", `{"$maxAge":1}`)
	soon(t, "the events are too old", func() bool { return len(from.shows("thing-acme_1")) == 0 })
	out, err := from.copyTo(to)
	if got := to.shows("thing-acme_1"); len(got) > 0 {
		t.Errorf("the target shows %v", got)
	}
	copied(t, out, err)
}

// holed is a store that has lost some events of a stream for good, in the midst of others: a scavenge goes by pieces
// of the log. Who reads the stream is given what its limits leave.
type holed struct {
	eventlog.Store
	stream string
	lost   [2]eventlog.Revision // from the first, to before the second
}

func (s *holed) ReadAll(
	ctx context.Context, from eventlog.Position, dir eventlog.Direction, limit uint64,
) iter.Seq2[eventlog.Raw, error] {
	return func(yield func(eventlog.Raw, error) bool) {
		for e, err := range s.Store.ReadAll(ctx, from, dir, limit) {
			lost := err == nil && e.Stream == s.stream && e.Revision >= s.lost[0] && e.Revision < s.lost[1]
			if !lost && !yield(e, err) {
				return
			}
		}
	}
}

// TestCopyHoles: a hole that no reader can see is filled; one that hides what readers should be given is an error.
func TestCopyHoles(t *testing.T) {
	t.Parallel()
	from, to := newNodeRig(t), newNodeRig(t)
	from.fill("thing-acme_1", 9)
	source := &holed{from.store, "thing-acme_1", [2]eventlog.Revision{2, 5}}
	work := func() error {
		out := &buffer{}
		err := (&copying{from: source, to: to.store, all: true}).run(t.Context(), streams{out: out, err: out})
		if err == nil {
			copied(t, out.String(), nil)
			contains(t, out.String(), "thing-acme_1 begins at revision 5")
		}
		return err
	}
	for last, meta := range []string{`{}`, `{"$tb":4}`} {
		from.append("$$thing-acme_1", eventlog.Revision(last-1), "$metadata", meta)
		refused(t, work(), "the source lacks events of thing-acme_1 between the revisions 1 and 5")
		if got := to.shows("thing-acme_1"); len(got) > 0 {
			t.Errorf("the target shows %v", got)
		}
	}
	from.append("$$thing-acme_1", 1, "$metadata", `{"$tb":6}`)
	for range 2 {
		if err := work(); err != nil {
			t.Fatal(err)
		}
		sameShown(t, from, to, "thing-acme_1")
	}
}

// TestCopyOfFiles: a log and a copy of its files are one log, though they have gone apart since.
func TestCopyOfFiles(t *testing.T) {
	t.Parallel()
	from := newNodeRig(t)
	from.fill("thing-acme_1", 5)
	if _, err := identify(t.Context(), from.store); err != nil {
		t.Fatal(err)
	}
	from.stop()
	to := &nodeRig{rig: &rig{t: t, data: t.TempDir()}}
	if err := os.CopyFS(filepath.Join(to.data, "log"), os.DirFS(filepath.Join(from.data, "log"))); err != nil {
		t.Fatal(err)
	}
	from.start()
	to.start()
	_, err := from.copyTo(to)
	refused(t, err, "the same log, or to copies of its files")
	to.append("$$thing-acme_1", eventlog.None, "$metadata", `{"$tb":3}`)
	to.compact()
	_, err = from.copyTo(to)
	refused(t, err, "the same log, or to copies of its files")
	if got := contents(t, from.store); strings.Count(got, "\n") != 5 {
		t.Errorf("the source holds\n%s", got)
	}
}
