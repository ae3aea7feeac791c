package api

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"prelude/internal/eventlog"
	"prelude/readmodels"
)

// A position outside is opaque: eight bytes that stand for the log, then the position, in base64. One of
// another log is refused rather than read as a place in this one.
const logMark = 8

func markOf(logID string) [logMark]byte {
	sum := sha256.Sum256([]byte("prelude log " + logID))
	return [logMark]byte(sum[:logMark])
}

func (s *Server) token(at eventlog.Position) string {
	mark := markOf(s.LogID)
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(mark[:], uint64(at)))
}

// position reads a position that came from outside in a field.
func (s *Server) position(field, text string) (eventlog.Position, error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) != logMark+8 {
		return 0, bad(field, "position", "is not a position that an answer gave")
	}
	if [logMark]byte(b[:logMark]) != markOf(s.LogID) {
		return 0, bad(field, "position", "is a position of another log")
	}
	return eventlog.Position(binary.BigEndian.Uint64(b[logMark:])), nil
}

// asOf reads as_of: nil: it was not asked for. What lies in the future is now.
func (s *Server) asOf(q AsOfQuery) (*readmodels.AsOf, error) {
	if q.AsOf == "" {
		return nil, nil //nolint:nilnil // not asking is an answer
	}
	if at, err := time.Parse(time.RFC3339Nano, q.AsOf); err == nil {
		at = at.UTC()
		return &readmodels.AsOf{At: &at}, nil
	}
	at, err := s.position("query.as_of", q.AsOf)
	if err != nil {
		return nil, bad("query.as_of", "as_of", "must be a time in RFC 3339 or a position that an answer gave")
	}
	return &readmodels.AsOf{Position: at}, nil
}

// Time is written in UTC with milliseconds.
type Time struct{ time.Time }

const timeForm = "2006-01-02T15:04:05.000Z"

// MarshalJSON writes RFC 3339.
func (t Time) MarshalJSON() ([]byte, error) {
	return []byte(`"` + t.UTC().Format(timeForm) + `"`), nil
}

// Schema is that of a time.
func (Time) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: "string", Format: "date-time"}
}

func timeOf(t *time.Time) *Time {
	if t == nil {
		return nil
	}
	return &Time{*t}
}

// asOfBody says what an answer as of some time stands for.
type asOfBody struct {
	At       Time   `json:"at"`
	Revision int64  `json:"revision"`
	Position string `json:"position"`
}

func (s *Server) asOfBody(p *readmodels.Point) *asOfBody {
	if p == nil {
		return nil
	}
	return &asOfBody{Time{p.At}, int64(p.Revision), s.token(p.Position)}
}
