package esnode

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"prelude/test/conformance/wire"
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

// Metadata keep their fields' order where a stream comes back; what follows the object is left out.
func TestUndeleted(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]string{
		`{"z":1,"$tb":9,"a":[1, 2]}`:   `{"z":1,"$tb":4,"a":[1, 2]}`,
		`{"z":1e0,"a":"\u00e4"} after`: `{"z":1e0,"a":"\u00e4","$tb":4}`,
		`{"a":1,"b":2,"a":3}`:          `{"a":3,"b":2,"$tb":4}`,
		`[1]`:                          `{"$tb":4}`,
		`nonsense`:                     `{"$tb":4}`,
	} {
		if got := undeleted([]byte(data), 4); string(got) != want || !json.Valid(got) {
			t.Errorf("%s becomes %s, want %s", data, got, want)
		}
	}
}

// What follows the object does not make metadata void; an object that does not end does.
func TestMetadata_ends_with_its_object(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]int64{
		`{"$maxCount":2}`: 2, `{"$maxCount":2} and more`: 2, `{"$maxCount":2}}`: 2, `{"$maxCount":2}{"$maxCount":3}`: 2,
		`{"$maxCount":2`: 0, `{"$maxCount":2,`: 0, `{"$maxCount":2 "a":1}`: 0, `"$maxCount"`: 0, ``: 0, `null`: 0,
	} {
		if m := parseMetadata([]byte(data)); m.maxCount != want {
			t.Errorf("%s limits to %d events, want %d", data, m.maxCount, want)
		}
	}
}

// Any metadata that are set bring a deleted stream back, also those that say that it is deleted; of one that
// is there they delete it.
func TestMetadata_that_say_deleted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const bound = `{"$tb":9223372036854775807}`
	r.Must("s", noStream, "a", "b")
	r.SetMeta("s", bound)
	if got := r.Revisions("s"); !slices.Equal(got, []int64{-1}) {
		t.Errorf("the stream shows %v", got)
	}
	r.SetMeta("s", bound)
	if got := r.Revisions("s"); len(got) != 0 {
		t.Errorf("set again, the stream shows %v", got)
	}
	if got := r.Meta("s"); got != `{"$tb":2}` {
		t.Errorf("its metadata are %s", got)
	}
	r.Must("s", 1, "c")
	if got := r.Revisions("s"); !slices.Equal(got, []int64{2}) {
		t.Errorf("with one more event it shows %v", got)
	}
}

// A stream's limits hold for what a subscription catches up with; what comes live is sent as it was appended.
func TestLimits_of_a_subscription(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, meta := range map[string]string{
		"counted": `{"$maxCount":2}`, "truncated": `{"$tb":1000}`, "both": `{"$maxCount":1,"$tb":1000}`,
	} {
		ids := func(from, to int) (all, data []string) {
			for i := from; i < to; i++ {
				all = append(all, fmt.Sprint(name, i))
				data = append(data, fmt.Sprintf(`{"id":"%s%d"}`, name, i))
			}
			return all, data
		}
		first, shown := ids(0, 5)
		r.Must(name, noStream, first...)
		r.SetMeta(name, meta)
		sub := r.Subscribe(wire.OfStream(name))
		if name == "counted" {
			sub.Expect(shown[3:]...)
		}
		sub.Expect("caught up")
		more, live := ids(5, 10)
		r.Must(name, 4, more...)
		sub.Expect(live...)
	}
}
