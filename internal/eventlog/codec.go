package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"prelude/domain"
)

// What the codec refuses.
var (
	// ErrUnknownEvent: this binary does not know the event's name, most likely because a newer one
	// wrote it.
	ErrUnknownEvent = errors.New("an event of an unknown name")
	errNoKeys       = errors.New("the log was opened without a vault: it can be read only")
	errPartOfMeta   = errors.New("its time, its command or its step is missing")
)

// Head is what is known of a stored event without decoding it: neither the event nor its metadata. Error: [ErrForeign].
func Head(raw Raw) (Record, error) {
	stream, err := ParseStream(raw.Stream)
	return headOf(stream, raw), err
}

func headOf(s Stream, raw Raw) Record {
	return Record{ID: raw.ID, Stream: s, Revision: raw.Revision, Position: raw.Position, Name: raw.Type}
}

// Decode reads a stored event. Where its name is not registered the record's Event is nil. Errors: [ErrForeign] for an
// event of another application, which is not looked into; another one for what has our form and cannot be read.
func Decode(raw Raw) (Record, error) { return registered.record(raw) }

func (r registry) record(raw Raw) (Record, error) {
	stream, err := ParseStream(raw.Stream)
	if err != nil {
		return Record{}, err
	}
	return r.recordOf(stream, raw)
}

// recordOf reads a stored event of a stream.
func (r registry) recordOf(s Stream, raw Raw) (rec Record, err error) {
	rec = headOf(s, raw)
	if rec.Meta, err = decodeMeta(raw.Meta); err != nil {
		return Record{}, fmt.Errorf("metadata of %s: %w", raw.Type, err)
	}
	if rec.Event, err = r.decode(raw.Type, raw.Data); err != nil {
		return Record{}, fmt.Errorf("decode %s: %w", raw.Type, err)
	}
	return rec, nil
}

func (l *Log) propose(ctx context.Context, names map[reflect.Type]string, s Stream, expected Revision, meta Meta,
	events []any) ([]any, []Proposed, error) {
	keys, err := l.keysOf(ctx, events)
	if err != nil {
		return nil, nil, err
	}
	stored, err := encodeMeta(meta)
	if err != nil {
		return nil, nil, fmt.Errorf("encode metadata: %w", err)
	}
	all := make([]any, len(events))
	proposed := make([]Proposed, len(events))
	for i, e := range events {
		name := names[reflect.TypeOf(e)]
		if name == "" {
			panic(fmt.Sprintf("event %T is not registered, or not to be written yet", e))
		}
		all[i], err = seal(e, s, keys)
		if err != nil {
			return nil, nil, fmt.Errorf("seal %s: %w", name, err)
		}
		data, err := json.Marshal(all[i])
		if err != nil {
			return nil, nil, fmt.Errorf("encode %s: %w", name, err)
		}
		revision := expected + 1 + Revision(i)
		proposed[i] = Proposed{ID: meta.EventID(s, revision, name), Type: name, Data: data, Meta: stored}
	}
	return all, proposed, nil
}

// EventID is the id of the event that m's step appends to a stream at a revision. It follows from the
// step and the attempt, so that a repeated append is the same append, and the same command given to
// two processes at the same moment is not: one of them wins, and the other finds that it has.
func (m Meta) EventID(s Stream, revision Revision, name string) uuid.UUID {
	text := s.String() + "|" + strconv.FormatInt(int64(revision), 10) + "|" + name
	if m.Attempt != uuid.Nil {
		text += "|" + m.Attempt.String()
	}
	return uuid.NewSHA1(m.Step, []byte(text))
}

// storedMeta is an event's metadata as it is stored; the first two keys are the store's own words. Every reader of the
// log decodes it for every event.
type storedMeta struct {
	Causation   *uuid.UUID `json:"$causationId"`
	Correlation string     `json:"$correlationId,omitzero"`
	At          *int64     `json:"at,string"`
	Attempt     uuid.UUID  `json:"attempt,omitzero"`
	Body        string     `json:"body,omitzero"`
	Job         string     `json:"job,omitzero"`
	Key         string     `json:"key,omitzero"`
	Org         string     `json:"org,omitzero"`
	Rule        string     `json:"rule,omitzero"`
	Step        *uuid.UUID `json:"step"`
	User        string     `json:"user,omitzero"`
}

func encodeMeta(m Meta) ([]byte, error) {
	at := m.At.UnixMilli()
	return jsonv2.Marshal(storedMeta{Causation: &m.Command, Correlation: m.Correlation, At: &at, Attempt: m.Attempt,
		Body: m.Body, Job: m.Job, Key: m.Key, Org: m.Org, Rule: m.Rule, Step: &m.Step, User: m.User})
}

func decodeMeta(b []byte) (Meta, error) {
	var s storedMeta
	if err := jsonv2.Unmarshal(b, &s); err != nil {
		return Meta{}, err
	}
	if s.At == nil || s.Causation == nil || s.Step == nil {
		return Meta{}, errPartOfMeta
	}
	return Meta{Correlation: s.Correlation, Command: *s.Causation, Step: *s.Step, Attempt: s.Attempt,
		At: time.UnixMilli(*s.At).UTC(), Org: s.Org, User: s.User, Key: s.Key, Job: s.Job, Body: s.Body,
		Rule: s.Rule}, nil
}

// By is who did it.
func (m Meta) By() domain.Principal {
	return domain.Principal{Org: domain.OrgID(m.Org), User: domain.UserID(m.User),
		Key: domain.APIKeyID(m.Key), Job: m.Job}
}
