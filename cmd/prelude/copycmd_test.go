package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"regexp"
	"strings"
	"testing"

	"prelude/internal/eventlog"
)

// copyTo runs log copy from one node to another, of streams of any name.
func (n *nodeRig) copyTo(to *nodeRig) (string, error) {
	out := &buffer{}
	err := run(n.t.Context(), []string{"log", "copy", "--from", n.address, "--to", to.address, "--all", "--log-level", "error"},
		out, out)
	return out.String(), err
}

var digestLines = regexp.MustCompile(`digest of the source ([0-9a-f]{64})\ndigest of the target ([0-9a-f]{64})`)

// copied expects that both sides are the same.
func copied(t *testing.T, out string, err error) string {
	t.Helper()
	m := digestLines.FindStringSubmatch(out)
	if err != nil || m == nil || m[1] != m[2] {
		t.Fatalf("%v\n%s", err, out)
	}
	return m[1]
}

// TestCopy moves a real log to another node, twice: the second time there is nothing left to do. The limits of
// streams hide there what they hid here, the copy has an id of its own, and a server runs on it.
func TestCopy(t *testing.T) {
	t.Parallel()
	from, to := newNodeRig(t), newNodeRig(t)
	for i := range 40 {
		from.fill(fmt.Sprintf("thing-acme_%d", i), 1+i%7)
		from.append("thing-acme_all", eventlog.Revision(i-1), "tested", `{"text":"`+strings.Repeat("x", 40_000)+`"}`)
	}
	from.append("$$thing-acme_6", eventlog.None, "$metadata", `{"$maxCount":2}`)
	source, err := identify(t.Context(), from.store)
	if err != nil {
		t.Fatal(err)
	}
	out, err := from.copyTo(to)
	digest := copied(t, out, err)
	contains(t, out, "events copied, 0 were there already", "not kept: positions")
	if strings.Contains(out, source) {
		t.Errorf("the copy has the source's id:\n%s", out)
	}
	if a, b := contents(t, from.store), contents(t, to.store); a != b {
		t.Errorf("the source holds\n%.2000s\nthe target\n%.2000s", a, b)
	}
	if n := countOf(t, to.store.Read(t.Context(), "thing-acme_6", 0, eventlog.Forwards, 0)); n != 2 {
		t.Errorf("the limited stream shows %d events", n)
	}
	from.append("thing-acme_0", 0, "tested", `{"later":true}`)
	out, err = from.copyTo(to)
	if copied(t, out, err) == digest {
		t.Error("the digest does not tell one event more")
	}
	contains(t, out, "1 events copied")
	out, err = from.copyTo(to)
	copied(t, out, err)
	contains(t, out, "0 events copied")
	to.stop()
	to.counts()
}

// contents are all events that are copied, in the log's order, but for their positions and times.
func contents(t *testing.T, store eventlog.Store) string {
	t.Helper()
	var b strings.Builder
	for e, err := range store.ReadAll(t.Context(), 0, eventlog.Forwards, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if ours(e) {
			fmt.Fprintln(&b, e.Stream, e.Revision, e.ID, e.Type, len(e.Data), string(e.Data[:min(len(e.Data), 20)]), string(e.Meta))
		}
	}
	return b.String()
}

