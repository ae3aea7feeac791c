package search

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"

	"prelude/internal/eventlog"
	"prelude/internal/search/searchtest"
	"prelude/projections"
)

// inOrder are documents as the views give them.
func inOrder(docs []projections.Document) iter.Seq2[projections.Document, error] {
	docs = slices.Clone(docs)
	slices.SortFunc(docs, func(a, b projections.Document) int { return strings.Compare(a.ID, b.ID) })
	return func(yield func(projections.Document, error) bool) {
		for _, d := range docs {
			if !yield(d, nil) {
				return
			}
		}
	}
}

func compare(t *testing.T, c *Client, presets iter.Seq2[projections.Document, error], to eventlog.Position,
) (Compared, []string, error) {
	t.Helper()
	l, err := c.Look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	var found []string
	n, err := l.Compare(t.Context(), presets, uint64(to), func(d projections.Difference) {
		found = append(found, fmt.Sprint(d.Key, " ", d.Only, d.Columns))
	})
	return n, found, err
}

func TestCompare(t *testing.T) {
	t.Parallel()
	var docs []projections.Document
	last := eventlog.Position(0)
	for i := range 2*lookPage + 7 {
		d := preset(i+1, fmt.Sprintf("title %d", i), "of many", "Be kind.")
		last = max(last, d.Position)
		docs = append(docs, d)
	}
	c := open(t, docs...)
	t.Run("page after page finds nothing where all is as it should be", func(t *testing.T) {
		t.Parallel()
		n, found, err := compare(t, c, inOrder(docs), last)
		if err != nil || len(found) > 0 || n.Documents != len(docs) || n.Open != 0 {
			t.Errorf("%+v, %v: %v", n, err, found)
		}
	})
	t.Run("finds what is missing, too much, and other", func(t *testing.T) {
		t.Parallel()
		want := slices.Clone(docs)
		want[lookPage].Name, want[3].Tags = "another", []string{"new"}
		want[5].Position++
		added := preset(len(docs)+1, "added", "", "")
		added.Position = last
		gone := want[len(want)-1]
		want[len(want)-1] = added
		n, found, err := compare(t, c, inOrder(want), last)
		expect := []string{added.ID + " log[]", gone.ID + " index[]", want[lookPage].ID + " [name]",
			want[3].ID + " [tags]", want[5].ID + " [_version position]"}
		if localized(want[lookPage].Language) != "" {
			expect[2] = want[lookPage].ID + " [loc name]"
		}
		slices.Sort(expect)
		slices.Sort(found)
		if err != nil || !slices.Equal(found, expect) || n.Documents != len(docs) || n.Open != 0 {
			t.Errorf("%+v, %v: %v\nwant %v", n, err, found, expect)
		}
	})
	t.Run("leaves open what changed after the look", func(t *testing.T) {
		t.Parallel()
		want := slices.Clone(docs)
		want[7].Name, want[7].Position = "another", last+1
		want = append(want, preset(len(docs)+1, "added", "", ""))
		want[len(want)-1].Position = last + 2
		n, found, err := compare(t, c, inOrder(want), last)
		if err != nil || len(found) > 0 || n.Open != 2 {
			t.Errorf("%+v, %v: %v", n, err, found)
		}
	})
	t.Run("ends with what the presets end with", func(t *testing.T) {
		t.Parallel()
		away := errors.New("the database is away")
		_, found, err := compare(t, c, func(yield func(projections.Document, error) bool) {
			if yield(docs[0], nil) {
				yield(projections.Document{}, away)
			}
		}, last)
		if !errors.Is(err, away) || len(found) > 1 {
			t.Errorf("%v: %v", err, found)
		}
	})
}

func TestLook_at_no_index_says_so(t *testing.T) {
	t.Parallel()
	c := open(t)
	if err := c.Drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Look(t.Context()); !errors.Is(err, ErrLost) {
		t.Errorf("it says %v", err)
	}
}

// TestOlder: a client knows the indexes of the versions before its own, and neither its own, nor newer ones, nor those
// of a longer prefix. Dropping them takes nothing else.
func TestOlder(t *testing.T) {
	t.Parallel()
	own := open(t)
	at := func(prefix string, version int) *Client {
		c := client(t, Config{URL: searchtest.Node(t), Prefix: prefix, Version: version})
		if err := bootstrap(t, c); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.Drop(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
		return c
	}
	two, three, four := at(own.prefix, 2), at(own.prefix, 3), at(own.prefix, 4)
	other := at(own.prefix+"-b", 1)
	older, err := three.Older(t.Context())
	if err != nil || !maps.EqualFunc(older, map[int][]string{1: {own.index}, 2: {two.index}}, slices.Equal) {
		t.Errorf("%v: %v", older, err)
	}
	if err := three.DropIndexes(t.Context()); err != nil {
		t.Error(err)
	}
	if err := three.DropIndexes(t.Context(), older[1][0], older[2][0]); err != nil {
		t.Error(err)
	}
	for _, c := range []*Client{three, four, other} {
		if err := c.Ready(t.Context()); err != nil {
			t.Errorf("%s: %v", c.index, err)
		}
	}
	for _, c := range []*Client{own, two} {
		if err := c.Ready(t.Context()); err == nil {
			t.Errorf("%s is there", c.index)
		}
	}
}
