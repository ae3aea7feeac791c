package eventlog

import (
	"time"

	"prelude/domain/completion"
)

// CloudEvent is a record for consumers outside: the envelope of CloudEvents 1.0 around ids, types
// and numbers; never a text of a person, nor a name that people gave.
type CloudEvent struct {
	SpecVersion string         `json:"specversion"`
	ID          string         `json:"id"`
	Source      string         `json:"source"`
	Type        string         `json:"type"`
	Subject     string         `json:"subject"`
	Time        time.Time      `json:"time"`
	Data        map[string]any `json:"data"`
	Position    Position       `json:"-"`
	Late        bool           `json:"-"` // it comes after what is newer
}

// CloudEvent makes the envelope of a record.
func (r Record) CloudEvent() CloudEvent {
	entry := r.Entry().Wordless()
	delete(entry.Data, "detail")
	if _, ok := r.Event.(completion.Started); ok {
		delete(entry.Data, "key") // the vault's
	}
	return CloudEvent{
		SpecVersion: "1.0", ID: entry.ID, Source: "/orgs/org_" + r.Stream.Org,
		Type: "prelude." + entry.Kind, Subject: entry.Object,
		Time: entry.At, Data: entry.Data, Position: r.Position, Late: r.Late,
	}
}
