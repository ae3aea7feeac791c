package commands

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"prelude/domain"
	"prelude/domain/preset"
	"prelude/internal/eventlog"
)

func step(n int) uuid.UUID { return uuid.NewSHA1(uuid.Nil, fmt.Append(nil, n)) }

// remembering is the memory of n steps, a second apart, from noon on.
func remembering(n int) *remembered {
	var r *remembered
	for i := range n {
		r = r.with(eventlog.Meta{Step: step(i), Body: fmt.Sprint("body ", i),
			At: noon.Add(time.Duration(i) * time.Second)}, "test.kind")
	}
	return r
}

func TestMemory_of_commands(t *testing.T) {
	t.Parallel()
	t.Run("keeps each for a day", func(t *testing.T) {
		t.Parallel()
		r := remembering(3)
		second := noon.Add(time.Second)
		if r.find(step(1), second.Add(rememberFor)) == nil {
			t.Error("it is forgotten within the day")
		}
		if r.find(step(1), second.Add(rememberFor+time.Millisecond)) != nil {
			t.Error("it is remembered beyond the day")
		}
		if r.find(step(7), noon) != nil {
			t.Error("it remembers what never was")
		}
	})
	t.Run("keeps a creation for ever", func(t *testing.T) {
		t.Parallel()
		if remembering(3).find(step(0), noon.AddDate(10, 0, 0)) == nil {
			t.Error("it is forgotten")
		}
	})
	t.Run("keeps the newest thousand", func(t *testing.T) {
		t.Parallel()
		for _, n := range []int{1000, 1001, 1999, 2000, 2001, 2999, 3000, 5500} {
			r := remembering(n)
			for _, i := range []int{n - 1, n - 500, n - 1000} {
				if was := r.find(step(i), noon); was == nil || was.body != fmt.Sprint("body ", i) {
					t.Errorf("of %d steps, %d is forgotten", n, i)
				}
			}
			if n > 1000 && r.find(step(n-1001), noon) != nil {
				t.Errorf("of %d steps, the 1,001st from the end is remembered", n)
			}
			length := 0
			for ; r != nil; r = r.before {
				length++
			}
			if length >= 2*rememberMost {
				t.Errorf("of %d steps, %d are kept", n, length)
			}
		}
	})
	t.Run("takes none but the first for the creation", func(t *testing.T) {
		t.Parallel()
		const n = 2 * rememberMost // when it is trimmed
		if remembering(n).find(step(n-rememberMost), noon.AddDate(0, 0, 2)) != nil {
			t.Error("the oldest that is kept is remembered beyond its day")
		}
	})
	t.Run("is one entry for the events of one step", func(t *testing.T) {
		t.Parallel()
		r := remembering(2)
		if again := r.with(eventlog.Meta{Step: step(1)}, "another"); again != r {
			t.Error("it is two")
		}
	})
	t.Run("of a state that is in use is never changed", func(t *testing.T) {
		t.Parallel()
		old := remembering(2*rememberMost - 1)
		_ = old.with(eventlog.Meta{Step: step(1 << 20)}, "test.kind")
		if old.length != 2*rememberMost-1 || old.find(step(2*rememberMost-2), noon) == nil {
			t.Error("it was changed")
		}
	})
}

func TestRepeat(t *testing.T) {
	t.Parallel()
	rename := func(r *rig, p domain.PresetID, m Meta) (Preset, error) {
		return r.presets().Edit(t.Context(), EditPreset{Preset: p,
			Change: func(slug string, d preset.Draft) (string, preset.Draft, error) {
				d.Name = string(m.Body)
				return slug, d, nil
			}}, m)
	}
	t.Run("with the same body answers with the state of now, also from another process", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		p := r.create(olga, "one")
		m := repeatable(olga, "First")
		if left, err := rename(r, p, m); err != nil || left.Replayed {
			t.Fatalf("%+v: %v", left, err)
		}
		if _, err := rename(r, p, repeatable(olga, "Second")); err != nil {
			t.Fatal(err)
		}
		before := r.head()
		for _, process := range []*rig{r, r.other()} {
			left, err := rename(process, p, m)
			if err != nil || !left.Replayed || left.State.Draft.Name != "Second" || left.Revision != 2 {
				t.Errorf("left %+v: %v", left, err)
			}
		}
		if r.head() != before {
			t.Error("it was done again")
		}
	})
	t.Run("with another body is refused", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		p := r.create(olga, "one")
		m := repeatable(olga, "First")
		if _, err := rename(r, p, m); err != nil {
			t.Fatal(err)
		}
		m.Body = []byte("Other")
		_, err := rename(r, p, m)
		refused(t, err, "idempotency_key_reused")
	})
	t.Run("after a day is judged afresh", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.at(noon)
		p := r.create(olga, "one")
		m := repeatable(olga, "First")
		for _, later := range []time.Duration{0, 24 * time.Hour, 24*time.Hour + time.Second} {
			r.at(noon.Add(later))
			if _, err := rename(r, p, repeatable(olga, fmt.Sprint("Between ", later))); err != nil {
				t.Fatal(err)
			}
			left, err := rename(r, p, m)
			if err != nil || left.Replayed != (later == 24*time.Hour) {
				t.Errorf("after %v: %+v: %v", later, left, err)
			}
		}
	})
	t.Run("is recognised though the clock went backwards, and came back", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.at(noon)
		p := r.create(olga, "one")
		before, back := repeatable(olga, "First"), repeatable(olga, "Second")
		if _, err := rename(r, p, before); err != nil {
			t.Fatal(err)
		}
		r.at(noon.AddDate(-1, 0, 0))
		if _, err := rename(r, p, back); err != nil {
			t.Fatal(err)
		}
		head := r.head()
		for _, now := range []time.Time{noon.AddDate(-2, 0, 0), noon.AddDate(-1, 0, 0), noon.Add(time.Minute),
			noon.Add(rememberFor)} {
			for what, m := range map[string]Meta{"before it went back": before, "while it was back": back} {
				for _, process := range []*rig{r, r.other()} {
					process.at(now)
					if left, err := rename(process, p, m); err != nil || !left.Replayed {
						t.Errorf("at %s, what was done %s is done again: %+v: %v", now, what, left, err)
					}
				}
			}
		}
		if r.head() != head {
			t.Error("something was done again")
		}
		r.at(noon.Add(rememberFor + time.Millisecond)) // and not for ever
		if left, err := rename(r, p, back); err != nil || left.Replayed {
			t.Errorf("after its day it left %+v: %v", left, err)
		}
	})
	t.Run("of what was refused, or changed nothing, is judged afresh", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		p := r.create(olga, "one")
		m := repeatable(olga, "one") // the name that it has
		for range 2 {
			if left, err := rename(r, p, m); err != nil || left.Replayed {
				t.Errorf("left %+v: %v", left, err)
			}
		}
	})
}
