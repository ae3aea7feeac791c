package projections

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"prelude/domain/preset"
	"prelude/domain/session"
	"prelude/internal/eventlog"
)

// ViewsReader keeps presets, sessions, messages, the audit and the search in Postgres.
func ViewsReader() Reader {
	return Reader{Name: Views, Version: ViewsVersion, Parks: true, Apply: applyViews,
		Forget: forgetViews, tables: viewsSQL + searchSQL,
		Prefixes: []string{"org-", "user-", "apikey-", "preset-", "session-", "completion-"}}
}

func applyViews(ctx context.Context, tx pgx.Tx, batch []eventlog.Record) error {
	presets, err := foldRows[preset.Preset, preset.Event](ctx, tx, "presets", eventlog.PresetCategory, batch,
		notePreset)
	if err != nil {
		return err
	}
	sessions, err := foldRows[session.Session, session.Event](ctx, tx, "sessions", eventlog.SessionCategory,
		batch, nil)
	if err != nil {
		return err
	}
	b := &pgx.Batch{}
	for _, put := range []func(*pgx.Batch) error{
		func(b *pgx.Batch) error { return putPresets(b, presets) },
		func(b *pgx.Batch) error { return putVersions(b, presets) },
		func(b *pgx.Batch) error { return putLabels(b, presets) },
		func(b *pgx.Batch) error { return putSearch(b, presets) },
		func(b *pgx.Batch) error { return putSessions(b, sessions) },
		func(b *pgx.Batch) error { return putMessages(b, batch) },
		func(b *pgx.Batch) error { return putAudit(b, batch) },
	} {
		if err := put(b); err != nil {
			return err
		}
	}
	if b.Len() == 0 {
		return nil
	}
	return tx.SendBatch(ctx, b).Close()
}

// row is a thing as its events of a batch leave it.
type row[S any] struct {
	org, id  string
	state    S
	revision eventlog.Revision
	position eventlog.Position
	versions []versionRow
	labels   map[string]labelRow
}

type evolver[S, E any] interface{ Evolve(e E) S }

// errGap: a revision does not follow the one before. It is a fault of the program or of the log.
var errGap = fmt.Errorf("%w: its revision does not follow the one before", ErrPoison)

// foldRows folds a batch onto the rows that there are. An event of an unknown name changes nothing but the
// revision, and only of a thing that there is: what began with one cannot be folded. Else nothing is skipped.
func foldRows[S evolver[S, E], E any](ctx context.Context, tx pgx.Tx, table, category string,
	batch []eventlog.Record, note func(*row[S], eventlog.Record)) ([]*row[S], error) {
	var order []*row[S]
	known := map[eventlog.Stream]*row[S]{}
	var orgs, ids []string
	for _, rec := range batch {
		if rec.Stream.Category == category && known[rec.Stream] == nil {
			r := &row[S]{org: "org_" + rec.Stream.Org, id: rec.Stream.Object(), revision: eventlog.None,
				labels: map[string]labelRow{}}
			known[rec.Stream] = r
			order = append(order, r)
			orgs, ids = append(orgs, r.org), append(ids, r.id)
		}
	}
	if len(order) == 0 {
		return nil, nil
	}
	if err := readRows(ctx, tx, table, orgs, ids, order); err != nil {
		return nil, err
	}
	for _, rec := range batch {
		if r := known[rec.Stream]; r != nil && rec.Revision > r.revision {
			if err := foldRow[S, E](r, rec, note); err != nil {
				return nil, err
			}
		}
	}
	return slices.DeleteFunc(order, func(r *row[S]) bool { return r.revision == eventlog.None }), nil
}

func foldRow[S evolver[S, E], E any](r *row[S], rec eventlog.Record, note func(*row[S], eventlog.Record)) error {
	e, mine := rec.Event.(E)
	unknown := rec.Event == nil
	switch {
	case !mine && !unknown, unknown && r.revision == eventlog.None:
		return nil
	case rec.Revision != r.revision+1:
		return fmt.Errorf("%w: %d comes after %d", errGap, rec.Revision, r.revision)
	}
	r.revision, r.position = rec.Revision, rec.Position
	if unknown {
		return nil
	}
	r.state = r.state.Evolve(e)
	if note != nil {
		note(r, rec)
	}
	return nil
}

// byKeys asks for the rows of orgs ($1) with ids ($2), one after the other: a join would read all of a table of which
// Postgres knows nothing yet.
func byKeys(columns, table string) string {
	return fmt.Sprintf(`SELECT t.* FROM unnest($1::text[], $2::text[]) AS k (org, id)
		CROSS JOIN LATERAL (SELECT %s FROM %s t WHERE t.org = k.org AND t.id = k.id LIMIT 1) AS t`, columns, table)
}

func readRows[S any](ctx context.Context, tx pgx.Tx, table string, orgs, ids []string, order []*row[S],
) error {
	rows, err := tx.Query(ctx, byKeys("org, id, state, revision, pos", table), orgs, ids)
	if err != nil {
		return err
	}
	at := map[string]*row[S]{}
	for _, r := range order {
		at[r.org+r.id] = r
	}
	var org, id string
	var state []byte
	var revision, pos int64
	_, err = pgx.ForEachRow(rows, []any{&org, &id, &state, &revision, &pos}, func() error {
		r := at[org+id]
		r.revision, r.position = eventlog.Revision(revision), eventlog.Position(pos)
		return json.Unmarshal(state, &r.state)
	})
	return err
}

// column collects one value of each row, for unnest.
func column[R, T any](rows []R, value func(R) T) []T {
	all := make([]T, len(rows))
	for i, r := range rows {
		all[i] = value(r)
	}
	return all
}

// texts encodes each value as JSON.
func texts[R any](rows []R, value func(R) any) ([]string, error) {
	var failed error
	return column(rows, func(r R) string {
		b, err := json.Marshal(value(r))
		failed = errors.Join(failed, err)
		return string(b)
	}), failed
}

// lists encodes each value as a JSON list, for unnest takes arrays of arrays apart; nil is an empty one.
func lists[R any](rows []R, value func(R) []string) ([]string, error) {
	return texts(rows, func(r R) any { return append([]string{}, value(r)...) })
}
