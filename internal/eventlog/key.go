package eventlog

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"hash"
	"sync"
)

var (
	secretive sync.Map // reflect.Type → bool
	errShort  = errors.New("a sealed text is cut short")
	errSize   = errors.New("a key has 32 bytes")
)

// KeySize is the size of a key in bytes.
const KeySize = 32

// Key seals texts with AES-256-GCM and makes HMACs with a key derived from it.
type Key struct {
	aead cipher.AEAD
	mac  MACKey
}

// MACKey makes HMACs, and opens nothing.
type MACKey []byte

// NewKey makes a key of KeySize random bytes.
func NewKey(raw []byte) (*Key, error) {
	if len(raw) != KeySize {
		return nil, errSize // AES would take 16 or 24 too, and be weaker
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	mac, err := hkdf.Key(sha256.New, raw, nil, "prelude/hmac/1", KeySize)
	return &Key{aead: aead, mac: mac}, err
}

// Seal encrypts text, bound to aad: a random nonce of 12 bytes, then the ciphertext and its tag.
func (k *Key) Seal(text, aad []byte) []byte {
	nonce := make([]byte, k.aead.NonceSize(), k.aead.NonceSize()+len(text)+k.aead.Overhead())
	_, _ = rand.Read(nonce) // it cannot fail: crypto/rand ends the program instead
	return k.aead.Seal(nonce, nonce, text, aad)
}

// Open decrypts what Seal made with the same aad.
func (k *Key) Open(sealed, aad []byte) ([]byte, error) {
	n := k.aead.NonceSize()
	if len(sealed) < n {
		return nil, errShort
	}
	return k.aead.Open(nil, sealed[:n], sealed[n:], aad)
}

// MAC is the HMAC-SHA256 of text, for a purpose.
func (k *Key) MAC(purpose string, text []byte) []byte { return k.mac.MAC(purpose, text) }

// MACKey is the key that MAC uses.
func (k *Key) MACKey() MACKey { return k.mac }

// MAC is the HMAC-SHA256 of text, for a purpose.
func (k MACKey) MAC(purpose string, text []byte) []byte {
	h := k.Hash(purpose)
	h.Write(text)
	return h.Sum(nil)
}

// Hash makes the HMAC-SHA256 of what is written to it, for a purpose.
func (k MACKey) Hash(purpose string) hash.Hash {
	h := hmac.New(sha256.New, k)
	h.Write([]byte(purpose))
	h.Write([]byte{0})
	return h
}
