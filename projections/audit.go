package projections

import (
	"time"

	"github.com/jackc/pgx/v5"

	"prelude/internal/eventlog"
)

// putAudit keeps an entry for each event of an org, if its name is known.
func putAudit(b *pgx.Batch, batch []eventlog.Record) error {
	var rows []eventlog.Record
	for _, rec := range batch {
		if rec.Event != nil && rec.Stream.Object() != "" {
			rows = append(rows, rec)
		}
	}
	if len(rows) == 0 {
		return nil
	}
	entries := column(rows, eventlog.Record.Entry)
	data, err := texts(entries, func(e eventlog.Entry) any { return e.Data })
	if err != nil {
		return err
	}
	fields, err := lists(entries, func(e eventlog.Entry) []string { return e.Fields })
	if err != nil {
		return err
	}
	text := func(value func(eventlog.Entry) string) []string { return column(entries, value) }
	b.Queue(`INSERT INTO audit (org, pos, id, kind, object, revision, at, user_id, key_id, job, rule,
			command, fields, data)
		SELECT org, pos, id, kind, object, revision, at, user_id, key_id, job, rule, command,
			ARRAY(SELECT jsonb_array_elements_text(fields::jsonb)), data::jsonb
		FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::bigint[],
			$7::timestamptz[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[],
			$14::text[]) AS u (org, pos, id, kind, object, revision, at, user_id, key_id, job, rule, command,
			fields, data)
		ON CONFLICT DO NOTHING`,
		column(rows, func(r eventlog.Record) string { return "org_" + r.Stream.Org }),
		column(entries, func(e eventlog.Entry) int64 { return int64(e.Position) }),
		text(func(e eventlog.Entry) string { return e.ID }),
		text(func(e eventlog.Entry) string { return e.Kind }),
		text(func(e eventlog.Entry) string { return e.Object }),
		column(entries, func(e eventlog.Entry) int64 { return int64(e.Revision) }),
		column(entries, func(e eventlog.Entry) time.Time { return e.At }),
		text(func(e eventlog.Entry) string { return e.User }),
		text(func(e eventlog.Entry) string { return e.Key }),
		text(func(e eventlog.Entry) string { return e.Job }),
		text(func(e eventlog.Entry) string { return e.Rule }),
		text(func(e eventlog.Entry) string { return e.Command }),
		fields, data,
	)
	return nil
}
