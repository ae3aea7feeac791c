package eventlog_test

import (
	"bytes"
	"encoding/hex"
	"testing"

	"pgregory.net/rapid"

	"prelude/internal/eventlog"
)

func newKey(t fataler, fill byte) *eventlog.Key {
	t.Helper()
	key, err := eventlog.NewKey(bytes.Repeat([]byte{fill}, eventlog.KeySize))
	if err != nil {
		t.Fatalf("%v", err)
	}
	return key
}

func TestAKeyOpensWhatItSealed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		key := newKey(t, 1)
		text, aad := rapid.SliceOf(rapid.Byte()).Draw(t, "text"), rapid.SliceOf(rapid.Byte()).Draw(t, "aad")
		sealed := key.Seal(text, aad)
		if got, err := key.Open(sealed, aad); err != nil || !bytes.Equal(got, text) {
			t.Fatalf("%x opens as %x, %v", text, got, err)
		}
		if bytes.Equal(sealed, key.Seal(text, aad)) {
			t.Fatal("the same text is sealed to the same bytes")
		}
		if _, err := key.Open(sealed, append(aad, 0)); err == nil {
			t.Fatal("it opens in another place")
		}
		if _, err := newKey(t, 2).Open(sealed, aad); err == nil {
			t.Fatal("it opens with another key")
		}
		changed := bytes.Clone(sealed)
		changed[rapid.IntRange(0, len(sealed)-1).Draw(t, "place")] ^= 1
		if _, err := key.Open(changed, aad); err == nil {
			t.Fatal("it opens after it was changed")
		}
		if _, err := key.Open(sealed[:rapid.IntRange(0, len(sealed)-1).Draw(t, "cut")], aad); err == nil {
			t.Fatal("it opens when it was cut")
		}
	})
}

func TestMAC(t *testing.T) {
	t.Parallel()
	mac := newKey(t, 1).MAC("receipt/1", []byte("text"))
	const want = "c0a9f1a12331f5a3955e85894944d27a5fbbe0cb1e0403fd396b4f9073a0516f"
	if got := hex.EncodeToString(mac); got != want {
		t.Errorf("it is %s", got)
	}
	for what, other := range map[string][]byte{
		"key":     newKey(t, 2).MAC("receipt/1", []byte("text")),
		"purpose": newKey(t, 1).MAC("body", []byte("text")),
		"text":    newKey(t, 1).MAC("receipt/1", []byte("texts")),
		"border":  newKey(t, 1).MAC("receipt/1t", []byte("ext")),
	} {
		if bytes.Equal(mac, other) {
			t.Errorf("another %s has the same HMAC", what)
		}
	}
}

func TestAKeyHas32Bytes(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 16, 24, 31, 33} {
		if _, err := eventlog.NewKey(make([]byte, n)); err == nil {
			t.Errorf("one of %d bytes is taken", n)
		}
	}
}
