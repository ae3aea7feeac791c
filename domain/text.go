package domain

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// SlugRule says in words what a slug and a handle are.
const SlugRule = "1 to 63 of a–z, 0–9 and -, not beginning with -"

// ValidSlug says whether s is [a-z0-9][a-z0-9-]{0,62}.
func ValidSlug(s string) bool {
	if len(s) == 0 || len(s) > 63 || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// Text notes what is wrong with a text of people: more than limit characters, NUL, not UTF-8.
func (f *Faults) Text(field, s string, limit int) {
	switch {
	case !utf8.ValidString(s):
		f.Add(field, "encoding", "must be UTF-8")
	case strings.IndexByte(s, 0) >= 0:
		f.Add(field, "nul", "must not contain NUL")
	case utf8.RuneCountInString(s) > limit:
		f.Add(field, "too_long", fmt.Sprintf("must be at most %d characters", limit))
	}
}

// Required notes that a field is empty.
func (f *Faults) Required(field, s string) {
	if strings.TrimSpace(s) == "" {
		f.Add(field, "required", "must not be empty")
	}
}
