package projections

import (
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"prelude/domain/preset"
	"prelude/internal/eventlog"
)

type presetRow = row[preset.Preset]

type versionRow struct {
	org, id string
	preset.Version
	note string
}

type labelRow struct {
	org, id, label, note, by string
	version                  int // 0: taken away
	at                       time.Time
}

// notePreset gathers what has rows of its own: versions, and where labels point. latest is among them.
func notePreset(r *presetRow, rec eventlog.Record) {
	label := func(l string, version int, note, by string, at time.Time) {
		r.labels[l] = labelRow{org: r.org, id: r.id, label: l, version: version, note: note, by: by, at: at}
	}
	switch e := rec.Event.(type) {
	case preset.Published:
		v := *r.state.Content(e.Version)
		r.versions = append(r.versions, versionRow{r.org, r.id, v, e.Note.Text})
		label(preset.Latest, e.Version, "", string(e.By), e.At)
	case preset.Labeled:
		label(e.Label, e.Version, e.Note.Text, string(e.By), e.At)
	case preset.Unlabeled:
		label(e.Label, 0, "", string(e.By), e.At)
	}
}

func putPresets(b *pgx.Batch, rows []*presetRow) error {
	if len(rows) == 0 {
		return nil
	}
	states, err := texts(rows, func(r *presetRow) any { return r.state })
	if err != nil {
		return err
	}
	tags, err := lists(rows, tagsOf)
	if err != nil {
		return err
	}
	labels, err := lists(rows, func(r *presetRow) []string { return labelNames(r.state) })
	if err != nil {
		return err
	}
	b.Queue(`INSERT INTO presets AS t (org, id, scope, owner, slug, tags, language, status, labels,
			created_at, updated_at, state, revision, pos)
		SELECT org, id, scope, owner, slug, ARRAY(SELECT json_array_elements_text(tags::json)), language,
			status, ARRAY(SELECT json_array_elements_text(labels::json)), created_at, updated_at, state::json,
			revision, pos
		FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
			$8::text[], $9::text[], $10::timestamptz[], $11::timestamptz[], $12::text[], $13::bigint[],
			$14::bigint[]) AS u (org, id, scope, owner, slug, tags, language, status, labels, created_at,
			updated_at, state, revision, pos)
		ON CONFLICT (org, id) DO UPDATE SET slug = excluded.slug, tags = excluded.tags,
			language = excluded.language, status = excluded.status, labels = excluded.labels,
			updated_at = excluded.updated_at, state = excluded.state, revision = excluded.revision,
			pos = excluded.pos`,
		column(rows, func(r *presetRow) string { return r.org }),
		column(rows, func(r *presetRow) string { return r.id }),
		column(rows, func(r *presetRow) string { return string(r.state.Scope) }),
		column(rows, func(r *presetRow) string { return string(r.state.Owner) }),
		column(rows, func(r *presetRow) string { return r.state.Slug }),
		tags,
		column(rows, func(r *presetRow) string { return r.state.Draft.Language }),
		column(rows, func(r *presetRow) string { return r.state.Status() }),
		labels,
		column(rows, func(r *presetRow) time.Time { return r.state.CreatedAt }),
		column(rows, func(r *presetRow) time.Time { return r.state.UpdatedAt }),
		states,
		column(rows, func(r *presetRow) int64 { return int64(r.revision) }),
		column(rows, func(r *presetRow) int64 { return int64(r.position) }),
	)
	return nil
}

func labelNames(p preset.Preset) []string {
	var names []string
	for l := range p.AllLabels() {
		names = append(names, l)
	}
	slices.Sort(names)
	return names
}