func countOf(t *testing.T, all iter.Seq2[eventlog.Raw, error]) (n int) {
	t.Helper()
	for _, err := range all {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// interrupting is a store that fails after some appends: the last of them is done, and its answer lost.
type interrupting struct {
	eventlog.Store
	left int
}

var errInterrupted = errors.New("interrupted by the test")

func (s *interrupting) Append(ctx context.Context, stream string, expected eventlog.Revision,
	events []eventlog.Proposed) (eventlog.Appended, error) {
	done, err := s.Store.Append(ctx, stream, expected, events)
	if s.left--; err == nil && s.left <= 0 {
		return eventlog.Appended{}, errInterrupted
	}
	return done, err
}

// TestCopyInterrupted ends a copy after each of its appends, and begins it again until it is done.
func TestCopyInterrupted(t *testing.T) {
	t.Parallel()
	from, to := newNodeRig(t), newNodeRig(t)
	for i := range 10 {
		from.append("thing-acme_a", eventlog.Revision(2*i-1), "tested", `{"a":1}`, `{"a":2}`)
		from.append("thing-acme_b", eventlog.Revision(i-1), "tested", `{"b":1}`)
	}
	from.append("$$thing-acme_a", eventlog.None, "$metadata", `{"$maxCount":7}`)
	from.append("$$thing-acme_none", eventlog.None, "$metadata", `{"$maxCount":3}`)
	from.fill("thing-acme_c", 2*copyEvents+9)
	from.append("$$thing-acme_c", eventlog.None, "$metadata", fmt.Sprintf(`{"$tb":%d}`, 2*copyEvents+2))
	from.compact()
	rounds := 0
	for ; ; rounds++ {
		c := &copying{from: from.store, to: &interrupting{to.store, 1}, all: true}
		err := c.apart(t.Context())
		if err == nil {
			err = c.copyAll(t.Context())
		}
		if err == nil {
			_, err = c.finish(t.Context())
		}
		if err == nil {
			break
		}
		if !errors.Is(err, errInterrupted) || rounds > 100 {
			t.Fatal(err)
		}
		for e, err := range to.store.Read(t.Context(), "thing-acme_c", 0, eventlog.Forwards, 0) {
			if err != nil || isFiller(e) {
				t.Fatalf("a reader is given what only stands in: %+v, %v", e, err)
			}
		}
	}
	if rounds < 10 {
		t.Errorf("it was interrupted only %d times", rounds)
	}
	out, err := from.copyTo(to)
	copied(t, out, err)
	contains(t, out, "0 events copied, 24 were there already")
	if a, b := contents(t, from.store), contents(t, to.store); a != b {
		t.Errorf("the source holds\n%s\nthe target\n%s", a, b)
	}
	sameMetadata(t, from, to, "thing-acme_none", "thing-acme_c")
	sameShown(t, from, to, "thing-acme_a", "thing-acme_c")
}

// TestBadCopy: each refusal leaves the target as it was.
func TestBadCopy(t *testing.T) {
	t.Parallel()
	from, to := newNodeRig(t), newNodeRig(t)
	from.fill("thing-acme_1", 3)
	to.fill("thing-acme_2", 1)
	before := contents(t, to.store)
	t.Run("a_target_with_other_events", func(t *testing.T) {
		_, err := from.copyTo(to)
		refused(t, err, "holds events that are not of this log", "empty store")
	})
	t.Run("a_target_that_is_ahead", func(t *testing.T) {
		third := newNodeRig(t)
		third.fill("thing-acme_1", 4)
		_, err := from.copyTo(third)
		refused(t, err, "holds events that are not of this log")
	})
	t.Run("a_target_with_metadata_of_another_stream", func(t *testing.T) {
		third := newNodeRig(t)
		third.append("$$thing-acme_3", eventlog.None, "$metadata", `{"$maxCount":1}`)
		_, err := from.copyTo(third)
		refused(t, err, "holds events that are not of this log", "metadata of the stream thing-acme_3")
	})
	t.Run("a_target_with_metadata_that_the_source_has_not", func(t *testing.T) {
		third := newNodeRig(t)
		third.append("$$thing-acme_1", eventlog.None, "$metadata", `{"$maxCount":1}`)
		_, err := from.copyTo(third)
		refused(t, err, "holds events that are not of this log", "metadata of the stream thing-acme_1")
	})
	t.Run("a_target_with_a_tombstone", func(t *testing.T) {
		third := newNodeRig(t)
		third.bury(t, "thing-acme_1")
		_, err := from.copyTo(third)
		refused(t, err, "holds events that are not of this log", "thing-acme_1 was deleted for good")
	})
	t.Run("a_target_with_an_id_alone", func(t *testing.T) {
		third := newNodeRig(t)
		if _, err := identify(t.Context(), third.store); err != nil {
			t.Fatal(err)
		}
		_, err := from.copyTo(third)
		refused(t, err, "it has the id of another log")
		if c := contents(t, third.store); c != "" {
			t.Errorf("the target holds\n%s", c)
		}
	})
	t.Run("the_same_store_by_another_name", func(t *testing.T) {
		before := contents(t, from.store)
		other := *from
		for _, start := range []string{"esdb://localhost", "esdb+discover://127.0.0.1"} {
			other.address = strings.Replace(from.address, "esdb://127.0.0.1", start, 1)
			_, err := from.copyTo(&other)
			refused(t, err, "the same log")
		}
		if after := contents(t, from.store); after != before {
			t.Errorf("the log holds\n%s", after)
		}
	})
	t.Run("a_source_without_events", func(t *testing.T) {
		empty := newNodeRig(t)
		_, err := empty.copyTo(newNodeRig(t))
		refused(t, err, "PRELUDE_COPY_FROM", "nothing to copy")
		_, err = empty.copyTo(to)
		refused(t, err, "PRELUDE_COPY_FROM", "nothing to copy")
	})
	if after := contents(t, to.store); after != before {
		t.Errorf("the target holds\n%s", after)
	}
	for name, c := range map[string][3]string{
		"an_address_of_another_kind": {"http://" + canary, to.address, "PRELUDE_COPY_FROM must begin with esdb://"},
		"nobody_there":               {from.address, "esdb://127.0.0.1:1?tls=false", "PRELUDE_COPY_TO: nobody answers"},
		"the_same_store":             {from.address, from.address, "must be another store"},
		"no_address":                 {"esdb://?" + canary, to.address, "PRELUDE_COPY_FROM host 1 has no name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := run(t.Context(), []string{"log", "copy", "--from", c[0], "--to", c[1]}, io.Discard, io.Discard)
			refused(t, err, c[2])
			if strings.Contains(err.Error(), canary) {
				t.Errorf("a value comes back: %v", err)
			}
		})
	}
}
