package domain_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"prelude/domain"
)

func TestSecret(t *testing.T) {
	t.Parallel()
	key := domain.OrgKey("org_1")
	t.Run("an open text is not written", func(t *testing.T) {
		t.Parallel()
		for _, s := range []domain.Secret{domain.Seal(key, "text"), {Text: "text"}, domain.Seal(key, "")} {
			if b, err := json.Marshal(s); err == nil {
				t.Errorf("%+v was written as %s", s, b)
			}
		}
	})
	t.Run("a sealed one is written without its text", func(t *testing.T) {
		t.Parallel()
		b, err := json.Marshal(domain.Secret{Key: key, Text: "text", Sealed: []byte{1, 2}})
		if want := `{"key":"o.1","sealed":"AQI="}`; err != nil || string(b) != want {
			t.Errorf("got %s, %v, want %s", b, err, want)
		}
	})
	t.Run("none is null", func(t *testing.T) {
		t.Parallel()
		b, err := json.Marshal(domain.Secret{})
		if err != nil || string(b) != "null" {
			t.Errorf("got %s, %v", b, err)
		}
		s := domain.Seal(key, "text")
		if err := json.Unmarshal(b, &s); err != nil || !s.IsZero() {
			t.Errorf("null was read as %+v, %v", s, err)
		}
	})
	t.Run("what is no secret is not read", func(t *testing.T) {
		t.Parallel()
		var s domain.Secret
		if err := json.Unmarshal([]byte(`"text"`), &s); err == nil {
			t.Errorf("a text was read as %+v", s)
		}
	})
}

func TestASecretNeverWritesItsText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const marker = "Zx9Qk"
		s := domain.Secret{
			Key:    domain.KeyID(rapid.SampledFrom([]string{"", "o.1", "u.1.2"}).Draw(t, "key")),
			Text:   marker + rapid.String().Draw(t, "text"),
			Sealed: rapid.SampledFrom([][]byte{nil, {}, {1, 2, 3}}).Draw(t, "sealed"),
			Gone:   rapid.Bool().Draw(t, "gone"),
		}
		b, err := json.Marshal(struct{ Note domain.Secret }{s})
		if strings.Contains(string(b), marker) {
			t.Fatalf("%+v was written as %s", s, b)
		}
		if err != nil {
			return
		}
		var back struct{ Note domain.Secret }
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(domain.Secret{Key: s.Key, Sealed: s.Sealed}, back.Note); diff != "" {
			t.Fatalf("read back (-want +got):\n%s", diff)
		}
	})
}

func TestKeysAreToldApart(t *testing.T) {
	t.Parallel()
	const o, u, s = domain.OrgID("org_1"), domain.UserID("usr_2"), domain.SessionID("ses_3")
	for want, got := range map[string]domain.KeyID{
		"o.1":              domain.OrgKey(o),
		"u.1.2":            domain.UserKey(o, u),
		"s.1.3":            domain.SessionKey(o, s),
		"a.1.3.2":          domain.AuthorKey(o, s, u),
		"d.1.2.2006-01-02": domain.DayKey(o, u, "2006-01-02"),
	} {
		if string(got) != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestHash(t *testing.T) {
	t.Parallel()
	h := domain.HashOf(map[string]int{"a": 1})
	const want = "sha256:015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
	if h != want {
		t.Errorf("got %s", h)
	}
	if got := h.ETag(); got != "015abd7f5cc57a2dd94b75" {
		t.Errorf("the ETag is %s", got)
	}
	if h == domain.HashOf(map[string]int{"a": 2}) {
		t.Error("another content has the same hash")
	}
	defer func() {
		if recover() == nil {
			t.Error("a type without JSON has a hash")
		}
	}()
	domain.HashOf(func() {})
}