func putVersions(b *pgx.Batch, presets []*presetRow) error {
	var rows []versionRow
	for _, p := range presets {
		rows = append(rows, p.versions...)
	}
	if len(rows) == 0 {
		return nil
	}
	contents, err := texts(rows, func(r versionRow) any { return r.Content })
	if err != nil {
		return err
	}
	b.Queue(`INSERT INTO preset_versions (org, preset, version, hash, note, content, by, at)
		SELECT org, preset, version, hash, note, content::json, by, at
		FROM unnest($1::text[], $2::text[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[],
			$8::timestamptz[]) AS u (org, preset, version, hash, note, content, by, at)
		ON CONFLICT DO NOTHING`,
		column(rows, func(r versionRow) string { return r.org }),
		column(rows, func(r versionRow) string { return r.id }),
		column(rows, func(r versionRow) int { return r.Number }),
		column(rows, func(r versionRow) string { return string(r.Hash) }),
		column(rows, func(r versionRow) string { return r.note }),
		contents,
		column(rows, func(r versionRow) string { return string(r.By) }),
		column(rows, func(r versionRow) time.Time { return r.At }),
	)
	return nil
}

func putLabels(b *pgx.Batch, presets []*presetRow) error {
	for _, p := range presets {
		for _, l := range p.labels {
			if l.version == 0 {
				b.Queue(`DELETE FROM preset_labels WHERE org = $1 AND preset = $2 AND label = $3`,
					l.org, l.id, l.label)
				continue
			}
			b.Queue(`INSERT INTO preset_labels (org, preset, label, version, note, moved_by, moved_at)
				VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (org, preset, label) DO UPDATE SET
				version = excluded.version, note = excluded.note, moved_by = excluded.moved_by,
				moved_at = excluded.moved_at`,
				l.org, l.id, l.label, l.version, l.note, l.by, l.at)
		}
	}
	return nil
}

// putSearch writes what the search in Postgres asks.
func putSearch(b *pgx.Batch, rows []*presetRow) error {
	if len(rows) == 0 {
		return nil
	}
	tags, err := lists(rows, tagsOf)
	if err != nil {
		return err
	}
	b.Queue(`INSERT INTO preset_search AS t (org, id, owner, scope, status, language, tags, name,
			description, tsv, tri, updated_at, deleted, pos)
		SELECT org, id, owner, scope, status, language, tags, name, description,
			preset_search_tsv(name, description, tags, instructions),
			preset_search_tri(name, description, tags, language, instructions), updated_at, deleted, pos
		FROM (SELECT *, ARRAY(SELECT json_array_elements_text(listed::json)) AS tags
			FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
			$8::text[], $9::text[], $10::text[], $11::timestamptz[], $12::boolean[], $13::bigint[]) AS u (org,
			id, owner, scope, status, language, listed, name, description, instructions, updated_at, deleted,
			pos) OFFSET 0) AS u -- without it, the list is made for each of its uses
		ON CONFLICT (org, id) DO UPDATE SET status = excluded.status, language = excluded.language,
			tags = excluded.tags, name = excluded.name, description = excluded.description,
			tsv = excluded.tsv, tri = excluded.tri, updated_at = excluded.updated_at,
			deleted = excluded.deleted, pos = excluded.pos`,
		column(rows, func(r *presetRow) string { return r.org }),
		column(rows, func(r *presetRow) string { return r.id }),
		column(rows, func(r *presetRow) string { return string(r.state.Owner) }),
		column(rows, func(r *presetRow) string { return string(r.state.Scope) }),
		column(rows, func(r *presetRow) string { return r.state.Status() }),
		column(rows, func(r *presetRow) string { return r.state.Draft.Language }),
		tags,
		column(rows, func(r *presetRow) string { return r.state.Draft.Name }),
		column(rows, func(r *presetRow) string { return r.state.Draft.Description }),
		column(rows, func(r *presetRow) string { return r.state.Draft.Instructions }),
		column(rows, func(r *presetRow) time.Time { return r.state.UpdatedAt }),
		column(rows, func(r *presetRow) bool { return r.state.DeletedAt != nil }),
		column(rows, func(r *presetRow) int64 { return int64(r.position) }),
	)
	return nil
}

func tagsOf(r *presetRow) []string { return r.state.Draft.Tags }
