package domain

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
)

// KeyID names a key in the vault. Its form says whose it is; see the functions that make one.
type KeyID string

// OrgKey is the key of an org: its presets' texts and its notes.
func OrgKey(org OrgID) KeyID { return KeyID("o." + Bare(org)) }

// UserKey is the key of a person: name and address.
func UserKey(org OrgID, user UserID) KeyID { return KeyID("u." + Bare(org) + "." + Bare(user)) }

// SessionKey is the key of what belongs to a session as a whole: replies, title.
func SessionKey(org OrgID, s SessionID) KeyID { return KeyID("s." + Bare(org) + "." + Bare(s)) }

// AuthorKey is the key of what one author wrote in one session.
func AuthorKey(org OrgID, s SessionID, author UserID) KeyID {
	return KeyID("a." + Bare(org) + "." + Bare(s) + "." + Bare(author))
}

// DayKey is the key of a person's stateless completions on one UTC day (2006-01-02).
func DayKey(org OrgID, user UserID, day string) KeyID {
	return KeyID("d." + Bare(org) + "." + Bare(user) + "." + day)
}

// Secret is a text that is kept under a key. An event carries it open until it is appended; what is
// stored, and what is read back, is sealed until the log is asked to open it.
type Secret struct {
	Key    KeyID
	Text   string
	Sealed []byte
	Gone   bool // its key is destroyed: there is no text any more
}

// Seal returns text to be kept under key.
func Seal(key KeyID, text string) Secret { return Secret{Key: key, Text: text} }

// SealJSON returns the JSON of v to be kept under key.
func SealJSON(key KeyID, v any) Secret {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // it would make six bytes of one
	if err := enc.Encode(v); err != nil {
		panic(err) // a mistake in a type
	}
	return Seal(key, strings.TrimSuffix(b.String(), "\n"))
}

// IsZero says that there is no text at all.
func (s Secret) IsZero() bool { return s.Key == "" && s.Text == "" && s.Sealed == nil }

type storedSecret struct {
	Key    KeyID  `json:"key"`
	Sealed []byte `json:"sealed"`
}

var errOpenSecret = errors.New("a secret is written before it is sealed")

// MarshalJSON writes the sealed form, and refuses to write an open text.
func (s Secret) MarshalJSON() ([]byte, error) {
	if s.IsZero() {
		return []byte("null"), nil
	}
	if s.Sealed == nil {
		return nil, errOpenSecret
	}
	return json.Marshal(storedSecret{s.Key, s.Sealed})
}

// UnmarshalJSON reads the sealed form.
func (s *Secret) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*s = Secret{}
		return nil
	}
	var st storedSecret
	if err := json.Unmarshal(b, &st); err != nil {
		return err
	}
	*s = Secret{Key: st.Key, Sealed: st.Sealed}
	return nil
}
