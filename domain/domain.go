// Package domain holds the words that all aggregates share: typed ids, refusals, secrets, hashes
// and the one who acts. It and the packages below it decide what can happen and why. They import
// the standard library and each other only: no clock, no randomness, no context, no I/O.
package domain

import "strings"

// An id is a prefix and 26 characters of Crockford's base32, lower case, for 16 bytes.
type (
	// OrgID is an org's id: org_…
	OrgID string
	// UserID is a person's id: usr_…
	UserID string
	// APIKeyID is an API key's id: key_…
	APIKeyID string
	// PresetID is a preset's id: prs_…
	PresetID string
	// SessionID is a session's id: ses_…
	SessionID string
	// MessageID is a message's id: msg_…
	MessageID string
	// ReplyID is a reply's id: rpl_…
	ReplyID string
)

// The prefixes of the typed ids.
const (
	OrgPrefix     = "org_"
	UserPrefix    = "usr_"
	APIKeyPrefix  = "key_"
	PresetPrefix  = "prs_"
	SessionPrefix = "ses_"
	MessagePrefix = "msg_"
	ReplyPrefix   = "rpl_"
	EventPrefix   = "evt_"
)

const crockford = "0123456789abcdefghjkmnpqrstvwxyz"

// EncodeID writes the 128 bits of b after prefix, most significant first.
func EncodeID(prefix string, b [16]byte) string {
	var out [26]byte
	// 26 characters hold 130 bits: the first carries the top three of the 128.
	var acc, bits uint
	n := 25
	for i := 15; i >= 0; i-- {
		acc |= uint(b[i]) << bits
		for bits += 8; bits >= 5; bits -= 5 {
			out[n] = crockford[acc&31]
			acc >>= 5
			n--
		}
	}
	out[0] = crockford[acc&31]
	return prefix + string(out[:])
}

// ValidID says whether id is prefix and the 26 characters that EncodeID writes after it.
func ValidID(prefix, id string) bool {
	rest, ok := strings.CutPrefix(id, prefix)
	if !ok || len(rest) != 26 || rest[0] > '7' {
		return false
	}
	for i := range len(rest) {
		if strings.IndexByte(crockford, rest[i]) < 0 {
			return false
		}
	}
	return true
}

// Bare is an id without its prefix, as stream names carry it.
func Bare[ID ~string](id ID) string {
	_, rest, ok := strings.Cut(string(id), "_")
	if !ok {
		return string(id)
	}
	return rest
}
