package readmodels

import (
	"context"
	"slices"
	"time"

	"prelude/domain"
	"prelude/domain/preset"
	"prelude/internal/eventlog"
)

// Label is a label of a preset and who moved it there.
type Label struct {
	Label   string
	Version int
	Note    string
	MovedBy string
	MovedAt time.Time
}

func labelsAt(p preset.Preset, version int) []string {
	labels := []string{}
	for l, v := range p.AllLabels() {
		if v == version {
			labels = append(labels, l)
		}
	}
	slices.Sort(labels)
	return labels
}

// Labels lists a preset's labels by name, latest among them.
func (r *Reader) Labels(ctx context.Context, who domain.Principal, id domain.PresetID) ([]Label, error) {
	var states []stateRow
	labels := []Label{}
	err := r.ask(ctx, who.Org, func(b *batch) {
		b.Queue(`SELECT state, pos FROM views.presets WHERE org = $1 AND id = $2`, who.Org, id).
			Query(scan(&states))
		b.Queue(`SELECT label, version, note, moved_by, moved_at FROM views.preset_labels
			WHERE org = $1 AND preset = $2 ORDER BY label`, who.Org, id).Query(scan(&labels))
	})
	row, err := one(states, wrap("list labels", err))
	if err != nil {
		return nil, err
	}
	var p preset.Preset
	if err := stored(row.State, &p); err != nil {
		return nil, wrap("read a preset", err)
	}
	return labels, seePreset(who, p)
}

// LabelsAsOf lists where a preset's labels pointed.
func (r *Reader) LabelsAsOf(ctx context.Context, who domain.Principal, id domain.PresetID, as AsOf,
) ([]Label, Point, error) {
	if _, err := r.Preset(ctx, who, id); err != nil {
		return nil, Point{}, err
	}
	records, at, err := r.prefix(ctx, eventlog.PresetStream(who.Org, id), as)
	if err != nil {
		return nil, at, err
	}
	return foldLabels(records), at, nil
}

func foldLabels(records []eventlog.Record) []Label {
	at := map[string]Label{}
	for _, rec := range records {
		switch e := rec.Event.(type) {
		case preset.Published:
			at[preset.Latest] = Label{preset.Latest, e.Version, "", string(e.By), e.At}
		case preset.Labeled:
			at[e.Label] = Label{e.Label, e.Version, e.Note.Text, string(e.By), e.At}
		case preset.Unlabeled:
			delete(at, e.Label)
		}
	}
	labels := make([]Label, 0, len(at))
	for _, l := range at {
		labels = append(labels, l)
	}
	slices.SortFunc(labels, func(a, b Label) int {
		if a.Label < b.Label {
			return -1
		}
		return 1
	})
	return labels
}
