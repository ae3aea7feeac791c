package domain_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"prelude/domain"
)

func TestEncodeID(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		bytes [16]byte
		want  string
	}{
		{"zero", [16]byte{}, "prs_00000000000000000000000000"},
		{"one", [16]byte{15: 1}, "prs_00000000000000000000000001"},
		{"thirty-two", [16]byte{15: 32}, "prs_00000000000000000000000010"},
		{"the highest bit", [16]byte{0: 0x80}, "prs_40000000000000000000000000"},
		{"all bits", [16]byte{
			255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
		}, "prs_7zzzzzzzzzzzzzzzzzzzzzzzzz"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := domain.EncodeID(domain.PresetPrefix, c.bytes); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// decode takes an id apart by arithmetic of its own.
func decode(id string) (b [16]byte) {
	for _, c := range domain.Bare(id) {
		carry := strings.IndexRune("0123456789abcdefghjkmnpqrstvwxyz", c)
		for i := 15; i >= 0; i-- {
			n := int(b[i])*32 + carry
			b[i], carry = byte(n), n>>8
		}
	}
	return b
}

func TestAnIDHoldsItsBytes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var b [16]byte
		copy(b[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes"))
		id := domain.EncodeID(domain.SessionPrefix, b)
		if !domain.ValidID(domain.SessionPrefix, id) {
			t.Fatalf("%s is not valid", id)
		}
		if decode(id) != b {
			t.Fatalf("%s does not hold %x", id, b)
		}
	})
}

func TestIDsOrderAsTheirBytes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var a, b [16]byte
		copy(a[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "a"))
		copy(b[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "b"))
		bytes := strings.Compare(string(a[:]), string(b[:]))
		if ids := strings.Compare(domain.EncodeID("x_", a), domain.EncodeID("x_", b)); ids != bytes {
			t.Fatalf("%x and %x order by %d, their ids by %d", a, b, bytes, ids)
		}
	})
}

func TestValidID(t *testing.T) {
	t.Parallel()
	good := "prs_" + strings.Repeat("7", 26)
	for _, c := range []struct {
		name, id string
		want     bool
	}{
		{"an id is valid", good, true},
		{"another prefix is not", "ses_" + strings.Repeat("7", 26), false},
		{"no prefix is not", strings.Repeat("7", 26), false},
		{"too short is not", good[:len(good)-1], false},
		{"too long is not", good + "7", false},
		{"more than 128 bits are not", "prs_8" + strings.Repeat("0", 25), false},
		{"capitals are not", "prs_7" + strings.Repeat("A", 25), false},
		{"letters that are read wrongly are not", "prs_7" + strings.Repeat("o", 25), false},
		{"a slash is not", "prs_7/" + strings.Repeat("7", 24), false},
		{"a character of many bytes is not", "prs_7" + strings.Repeat("7", 23) + "é", false},
		{"nothing is not", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := domain.ValidID(domain.PresetPrefix, c.id); got != c.want {
				t.Errorf("ValidID is %t", got)
			}
		})
	}
}

func TestBare(t *testing.T) {
	t.Parallel()
	for id, want := range map[domain.PresetID]string{"prs_01": "01", "org": "org", "": "", "a_b_c": "b_c"} {
		if got := domain.Bare(id); got != want {
			t.Errorf("Bare(%q) is %q, want %q", id, got, want)
		}
	}
}
