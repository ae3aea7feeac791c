package readmodels

import (
	"context"
	"fmt"
	"time"

	"prelude/domain"
	"prelude/domain/preset"
	"prelude/internal/authz"
	"prelude/internal/eventlog"
)

// Preset is a preset as it is, or as it was.
type Preset struct {
	preset.Preset
	AsOf *Point
}

// seePreset: what the caller may not see does not exist.
func seePreset(who domain.Principal, p preset.Preset) error {
	if !p.Exists() {
		return domain.ErrNotFound
	}
	_, err := authz.May(who, authz.SeePreset,
		authz.Thing{Org: p.Org, Owner: p.Owner, Scope: string(p.Scope)})
	return err
}

type stateRow struct {
	State []byte
	Pos   int64
}

// Preset answers with a preset that the caller may see.
func (r *Reader) Preset(ctx context.Context, who domain.Principal, id domain.PresetID) (Preset, error) {
	var rows []stateRow
	err := r.ask(ctx, who.Org, func(b *batch) {
		b.Queue(`SELECT state, pos FROM views.presets WHERE org = $1 AND id = $2`, who.Org, id).
			Query(scan(&rows))
	})
	row, err := one(rows, wrap("ask for a preset", err))
	if err != nil {
		return Preset{}, err
	}
	var p Preset
	if err := stored(row.State, &p.Preset); err != nil {
		return p, wrap("read a preset", err)
	}
	return p, seePreset(who, p.Preset)
}

// PresetAsOf answers with a preset as it was. Rights are today's.
func (r *Reader) PresetAsOf(ctx context.Context, who domain.Principal, id domain.PresetID, as AsOf,
) (Preset, error) {
	if _, err := r.Preset(ctx, who, id); err != nil {
		return Preset{}, err
	}
	records, at, err := r.prefix(ctx, eventlog.PresetStream(who.Org, id), as)
	return Preset{fold[preset.Preset, preset.Event](records), &at}, err
}

// PresetFilter chooses presets of a list. Empty fields choose all.
type PresetFilter struct {
	Scope, Owner, Tag, Language, Status, Label string
}

// Presets lists the presets that the caller may see, without those that are deleted.
func (r *Reader) Presets(ctx context.Context, who domain.Principal, f PresetFilter, p Page,
) (List[preset.Preset], error) {
	from, err := p.cursor()
	if err != nil {
		return List[preset.Preset]{}, err
	}
	compare, direction := p.order()
	var rows []stateRow
	err = r.ask(ctx, who.Org, func(b *batch) {
		b.Queue(fmt.Sprintf(`SELECT state, pos FROM views.presets
			WHERE org = $1 AND (scope = 'org' OR owner = $2) AND status <> 'deleted'
			AND ($3 = '' OR scope = $3) AND ($4 = '' OR owner = $4) AND ($5 = '' OR $5 = ANY(tags))
			AND ($6 = '' OR language = $6) AND ($7 = '' OR status = $7) AND ($8 = '' OR $8 = ANY(labels))
			AND (created_at, id) %s ($9, $10) ORDER BY created_at %s, id %[2]s LIMIT $11`,
			compare, direction), who.Org, who.User, f.Scope, f.Owner, f.Tag, f.Language, f.Status, f.Label,
			from.At, from.ID, p.Limit+1).Query(scan(&rows))
	})
	if err != nil {
		return List[preset.Preset]{}, wrap("list presets", err)
	}
	presets, err := decode[preset.Preset](rows)
	return list(presets, p.Limit, func(p preset.Preset) cursor {
		return cursor{At: p.CreatedAt, ID: string(p.ID)}
	}), err
}

func decode[S any](rows []stateRow) ([]S, error) {
	all := make([]S, len(rows))
	for i, row := range rows {
		if err := stored(row.State, &all[i]); err != nil {
			return nil, fmt.Errorf("read a row: %w", err)
		}
	}
	return all, nil
}

// Version is an immutable version of a preset, with the labels that point at it.
type Version struct {
	Version int
	Hash    string
	Note    string
	Content preset.Draft
	By      string
	At      time.Time
	Labels  []string
}

// VersionOf is a version of a preset that is at hand. There must be one of that number.
func VersionOf(p preset.Preset, number int) Version {
	v := p.Content(number)
	return Version{Version: number, Hash: string(v.Hash), Note: v.Note, Content: *v.Content, By: string(v.By),
		At: v.At, Labels: labelsAt(p, number)}
}

type versionRow struct {
	State   []byte
	Version *int
	Hash    *string
	Note    *string
	Content []byte
	By      *string
	At      *time.Time
}

// Versions lists a preset's versions, the newest first. Number, where it is not 0, chooses one.
func (r *Reader) Versions(ctx context.Context, who domain.Principal, id domain.PresetID, number int, p Page,
) (List[Version], error) {
	from, err := p.cursor()
	if err != nil {
		return List[Version]{}, err
	}
	compare, direction := p.order()
	var rows []versionRow
	err = r.ask(ctx, who.Org, func(b *batch) {
		b.Queue(fmt.Sprintf(`SELECT p.state, v.version, v.hash, v.note, v.content, v.by, v.at
			FROM views.presets p LEFT JOIN LATERAL (
				SELECT * FROM views.preset_versions v WHERE v.org = p.org AND v.preset = p.id
				AND ($3 = 0 OR v.version = $3) AND v.version %s $4::bigint ORDER BY v.version %s LIMIT $5) v ON true
			WHERE p.org = $1 AND p.id = $2 ORDER BY v.version %[2]s`, compare, direction),
			who.Org, id, number, from.N, p.Limit+1).Query(scan(&rows))
	})
	if err != nil || len(rows) == 0 {
		_, err = one(rows, wrap("list versions", err))
		return List[Version]{}, err
	}
	var of preset.Preset
	if err := stored(rows[0].State, &of); err != nil {
		return List[Version]{}, wrap("read a preset", err)
	}
	if err := seePreset(who, of); err != nil {
		return List[Version]{}, err
	}
	versions, err := readVersions(rows, of)
	return list(versions, p.Limit, func(v Version) cursor { return cursor{N: int64(v.Version)} }), err
}

func readVersions(rows []versionRow, of preset.Preset) ([]Version, error) {
	versions := []Version{}
	for _, row := range rows {
		if row.Version == nil {
			continue
		}
		v := Version{Version: *row.Version, Hash: *row.Hash, Note: *row.Note, By: *row.By, At: *row.At,
			Labels: labelsAt(of, *row.Version)}
		if err := stored(row.Content, &v.Content); err != nil {
			return nil, wrap("read a version", err)
		}
		versions = append(versions, v)
	}
	return versions, nil
}

// PublishedPresets lists the presets that the caller may use as models, at most limit, own ones first.
func (r *Reader) PublishedPresets(ctx context.Context, who domain.Principal, limit int,
) ([]preset.Preset, error) {
	_, denied := authz.May(who, authz.UsePreset, authz.Thing{Org: who.Org, Scope: string(preset.OrgScope)})
	var rows []stateRow
	err := r.ask(ctx, who.Org, func(b *batch) {
		b.Queue(`SELECT state, pos FROM views.presets
			WHERE org = $1 AND (scope = 'org' AND $4 OR scope = 'user' AND owner = $2) AND status = 'published'
			ORDER BY scope = 'user' DESC, created_at, id LIMIT $3`, who.Org, who.User, limit, denied == nil).
			Query(scan(&rows))
	})
	if err != nil {
		return nil, wrap("list models", err)
	}
	return decode[preset.Preset](rows)
}
