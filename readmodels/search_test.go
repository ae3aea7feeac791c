package readmodels

import "testing"

// TestNext: a page says that there are more only where the next can be asked for.
func TestNext(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		offset, limit int
		more, want    bool
	}{{0, 20, true, true}, {0, 20, false, false}, {9880, 20, true, true}, {9881, 20, true, false},
		{9900, 100, true, false}} {
		f := Found{HasMore: c.more}
		f.next(SearchQuery{Offset: c.offset, Limit: c.limit})
		if f.HasMore != c.want || (f.Next != "") != c.want {
			t.Errorf("after %d of %d: %v %q", c.limit, c.offset, f.HasMore, f.Next)
		}
		if f.Next == "" {
			continue
		}
		if at, err := SearchOffset(f.Next); err != nil || at != c.offset+c.limit {
			t.Errorf("the next page begins at %d: %v", at, err)
		}
	}
}
