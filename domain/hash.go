package domain

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// Hash names a content by what it is: "sha256:" and 64 hexadecimal digits.
type Hash string

// HashOf hashes the JSON of v, whose fields come in the order of its type. It panics on what has no
// JSON, which only a mistake in a type can bring about.
func HashOf(v any) Hash {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(b)
	return Hash("sha256:" + hex.EncodeToString(sum[:]))
}

// ETag is the short form of h that HTTP answers carry, without quotes.
func (h Hash) ETag() string { return string(h[len("sha256:") : len("sha256:")+22]) }
