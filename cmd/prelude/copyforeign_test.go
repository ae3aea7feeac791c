package main

import (
	"slices"
	"strings"
	"testing"

	"prelude/internal/eventlog"
)

// TestCopyAll copies the whole store, bytes that are no JSON with what kind of content they are too, and goes on where
// a copy of the log alone has ended.
func TestCopyAll(t *testing.T) {
	t.Parallel()
	n, to := newNodeRig(t), newNodeRig(t)
	if _, err := identify(t.Context(), n.store); err != nil {
		t.Fatal(err)
	}
	ours := eventlog.PresetStream("org_"+unfoundedOrg, "prs_"+unfoundedOrg).String()
	n.fill(ours, 3)
	n.put("user-42", slices.Clone(strangeEvents)...)
	n.append("$$user-42", eventlog.None, "$metadata", `{"$maxCount":2}`)
	n.put("session-"+unfoundedOrg+"_"+unfoundedOrg, strangeEvents[1])
	out, err := n.copies(to)
	copied(t, out, err)
	contains(t, out, "4 events copied",
		"not copied, --all does it: 5 events of other applications' streams, such as user-42")
	if got := to.shows("user-42"); len(got) > 0 {
		t.Errorf("of others there is %v", got)
	}
	for _, says := range []string{"5 events copied, 4 were there already", "0 events copied, 9 were there already"} {
		out, err = n.copies(to, "--all")
		copied(t, out, err)
		contains(t, out, says, "metadata of 1 streams copied")
	}
	out, err = n.copies(to)
	copied(t, out, err)
	contains(t, out, "0 events copied, 4 were there already")
	if a, b := contents(t, n.store), contents(t, to.store); sorted(a) != sorted(b) {
		t.Errorf("the source holds\n%.2000q\nthe target\n%.2000q", a, b)
	}
	for e, err := range to.store.ReadAll(t.Context(), 0, eventlog.Forwards, 0) {
		if err != nil || e.Binary != (e.Type == "OrderPlaced") {
			t.Errorf("%s is binary: %t, %v", e.Type, e.Binary, err)
		}
	}
}

// sorted are the lines of a text in order: another order of streams is the same log.
func sorted(text string) string {
	all := strings.Split(text, "\n")
	slices.Sort(all)
	return strings.Join(all, "\n")
}

func TestCopy_refuses_a_store_without_a_log_of_Prelude(t *testing.T) {
	t.Parallel()
	n, to := newNodeRig(t), newNodeRig(t)
	n.put("user-42", slices.Clone(strangeEvents)...)
	_, err := n.copies(to)
	refused(t, err, "no log of Prelude is there", "--all")
	for e, err := range to.store.ReadAll(t.Context(), 0, eventlog.Forwards, 0) {
		t.Errorf("the target holds %s, %v", e.Stream, err)
	}
}
