package readmodels

import (
	"context"
	"fmt"
	"time"

	"prelude/domain"
	"prelude/internal/authz"
	"prelude/internal/eventlog"
)

// AuditFilter chooses entries. Empty fields choose all.
type AuditFilter struct {
	Actor  string // a user's id
	Object string
	Kind   string
	From   *time.Time // from then on
	To     *time.Time // before then
}

type entryRow struct {
	Pos      int64
	ID       string
	Kind     string
	Object   string
	Revision int64
	At       time.Time
	UserID   string
	KeyID    string
	Job      string
	Rule     string
	Command  string
	Fields   []string
	Data     []byte
	Private  bool // it is about another's own preset
}

// Audit lists what happened in the caller's org, the newest first. Of others' own presets it has no words, and an
// auditor reads no notes.
func (r *Reader) Audit(ctx context.Context, who domain.Principal, f AuditFilter, p Page,
) (List[eventlog.Entry], error) {
	if _, err := authz.May(who, authz.SeeAudit, authz.Thing{Org: who.Org}); err != nil {
		return List[eventlog.Entry]{}, err
	}
	from, err := p.cursor()
	if err != nil {
		return List[eventlog.Entry]{}, err
	}
	compare, direction := p.order()
	var rows []entryRow
	err = r.ask(ctx, who.Org, func(b *batch) {
		// A preset that the views do not have counts as another's.
		b.Queue(fmt.Sprintf(`SELECT a.*, named.preset IS NOT NULL AND p.scope IS DISTINCT FROM 'org'
				AND p.owner IS DISTINCT FROM $9 AS private
			FROM (SELECT pos, id, kind, object, revision, at, user_id, key_id, job, rule, command, fields, data
				FROM views.audit
				WHERE org = $1 AND ($2 = '' OR user_id = $2) AND ($3 = '' OR object = $3)
				AND ($4 = '' OR kind = $4) AND ($5::timestamptz IS NULL OR at >= $5)
				AND ($6::timestamptz IS NULL OR at < $6) AND pos %s $7 ORDER BY pos %s LIMIT $8) a
			CROSS JOIN LATERAL (SELECT CASE WHEN a.kind LIKE 'preset.%%' THEN a.object
				ELSE a.data->'preset'->>'id' END AS preset) named
			LEFT JOIN views.presets p ON p.org = $1 AND p.id = named.preset
			ORDER BY a.pos %[2]s`, compare, direction), who.Org, f.Actor, f.Object, f.Kind, f.From, f.To,
			from.N, p.Limit+1, who.User).Query(scan(&rows))
	})
	if err != nil {
		return List[eventlog.Entry]{}, wrap("list the audit", err)
	}
	entries := make([]eventlog.Entry, len(rows))
	for i, row := range rows {
		entries[i] = eventlog.Entry{ID: row.ID, Kind: row.Kind, Object: row.Object,
			Revision: eventlog.Revision(row.Revision), Position: eventlog.Position(row.Pos),
			At: row.At.UTC(), User: row.UserID, Key: row.KeyID, Job: row.Job, Rule: row.Rule,
			Command: row.Command, Fields: row.Fields}
		if err := stored(row.Data, &entries[i].Data); err != nil {
			return List[eventlog.Entry]{}, wrap("read an entry", err)
		}
		if row.Private {
			entries[i] = entries[i].Wordless()
		}
		if who.Role == domain.Auditor {
			delete(entries[i].Data, "note")
		}
	}
	return list(entries, p.Limit, func(e eventlog.Entry) cursor { return cursor{N: int64(e.Position)} }), nil
}

// MayFollow says why somebody may not follow all that happens in the org, if so.
func (r *Reader) MayFollow(who domain.Principal) error {
	_, err := authz.May(who, authz.SeeAudit, authz.Thing{Org: who.Org})
	return err
}

// History replays a preset's stream: every event, the oldest first if p.Asc.
func (r *Reader) History(ctx context.Context, who domain.Principal, id domain.PresetID, p Page,
) (List[eventlog.Entry], error) {
	if _, err := r.Preset(ctx, who, id); err != nil {
		return List[eventlog.Entry]{}, err
	}
	from, err := p.cursor()
	if err != nil {
		return List[eventlog.Entry]{}, err
	}
	start, dir := eventlog.Revision(from.N+1), eventlog.Forwards
	if !p.Asc {
		start, dir = eventlog.Last, eventlog.Backwards
		if from.N < 1<<62 {
			start = eventlog.Revision(from.N - 1)
		}
	}
	records := []eventlog.Record{}
	if start >= 0 {
		if records, err = r.take(ctx, eventlog.PresetStream(who.Org, id), start, dir, p.Limit+1); err != nil {
			return List[eventlog.Entry]{}, err
		}
	}
	entries := make([]eventlog.Entry, len(records))
	for i, rec := range records {
		entries[i] = rec.Entry()
		if who.Role == domain.Auditor {
			delete(entries[i].Data, "note") // as in the audit
		}
	}
	return list(entries, p.Limit, func(e eventlog.Entry) cursor { return cursor{N: int64(e.Revision)} }), nil
}

// take reads at most n records of a stream, and opens what is under the org's key.
func (r *Reader) take(ctx context.Context, s eventlog.Stream, from eventlog.Revision, dir eventlog.Direction,
	n int) (records []eventlog.Record, err error) {
	err = eventlog.Unchanged(ctx, func(bool) error {
		records = nil
		for rec, err := range r.Log.Read(ctx, s, from, dir) {
			if err != nil {
				return err
			}
			if records = append(records, rec); len(records) == n {
				break
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return records, r.Log.Open(ctx, records, "o.")
}
