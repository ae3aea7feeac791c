package domain_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"prelude/domain"
)

func TestValidSlug(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, slug string
		want       bool
	}{
		{"letters, digits and dashes are a slug", "support-tone-2", true},
		{"a digit may be first", "2nd", true},
		{"one character is enough", "a", true},
		{"a dash may be last", "a-", true},
		{"63 characters are a slug", strings.Repeat("a", 63), true},
		{"64 characters are not", strings.Repeat("a", 64), false},
		{"nothing is not", "", false},
		{"a dash may not be first", "-a", false},
		{"capitals are not", "Support", false},
		{"a dot is not", "a.b", false},
		{"a space is not", "a b", false},
		{"an underscore is not", "a_b", false},
		{"an at is not", "a@v1", false},
		{"a slash is not", "a/b", false},
		{"NUL is not", "a\x00", false},
		{"letters beyond ASCII are not", "größe", false},
		{"invalid UTF-8 is not", "a\xff", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := domain.ValidSlug(c.slug); got != c.want {
				t.Errorf("ValidSlug is %t", got)
			}
		})
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, text, fault string }{
		{"characters are counted, not bytes", strings.Repeat("é", 200), ""},
		{"201 characters are too long", strings.Repeat("é", 201), "too_long"},
		{"NUL is refused", "a\x00b", "nul"},
		{"invalid UTF-8 is refused", "a\xffb", "encoding"},
		{"nothing is a text", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var f domain.Faults
			if f.Text("name", c.text, 200); c.fault == "" {
				if len(f) > 0 {
					t.Errorf("fault %v", f)
				}
				return
			}
			if len(f) != 1 || f[0].Name != "name" || f[0].Code != c.fault {
				t.Errorf("faults %v, want %s", f, c.fault)
			}
		})
	}
}

func TestRequired(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"a": 0, " a ": 0, "": 1, " ": 1, "\t\n": 1, "\u00a0": 1} {
		var f domain.Faults
		if f.Required("name", text); len(f) != want {
			t.Errorf("%q has %d faults, want %d", text, len(f), want)
		}
	}
}

func TestAFaultNeverHoldsTheValue(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const marker = "Zx9Qk"
		var f domain.Faults
		text := rapid.String().Draw(t, "before") + marker + rapid.String().Draw(t, "after")
		f.Text("name", text, rapid.IntRange(0, 10).Draw(t, "limit"))
		f.Required("name", text)
		for _, one := range f {
			if strings.Contains(one.Detail+one.Code+one.Name, marker) {
				t.Fatalf("the fault holds the value: %v", one)
			}
		}
	})
}

func TestFaultsAreToldAtOnce(t *testing.T) {
	t.Parallel()
	var f domain.Faults
	if err := f.Err(); err != nil {
		t.Fatalf("no faults are %v", err)
	}
	f.Add("slug", "pattern", "must be a slug")
	f.Add("name", "required", "must not be empty")
	var e *domain.Error
	if !asError(f.Err(), &e) || e.Kind != domain.Invalid || e.Code != "invalid" {
		t.Fatalf("got %v", f.Err())
	}
	want := []domain.Field{{Name: "slug", Code: "pattern", Detail: "must be a slug"},
		{Name: "name", Code: "required", Detail: "must not be empty"}}
	if diff := cmp.Diff(want, e.Fields); diff != "" {
		t.Error(diff)
	}
}
