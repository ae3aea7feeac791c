package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"github.com/google/uuid"

	"prelude/domain"
)

// What the codec refuses.
var (
	// ErrUnknownEvent: this binary does not know the event's name, most likely because a newer one
	// wrote it.
	ErrUnknownEvent = errors.New("an event of an unknown name")
	errNoKeys       = errors.New("the log was opened without a vault: it can be read only")
)

// Head is what is known of a stored event without decoding it: neither the event nor its metadata.
func Head(raw Raw) (Record, error) {
	stream, err := ParseStream(raw.Stream)
	return Record{ID: raw.ID, Stream: stream, Revision: raw.Revision, Position: raw.Position, Name: raw.Type}, err
}

// Decode reads a stored event. Where its name is not registered the record's Event is nil.
func Decode(raw Raw) (Record, error) {
	rec, err := Head(raw)
	if err != nil {
		return Record{}, err
	}
	if rec.Meta, err = decodeMeta(raw.Meta); err != nil {
		return Record{}, fmt.Errorf("metadata of %s: %w", raw.Type, err)
	}
	if rec.Event, err = registered.decode(raw.Type, raw.Data); err != nil {
		return Record{}, fmt.Errorf("decode %s: %w", raw.Type, err)
	}
	return rec, nil
}

func (l *Log) propose(ctx context.Context, s Stream, expected Revision, meta Meta, events []any,
) ([]any, []Proposed, error) {
	keys, err := l.keysOf(ctx, events)
	if err != nil {
		return nil, nil, err
	}
	stored := encodeMeta(meta)
	all := make([]any, len(events))
	proposed := make([]Proposed, len(events))
	for i, e := range events {
		name := registered.nameOf[reflect.TypeOf(e)]
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

// The keys of the stored metadata. The first two are the store's own words.
const (
	metaCorrelation = "$correlationId"
	metaCausation   = "$causationId"
)

func encodeMeta(m Meta) []byte {
	flat := map[string]string{}
	put := func(k, v string) {
		if v != "" {
			flat[k] = v
		}
	}
	put(metaCorrelation, m.Correlation)
	put(metaCausation, m.Command.String())
	put("step", m.Step.String())
	if m.Attempt != uuid.Nil {
		put("attempt", m.Attempt.String())
	}
	put("at", strconv.FormatInt(m.At.UnixMilli(), 10))
	put("org", m.Org)
	put("user", m.User)
	put("key", m.Key)
	put("job", m.Job)
	put("body", m.Body)
	put("rule", m.Rule)
	b, err := json.Marshal(flat)
	if err != nil {
		panic(err) // a map of strings has JSON
	}
	return b
}

func decodeMeta(b []byte) (Meta, error) {
	var flat map[string]string
	if err := json.Unmarshal(b, &flat); err != nil {
		return Meta{}, err
	}
	m := Meta{Correlation: flat[metaCorrelation], Org: flat["org"], User: flat["user"],
		Key: flat["key"], Job: flat["job"], Body: flat["body"], Rule: flat["rule"]}
	at, err := strconv.ParseInt(flat["at"], 10, 64)
	if err != nil {
		return Meta{}, err
	}
	m.At = time.UnixMilli(at).UTC()
	if m.Command, err = uuid.Parse(flat[metaCausation]); err != nil {
		return Meta{}, err
	}
	if m.Step, err = uuid.Parse(flat["step"]); err != nil {
		return Meta{}, err
	}
	if attempt := flat["attempt"]; attempt != "" {
		m.Attempt, err = uuid.Parse(attempt)
	}
	return m, err
}

// By is who did it.
func (m Meta) By() domain.Principal {
	return domain.Principal{Org: domain.OrgID(m.Org), User: domain.UserID(m.User),
		Key: domain.APIKeyID(m.Key), Job: m.Job}
}
