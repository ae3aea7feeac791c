package esnode

import (
	"encoding/json"
	"testing"
)

// Raised metadata hide what they have to, and leave of the rest what a store would have honoured.
func TestRaised(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		data   string
		before int64
		want   string
	}{
		{``, 4, `{"$tb":4}`},
		{`{}`, 4, `{"$tb":4}`},
		{`null`, 4, `{"$tb":4}`},
		{`{"$tb":9,"own":1}`, 4, `{"$tb":9,"own":1}`},
		{`{"own":1,"$tb":3,"$maxCount":2}`, 4, `{"own":1,"$tb":4,"$maxCount":2}`},
		{`{"$tb":-1}`, 4, `{"$tb":4}`},
		{`{"$maxCount":2,"$maxAge":"1"}`, 4, `{"$tb":4}`},
		{`{"$tb":9,"$maxAge":"1"}`, 4, `{"$tb":4}`},
		{`{"$maxCount":2`, 4, `{"$tb":4}`},
		{`{"$maxCount":2}`, deletedBefore, `{"$maxCount":2,"$tb":9223372036854775807}`},
	} {
		got := Raised([]byte(c.data), c.before)
		if string(got) != c.want || !json.Valid(got) {
			t.Errorf("%s raised to %d is %s, want %s", c.data, c.before, got, c.want)
		}
		if m := parseMetadata(got); m.before < c.before {
			t.Errorf("%s hides what is before %d", got, m.before)
		}
	}
}
